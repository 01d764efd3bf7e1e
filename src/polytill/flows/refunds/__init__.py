"""Refunds and disputes: create, settle, and read from a provider's list."""
