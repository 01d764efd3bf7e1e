"""Webhooks from providers: receive, read, apply."""
