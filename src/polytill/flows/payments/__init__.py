"""Payments: create, route, settle, capture, cancel, saved methods, payment links and duplicate payments."""
