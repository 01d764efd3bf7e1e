"""What proves that polytill is right, for its authors and for authors of providers."""
