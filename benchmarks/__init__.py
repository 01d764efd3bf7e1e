"""Measurements of what polytill costs: `./run bench`. docs/performance.md explains the figures."""
