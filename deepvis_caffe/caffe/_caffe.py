"""``caffe._caffe``, which is compiled in pycaffe: some scripts ask for its classes."""

from deepvis_caffe.caffe.blob import Blob, BlobVec
from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.operations import layer_type_list
from deepvis_caffe.caffe.python_layer import Layer
from deepvis_caffe.caffe.solvers import SGDSolver, get_solver

__all__ = ["Blob", "BlobVec", "Layer", "Net", "SGDSolver", "get_solver", "layer_type_list"]
