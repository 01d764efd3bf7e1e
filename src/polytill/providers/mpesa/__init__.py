"""M-Pesa (Daraja)."""
