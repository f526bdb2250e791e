"""Regularized gradient ascent: images that excite a unit.

>>> runs = optimize(net, "pool10", units=[130, 340], seeds=range(9))

Start reading at `deepvis_caffe.optimizer.ascent`, the loop.
"""

from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.objectives import Objective, Position
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import PRESETS, preset
from deepvis_caffe.optimizer.rates import Constant, GrayLevels, Progress, Progress01, Rate, Slope
from deepvis_caffe.optimizer.result import AscentResult, AscentResults, MetTop, Step
from deepvis_caffe.optimizer.run import ascent_params, optimize

__all__ = [
    "PRESETS",
    "AscentParams",
    "AscentResult",
    "AscentResults",
    "Constant",
    "GrayLevels",
    "MetTop",
    "Objective",
    "Position",
    "Progress",
    "Progress01",
    "Rate",
    "Slope",
    "Step",
    "ascend",
    "ascent_params",
    "optimize",
    "preset",
]
