"""The simulation of whole practices, run."""
