"""The programs that are measured, and the stand-in that they call; each runs in a process of its own."""
