"""A seeded simulation of whole practices, judged by the providers' own books: ``python -m simulation``."""
