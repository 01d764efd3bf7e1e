"""Flutterwave, v3 and v4."""
