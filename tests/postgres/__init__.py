"""The PostgreSQL server of a test run, and its own tests."""
