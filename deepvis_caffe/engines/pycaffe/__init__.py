"""The pycaffe engine: a thin layer over a stock, unpatched `caffe.Net`.

`library` imports Caffe and chooses its device, `surgery` writes the net that Caffe is given,
`wiring` plans which of Caffe's layers run, and `net` runs them. Nothing here imports `caffe`
before a net is built.
"""

from deepvis_caffe.engines.pycaffe.net import PycaffeNet

__all__ = ["PycaffeNet"]
