"""Reconciliation: comparing our records with a provider's listings."""
