"""The simulated Flutterwave, v3 and v4."""
