"""Measurements: `make bench`, `make bench-drift`, `python -m bench.seeds`, `python -m bench.kill`."""
