"""The simulated Paystack."""
