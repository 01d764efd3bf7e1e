"""What polytill costs, measured: `./run bench`. How to read the figures stands in docs/performance.md."""
