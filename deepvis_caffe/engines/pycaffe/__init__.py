"""The pycaffe engine: a thin layer over a stock, unpatched `caffe.Net`.

`library` imports Caffe and chooses its device, `surgery` writes the net that Caffe loads, `wiring`
plans which layers run, and `net` runs them. `caffe` is imported only when a net is built.
"""

from deepvis_caffe.engines.pycaffe.net import PycaffeNet

__all__ = ["PycaffeNet"]
