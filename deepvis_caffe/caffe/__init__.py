"""pycaffe's surface on the embedded engine: what scripts that say ``import caffe`` need of it.

    import deepvis_caffe.caffe as caffe

Nothing of Caffe is needed. See docs/pycaffe.md.
"""

from __future__ import annotations

from deepvis_caffe.caffe import _caffe, io, proto, pycaffe
from deepvis_caffe.caffe.classifier import Classifier
from deepvis_caffe.caffe.detector import Detector
from deepvis_caffe.caffe.fillers import random
from deepvis_caffe.caffe.install import install
from deepvis_caffe.caffe.mode import mode
from deepvis_caffe.caffe.net import Net

TRAIN, TEST = 0, 1

set_mode_cpu = mode.cpu
set_mode_gpu = mode.gpu
set_device = mode.choose
set_random_seed = random.seed

__all__ = [
    "TEST",
    "TRAIN",
    "Classifier",
    "Detector",
    "Net",
    "_caffe",
    "install",
    "io",
    "proto",
    "pycaffe",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
]
