"""Feature visualization: images that maximize a unit, by regularized gradient ascent.

>>> runs = optimize(net, "pool10", units=[130, 340], seeds=range(9))

Start reading at `deepvis_caffe.optimizer.ascent`, the loop.
"""

from typing import Any

from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.objective import Objective
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import PRESETS, preset
from deepvis_caffe.optimizer.rates import (
    Constant,
    FallingLevels,
    GradientInfo,
    GrayLevels,
    Progress,
    Progress01,
    Rate,
)
from deepvis_caffe.optimizer.result import AscentResult, AscentResults, FirstTop, Snapshot
from deepvis_caffe.optimizer.run import ascent_params, optimize
from deepvis_caffe.optimizer.targets import Position

__all__ = [
    "PRESETS",
    "AscentParams",
    "AscentResult",
    "AscentResults",
    "Constant",
    "FallingLevels",
    "FirstTop",
    "GradientInfo",
    "GrayLevels",
    "Objective",
    "Position",
    "Progress",
    "Progress01",
    "Rate",
    "Snapshot",
    "ascend",
    "ascent_params",
    "optimize",
    "preset",
]

_OLD_NAMES = {"MetTop": "FirstTop", "Slope": "GradientInfo", "Step": "Snapshot"}


def __getattr__(name: str) -> Any:
    """Names that scripts written for earlier versions import."""
    if name in _OLD_NAMES:
        return globals()[_OLD_NAMES[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
