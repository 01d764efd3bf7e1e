"""Routing: which provider takes a payment, in which order the others follow, and why. Pure functions over values."""
