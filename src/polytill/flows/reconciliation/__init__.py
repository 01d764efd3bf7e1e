"""Reconciliation: our records against a provider's listings."""
