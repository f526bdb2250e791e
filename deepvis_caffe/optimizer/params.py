"""The parameters of one ascent: strengths of the regularizers, rate, number of steps.

Records on disk keep the names that two parameters had in earlier versions, see `STORED_AS`.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer.rates import Constant, GrayLevels, Progress, Progress01, Rate
from deepvis_caffe.optimizer.start import check_start

PERCENTILES = (
    "value_percentile",
    "norm_percentile",
    "benefit_percentile",
    "contribution_percentile",
)

EXTRA_RANGES = (
    ("total_variation", 255, "a number of gray levels"),
    ("scale", 3, "a part of the size"),
    ("rotation", 180, "a number of degrees"),
    ("fourier", 4, "a power of the frequency"),
    ("decorrelate", 1, "a fraction"),
    ("diversity", 255, "a number of gray levels"),
)
EXTRAS = (
    *(name for name, _, _ in EXTRA_RANGES),
    "blur_end",
    "jitter",
    "octaves",
    "octave_scale",
)
# Names in records and preset files, so that results of every version compare equal.
STORED_AS = {"jitter": "shift", "sign": "push"}
OLD_NAMES = {old: new for new, old in STORED_AS.items()}


@dataclass(frozen=True)
class AscentParams:
    """What an ascent does at each step, and for how many steps.

    Parameters
    ----------
    decay
        L2 decay: the fraction of x removed at each step, in [0, 1).
    blur_width
        Standard deviation of the gaussian blur, in pixels; 0 for none.
    blur_every
        Blur at steps 0, n, 2n, ...; 0 for never.
    value_percentile
        Set values to 0 whose magnitude is below this percentile of the image's; in [0, 100).
    norm_percentile
        Set pixels to 0 whose norm over channels is below this percentile.
    benefit_percentile
        Set pixels to 0 whose ``-sum(x * g)`` over channels is below this percentile.
    contribution_percentile
        Set pixels to 0 whose ``|sum(x * g)|`` over channels is below this percentile.
    rate
        The learning rate's rule; see `deepvis_caffe.optimizer.rates`.
    iterations
        Number of forward passes. There is one update fewer: the last pass only measures.
    start
        The first image; see `deepvis_caffe.optimizer.start`.
    sign
        1 to maximize the activation, -1 to minimize it (the toolbox's ``push_dir``).

    The remaining parameters are not the paper's, and off by default:

    blur_end
        The blur's width changes linearly from `blur_width` to this over the run, in pixels; None
        keeps it constant. Oygard 2015, "Visualizing GoogLeNet classes".
    total_variation
        Descend the total variation, in gray levels per step where a single pixel stands out; see
        `deepvis_caffe.optimizer.regularizers.total_variation`.
    jitter
        Show the net the image translated at random, by up to this fraction of its sides, in [0, 1);
        see `deepvis_caffe.optimizer.transforms`.
    scale
        Scale it at random, by a factor between ``1 / (1 + scale)`` and ``1 + scale``.
    rotation
        Rotate it at random, by up to this many degrees.
    octaves, octave_scale
        Divide the run into this many equal parts. The last part shows the net the image at its own
        size; each earlier part shows it smaller by another factor of `octave_scale`, in [1, 4].
    fourier
        Scale the gradient at frequency f by ``f ** -fourier``; 0 is plain gradient ascent. See
        `deepvis_caffe.optimizer.preconditioning`.
    decorrelate
        How far color channels move together as they vary together in photographs: 0 independently,
        1 as in photographs, which are nearly gray.
    diversity
        Step away from the other images of the same unit, in gray levels; see
        `deepvis_caffe.optimizer.regularizers.diversity`.

    Raises
    ------
    SettingsError
        A value out of its range, or the old name of a parameter.
    """

    decay: float = 0.0
    blur_width: float = 0.0
    blur_every: int = 0
    value_percentile: float = 0.0
    norm_percentile: float = 0.0
    benefit_percentile: float = 0.0
    contribution_percentile: float = 0.0
    rate: Rate = field(default_factory=GrayLevels)
    iterations: int = 500
    start: str = "noise"
    sign: int = 1
    blur_end: float | None = None
    total_variation: float = 0.0
    jitter: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    octaves: int = 1
    octave_scale: float = 1.4
    fourier: float = 0.0
    decorrelate: float = 0.0
    diversity: float = 0.0

    def __new__(cls, *args: Any, **values: Any) -> AscentParams:
        """Name the new spelling where an old one is given."""
        for name in OLD_NAMES.keys() & values.keys():
            raise SettingsError(f"AscentParams: {name} is called {OLD_NAMES[name]} now")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self._expect("decay", 0 <= self.decay < 1, "a fraction, at least 0 and less than 1")
        self._expect(
            "blur_width", 0 <= self.blur_width < math.inf, "a number of pixels, 0 for no blur"
        )
        self._expect(
            "blur_every",
            _whole(self.blur_every) and self.blur_every >= 0,
            "a whole number of steps, 0 for no blur",
        )
        for name in PERCENTILES:
            fits = 0 <= getattr(self, name) < 100
            self._expect(name, fits, "a percentile, at least 0 (none) and less than 100 (all)")
        self._expect("rate", callable(self.rate), "a rate, for example Constant(100)")
        self._expect(
            "iterations",
            _whole(self.iterations) and self.iterations >= 1,
            "a whole number of steps, at least 1",
        )
        self._expect("sign", self.sign in (1, -1), "1 (maximize) or -1 (minimize)")
        check_start(self.start)
        self._check_extras()

    def _check_extras(self) -> None:
        """Check the parameters that are not the paper's."""
        self._expect(
            "blur_end",
            self.blur_end is None or 0 <= self.blur_end < math.inf,
            "a number of pixels, or None to keep the blur's width",
        )
        self._expect(
            "jitter", 0 <= self.jitter < 1, "a fraction, at least 0 (none) and less than 1"
        )
        for name, most, of in EXTRA_RANGES:
            fits = 0 <= getattr(self, name) <= most
            self._expect(name, fits, f"{of}, at least 0 (none) and at most {most}")
        fits = _whole(self.octaves) and 1 <= self.octaves <= 16
        self._expect(
            "octaves", fits, "a whole number, at least 1 (the image's size alone), at most 16"
        )
        self._expect("octave_scale", 1 <= self.octave_scale <= 4, "a factor from 1 to 4")

    @property
    def blurs(self) -> bool:
        """Whether there is any blur."""
        return self.blur_width > 0 and self.blur_every > 0

    @property
    def has_transforms(self) -> bool:
        """Whether the net is shown anything but the image itself."""
        return any((self.jitter, self.scale, self.rotation)) or self.octaves > 1

    @property
    def differs_by_seed(self) -> bool:
        """Whether another seed gives another image."""
        return self.start in ("noise", "uniform") or self.has_transforms or self.diversity > 0

    def but(self, **changes: Any) -> AscentParams:
        """These parameters with some changed; names of earlier versions are accepted.

        Raises
        ------
        UnknownNameError
            There is no parameter of that name.
        """
        known = [one.name for one in fields(self)]
        current = {OLD_NAMES.get(name, name): value for name, value in changes.items()}
        for name in current:
            if name not in known:
                raise UnknownNameError("ascent parameter", name, known)
        return replace(self, **current)

    def record(self) -> dict[str, Any]:
        """The parameters in JSON's types, the rate by its type's name and its own parameters.

        Parameters that are not the paper's are left out where they are off.
        """
        values = asdict(self)
        own: dict[str, Any] = values["rate"] if is_dataclass(self.rate) else {}
        rate = {name: _plain(value) for name, value in own.items()}
        plain = {name: _plain(value) for name, value in values.items()}
        off = {one.name: one.default for one in fields(self) if one.name in EXTRAS}
        plain = {
            STORED_AS.get(name, name): value
            for name, value in plain.items()
            if off.get(name, self) != value
        }
        return {**plain, "rate": {"type": type(self.rate).__name__, **rate}}

    def _expect(self, name: str, fits: bool, what: str) -> None:
        if not fits:
            raise SettingsError(f"{name} must be {what}; got {getattr(self, name)!r}")


def _whole(number: Any) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


NAMED = (
    "decay",
    "blur_width",
    "blur_every",
    "value_percentile",
    "norm_percentile",
    "benefit_percentile",
    "contribution_percentile",
    "iterations",
    "sign",
)


def in_words(params: AscentParams, rate: bool = False) -> str:
    """The regularizers in one line, followed by the rate if asked for."""
    p = params
    parts = [
        "minimizes" if p.sign < 0 else "",
        f"decay {p.decay:g}" if p.decay else "",
        f"blur {p.blur_width:g} px every {p.blur_every}" if p.blurs else "",
        f"clips values under {p.value_percentile:g}%" if p.value_percentile else "",
        f"clips norms under {p.norm_percentile:g}%" if p.norm_percentile else "",
        f"clips benefits under {p.benefit_percentile:g}%" if p.benefit_percentile else "",
        f"clips contributions under {p.contribution_percentile:g}%"
        if p.contribution_percentile
        else "",
    ]
    parts += [  # the others by name
        f"{one.name.replace('_', ' ')} {getattr(p, one.name):g}"
        for one in fields(p)
        if isinstance(getattr(p, one.name), int | float)
        and one.name not in NAMED
        and getattr(p, one.name) != one.default
    ]
    said = ", ".join(part for part in parts if part) or "no regularization"
    return f"{said}; {rate_in_words(p.rate)}" if rate else said


def rate_in_words(rate: Rate) -> str:
    """A learning rate in a few words."""
    match rate:
        case GrayLevels(levels):
            return f"{levels:g} gray levels a step"
        case Constant(lr):
            return f"rate {lr:g}"
        case Progress(max_lr, desired):
            return f"progress {desired:g}, rate at most {max_lr:g}"
        case Progress01(max_lr, early, late):
            return f"progress {early:g}, late {late:g}, rate at most {max_lr:g}"
    return type(rate).__name__
