"""Recovery: lookups of unknown outcomes, and the customer's next step."""
