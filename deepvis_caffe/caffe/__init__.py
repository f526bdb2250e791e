"""pycaffe's API on the embedded engine, as far as scripts that ``import caffe`` need it.

    import deepvis_caffe.caffe as caffe

It does not need Caffe. See docs/pycaffe.md.
"""

from __future__ import annotations

import logging

import deepvis_caffe.engines.torch  # noqa: F401 tells what to install if PyTorch is missing
from deepvis_caffe.caffe import _caffe, io, proto, pycaffe
from deepvis_caffe.caffe.classifier import Classifier
from deepvis_caffe.caffe.detector import Detector
from deepvis_caffe.caffe.fillers import random
from deepvis_caffe.caffe.install import install
from deepvis_caffe.caffe.methods_2014 import set_phase_test, set_phase_train
from deepvis_caffe.caffe.mode import mode
from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.net_spec import NetSpec, layers, params, to_proto
from deepvis_caffe.caffe.operations import layer_type_list
from deepvis_caffe.caffe.python_layer import Layer
from deepvis_caffe.caffe.solvers import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Timer,
    get_solver,
    has_nccl,
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)

__version__ = "1.0.0"

TRAIN, TEST = 0, 1

set_mode_cpu = mode.cpu
set_mode_gpu = mode.gpu
set_device = mode.choose
set_random_seed = random.seed


def init_log(level: int = 0) -> None:
    """Start logging in Caffe; does nothing here, as Python's `logging` is up to the caller."""


def log(message: str) -> None:
    """Write a message to the log."""
    logging.getLogger(__name__).info("%s", message)


__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "_caffe",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "params",
    "proto",
    "pycaffe",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_phase_test",
    "set_phase_train",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]
