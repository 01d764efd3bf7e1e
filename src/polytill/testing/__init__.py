"""What proves polytill right, for its authors and for authors of providers."""
