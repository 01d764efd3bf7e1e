"""The simulated PayPal."""
