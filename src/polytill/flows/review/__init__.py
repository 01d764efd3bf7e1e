"""Review: cases that staff resolve, and decisions of staff."""
