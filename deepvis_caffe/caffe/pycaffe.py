"""``caffe.pycaffe``, where pycaffe finishes its net: some scripts import it from there."""

from deepvis_caffe.caffe.net import Net

__all__ = ["Net"]
