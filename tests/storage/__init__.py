"""Both databases, on both engines."""
