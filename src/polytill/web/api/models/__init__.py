"""Request and response bodies: one module for each noun of the API."""
