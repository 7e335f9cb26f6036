"""Benchmarks: `make bench`, or `pytest benchmarks --benchmark-only`. Each checks values before it times."""
