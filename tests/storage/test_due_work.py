"""What a sweep finds due: each kind of work is seen by the one statement that decides whether to read it."""
