"""Alembic's entry for the practice tree. Only ``alembic revision`` uses it: migrations run through storage/migrating.py."""
