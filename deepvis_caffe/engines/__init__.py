"""How a model runs: the engine contract, the embedded engine and real Caffe."""
