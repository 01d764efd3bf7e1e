"""The worker: claims, the sweep of one practice, and event delivery."""
