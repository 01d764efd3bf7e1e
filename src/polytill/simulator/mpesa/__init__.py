"""The simulated M-Pesa."""
