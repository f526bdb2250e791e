"""``caffe._caffe``, which is compiled in pycaffe: some scripts ask for its classes."""

from deepvis_caffe.caffe.blob import Blob, BlobVec
from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.python_layer import Layer

__all__ = ["Blob", "BlobVec", "Layer", "Net"]
