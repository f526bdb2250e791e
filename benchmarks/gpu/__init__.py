"""Benchmarks for a machine with a GPU but without a network; see `benchmarks/README.md`."""
