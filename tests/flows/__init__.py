"""Decisions and transactions."""
