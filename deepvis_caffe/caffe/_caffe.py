"""``caffe._caffe``, pycaffe's compiled module: some scripts use its classes."""

from deepvis_caffe.caffe.blob import Blob, BlobVec
from deepvis_caffe.caffe.fillers import random
from deepvis_caffe.caffe.mode import mode
from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.operations import layer_type_list
from deepvis_caffe.caffe.python_layer import Layer
from deepvis_caffe.caffe.solvers import SGDSolver, get_solver

IntVec = StringVec = LayerVec = RawBlobVec = NetVec = list
set_mode_cpu, set_mode_gpu, set_device = mode.cpu, mode.gpu, mode.choose
set_random_seed = random.seed

__all__ = [
    "Blob",
    "BlobVec",
    "IntVec",
    "Layer",
    "LayerVec",
    "Net",
    "NetVec",
    "RawBlobVec",
    "SGDSolver",
    "StringVec",
    "get_solver",
    "layer_type_list",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
]
