"""Alembic's entry for the owner tree. Only ``alembic revision`` uses it: migrations run through storage/migrating.py."""
