"""The measured programs, and the stand-in provider that they call; each runs in its own process."""
