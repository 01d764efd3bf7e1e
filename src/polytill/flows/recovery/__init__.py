"""Recovery: lookups of unknown outcomes, and what a customer can do next."""
