"""``caffe.pycaffe``, where pycaffe completes its classes: some scripts import them from there."""

from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.solvers import SGDSolver

__all__ = ["Net", "SGDSolver"]
