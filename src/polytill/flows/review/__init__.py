"""Review: what staff resolve and decide."""
