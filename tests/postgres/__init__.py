"""The PostgreSQL server that a test run starts for itself, and its own tests."""
