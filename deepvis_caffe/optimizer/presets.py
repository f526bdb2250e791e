"""Sets of parameters by number or name: the paper's four (Table 1), with its toolbox's rates; ours.

A user's own, kept by name in a file, are in `deepvis_caffe.optimizer.saved`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.rates import Constant, GrayLevels, Progress

# Ours, after Olah et al. 2017; tuned with a classifier that no objective sees, see
# benchmarks/README.md. Its rate is in gray levels already, so "auto" and "paper" mean the same.
BEST = AscentParams(
    decay=0.025,
    shift=0.07,
    scale=0.1,
    rotation=5,
    octaves=2,
    octave_scale=1.5,
    fourier=1.15,
    decorrelate=0.85,
    iterations=140,
    rate=GrayLevels(6),
)

PRESETS: Mapping[int | str, AscentParams] = MappingProxyType(
    {
        1: AscentParams(
            blur_width=0.5,
            blur_every=4,
            norm_percentile=50,
            iterations=500,
            rate=Progress(max_lr=100, desired=2),
        ),
        2: AscentParams(decay=0.3, norm_percentile=20, iterations=750, rate=Constant(100)),
        3: AscentParams(
            decay=0.0001, blur_width=1.0, blur_every=4, iterations=1000, rate=Constant(100)
        ),
        4: AscentParams(
            blur_width=0.5,
            blur_every=4,
            contribution_percentile=90,
            iterations=1000,
            rate=Progress(max_lr=1e8, desired=2),
        ),
        "best": BEST,
    }
)

# Chosen by looking at SqueezeNet's pictures. Preset 2 takes away 0.3 of the picture at every step,
# and needs longer steps for the same contrast; preset 1 has the least to hold it back.
# Steps enough for plain pictures at these rates.
GRAY_LEVEL_STEPS = 300
GRAY_LEVELS: Mapping[int | str, GrayLevels] = MappingProxyType(
    {1: GrayLevels(2), 2: GrayLevels(15), 3: GrayLevels(4), 4: GrayLevels(8)}
)


def preset(which: int | str) -> AscentParams:
    """The parameters of a built-in preset, with its own learning rate.

    Parameters
    ----------
    which
        1 to 4, the paper's; or the name of another one in `PRESETS`.

    Raises
    ------
    UnknownNameError
        There is no such preset.
    """
    if which not in PRESETS:
        raise UnknownNameError("preset", str(which), map(str, PRESETS))
    return PRESETS[which]
