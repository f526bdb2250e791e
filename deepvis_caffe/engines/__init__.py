"""How a model runs: the contract, the embedded engine, and real Caffe behind the same interface."""
