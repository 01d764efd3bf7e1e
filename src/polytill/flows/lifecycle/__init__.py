"""The end of a practice's life, and of data: exports, closing and deleting a practice, erasing a customer, retention."""
