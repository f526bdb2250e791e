"""Regularized gradient ascent: images that excite a unit.

>>> runs = optimize(net, "pool10", units=[130, 340], seeds=range(9))

Start reading at `deepvis_caffe.optimize.ascent`, the loop.
"""

from deepvis_caffe.optimize.ascent import ascend
from deepvis_caffe.optimize.objective import Objective, Position
from deepvis_caffe.optimize.params import AscentParams
from deepvis_caffe.optimize.presets import PRESETS, preset
from deepvis_caffe.optimize.rates import Constant, GrayLevels, Progress, Progress01, Rate, Slope
from deepvis_caffe.optimize.record import MetTop
from deepvis_caffe.optimize.result import AscentResult
from deepvis_caffe.optimize.run import ascent_params, optimize

__all__ = [
    "PRESETS",
    "AscentParams",
    "AscentResult",
    "Constant",
    "GrayLevels",
    "MetTop",
    "Objective",
    "Position",
    "Progress",
    "Progress01",
    "Rate",
    "Slope",
    "ascend",
    "ascent_params",
    "optimize",
    "preset",
]
