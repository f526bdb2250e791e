"""A kit for a machine with a GPU and without a network; see `benchmarks/README.md`."""
