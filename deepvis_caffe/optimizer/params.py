"""The parameters of an ascent: regularizers, transforms, parameterization, rate, number of steps.

Each part can be given as numbers, as on the command line and in presets, or as values: a list of
regularizers or transforms, or a parameterization. The ascent only sees values.

Records on disk keep the names that two parameters had in earlier versions; see `STORED_AS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer import parameterizations as p
from deepvis_caffe.optimizer import regularizers as r
from deepvis_caffe.optimizer import transforms as t
from deepvis_caffe.optimizer import value_records
from deepvis_caffe.optimizer.frozen_array import FrozenArray
from deepvis_caffe.optimizer.ranges import is_whole
from deepvis_caffe.optimizer.rates import (
    Constant,
    FallingLevels,
    GrayLevels,
    Progress,
    Progress01,
    Rate,
)
from deepvis_caffe.optimizer.start import check_start, frozen_start, start_differs_by_seed

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
    ("naturalness", 1000, "a strength"),
)
EXTRAS = (
    *(name for name, _, _ in EXTRA_RANGES),
    "decay_end",
    "blur_end",
    "total_variation_end",
    "jitter",
    "octaves",
    "octave_scale",
    "coarse",
    "coarse_part",
    "transforms",
    "regularizers",
    "parameterization",
    "hidden",
)
# Parameters given as values, the numbers that each replaces, and what a list may hold (`LISTED`).
REPLACES = {
    "regularizers": (
        "decay",
        "blur_width",
        "blur_every",
        "decay_end",
        "blur_end",
        *PERCENTILES,
        "total_variation",
        "total_variation_end",
        "diversity",
    ),
    "transforms": ("jitter", "scale", "rotation", "octaves", "octave_scale", "coarse"),
    "parameterization": ("fourier", "decorrelate"),
}
# Parameters that may differ for hidden units: those that act on each image alone, without drawing.
FOR_HIDDEN = {*REPLACES["regularizers"], *REPLACES["parameterization"]} - {"diversity"}
LISTED: dict[str, tuple[type, str]] = {
    "regularizers": (r.Regularizer, "a regularizer such as decay(0.01), or a function (x, g, t)"),
    "transforms": (t.Transform, "a transform such as jitter(0.1), or a function of a torch tensor"),
}
# Names in records and preset files, kept so that results of all versions compare equal.
STORED_AS = {"jitter": "shift", "sign": "push"}
OLD_NAMES = {old: new for new, old in STORED_AS.items()}


@dataclass(frozen=True)
class AscentParams:
    """What an ascent does at each step, and for how many steps.

    Parameters
    ----------
    decay
        L2 decay: the fraction of x to remove at each step, in [0, 1).
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
        Number of forward passes. There is one update fewer: the last pass only evaluates.
    start
        The first image: ``"noise"``, ``"uniform"``, ``"mean"``, the path of a picture, or an array.
        A picture is (H, W, 3), uint8 or float; a net input is float, (C, H, W), or (N, C, H, W)
        with one for each seed from 0. See `deepvis_caffe.optimizer.start`.
    sign
        1 to maximize the activation, -1 to minimize it (the toolbox's ``push_dir``).

    The remaining parameters are not from the paper and are off by default:

    decay_end
        The decay changes linearly from `decay` to this over the run; None keeps it constant.
    blur_end
        The blur's width changes linearly from `blur_width` to this over the run, in pixels; None
        keeps it constant. Oygard 2015, "Visualizing GoogLeNet classes".
    total_variation
        Step size down the total variation gradient, in gray levels for an isolated pixel; see
        `deepvis_caffe.optimizer.regularizers.total_variation`.
    total_variation_end
        This step size changes linearly from `total_variation` to this over the run; None keeps it
        constant.
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
    coarse, coarse_part
        Show the net a smaller image at first: with sides of this fraction, in (0, 1], for this
        fraction of the steps; see `deepvis_caffe.optimizer.transforms.coarse_to_fine`.
    fourier
        Scale the gradient at frequency f by ``f ** -fourier``; 0 is plain gradient ascent. See
        `deepvis_caffe.optimizer.parameterizations.fourier`.
    decorrelate
        How correlated the steps of the color channels are: from 0, independent, to 1, as in
        photographs, which are nearly gray.
    diversity
        Step away from the other images of the same unit, in gray levels; see
        `deepvis_caffe.optimizer.regularizers.diversity`.
    naturalness
        Pull the channel moments of the layers below towards those of photographs; in standard
        deviations of the activation over photographs. Only acts on objectives that see the whole
        image, such as a class, not on units that see a part of it. See
        `deepvis_caffe.optimizer.channel_moments`.
    regularizers
        A list of operations on the image after each step, in order: values of
        `deepvis_caffe.optimizer.regularizers` and functions ``(x, g, t) -> x``. It replaces all
        regularizers above, including a preset's; giving both is an error. None: those given by the
        numbers above, in the paper's order.
    transforms
        A list of operations on what the net is shown, in order: values of
        `deepvis_caffe.optimizer.transforms` and functions of torch tensors. It replaces the
        transforms above in the same way.
    parameterization
        A value of `deepvis_caffe.optimizer.parameterizations`. It replaces `fourier` and
        `decorrelate` in the same way.
    hidden
        Other values of `decay`, `fourier` and so on (`FOR_HIDDEN`) for units of which only the
        receptive field is computed, as for most hidden units: a mapping, stored as a tuple of
        pairs. Values changed by `but` apply to every unit.

    Raises
    ------
    SettingsError
        A value is out of range, a parameter has its old name, a list has an entry that is neither
        a value of its kind nor a function, or both a list and a number that it replaces are given.
    ImageError
        The array to start from is not an image.
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
    start: str | FrozenArray = "noise"
    sign: int = 1
    decay_end: float | None = None
    blur_end: float | None = None
    total_variation: float = 0.0
    total_variation_end: float | None = None
    jitter: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    octaves: int = 1
    octave_scale: float = 1.4
    coarse: float = 1.0
    coarse_part: float = 0.7
    fourier: float = 0.0
    decorrelate: float = 0.0
    diversity: float = 0.0
    naturalness: float = 0.0
    transforms: Sequence[Any] | None = None
    regularizers: Sequence[Any] | None = None
    parameterization: p.Parameterization | None = None
    hidden: Mapping[str, float] | tuple[tuple[str, float], ...] = ()

    def __new__(cls, *args: Any, **values: Any) -> AscentParams:
        """Raise an error that gives the new spelling for an old one."""
        for name in OLD_NAMES.keys() & values.keys():
            raise SettingsError(f"AscentParams: {name} is now called {OLD_NAMES[name]}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self._expect("decay", 0 <= self.decay < 1, "a fraction, at least 0 and less than 1")
        self._expect(
            "blur_width", 0 <= self.blur_width < math.inf, "a number of pixels, 0 for no blur"
        )
        self._expect(
            "blur_every",
            is_whole(self.blur_every) and self.blur_every >= 0,
            "a whole number of steps, 0 for no blur",
        )
        for name in PERCENTILES:
            fits = 0 <= getattr(self, name) < 100
            self._expect(name, fits, "a percentile, at least 0 (none) and less than 100 (all)")
        self._expect("rate", callable(self.rate), "a rate, for example Constant(100)")
        self._expect(
            "iterations",
            is_whole(self.iterations) and self.iterations >= 1,
            "a whole number of steps, at least 1",
        )
        self._expect("sign", self.sign in (1, -1), "1 (maximize) or -1 (minimize)")
        object.__setattr__(self, "start", frozen_start(self.start))
        check_start(self.start)
        self._check_extras()
        self._check_values()
        self._check_hidden()

    def _check_extras(self) -> None:
        """Check the parameters that are not from the paper."""
        self._expect(
            "decay_end",
            self.decay_end is None or 0 <= self.decay_end < 1,
            "a fraction, at least 0 and less than 1, or None to keep the decay",
        )
        self._expect(
            "blur_end",
            self.blur_end is None or 0 <= self.blur_end < math.inf,
            "a number of pixels, or None to keep the blur's width",
        )
        self._expect(
            "total_variation_end",
            self.total_variation_end is None or 0 <= self.total_variation_end <= 255,
            "a number of gray levels, at least 0 and at most 255, or None to keep the steps' size",
        )
        self._expect(
            "jitter", 0 <= self.jitter < 1, "a fraction, at least 0 (none) and less than 1"
        )
        for name, most, of in EXTRA_RANGES:
            fits = 0 <= getattr(self, name) <= most
            self._expect(name, fits, f"{of}, at least 0 (none) and at most {most}")
        fits = is_whole(self.octaves) and 1 <= self.octaves <= 16
        self._expect(
            "octaves", fits, "a whole number, at least 1 (the image's size alone), at most 16"
        )
        self._expect("octave_scale", 1 <= self.octave_scale <= 4, "a factor from 1 to 4")
        self._expect("coarse", 0 < self.coarse <= 1, "a fraction, more than 0 and at most 1 (off)")
        self._expect("coarse_part", 0 <= self.coarse_part <= 1, "a fraction from 0 to 1")

    def _check_values(self) -> None:
        """Check parameters given as values, and convert lists to tuples."""
        for name, (kind, example) in LISTED.items():
            given = getattr(self, name)
            if given is None:
                continue
            if not isinstance(given, list | tuple):
                raise SettingsError(f"{name} must be a list; got {given!r}")
            object.__setattr__(self, name, tuple(given))
            for place, one in enumerate(given):
                _check_value(f"{name}[{place}]", one, kind, example)
        form = self.parameterization
        if form is not None and not isinstance(form, p.Parameterization):
            raise SettingsError(
                "parameterization must be a parameterization such as fourier(1.15) or maco(); got "
                f"{_given(form)}"
            )
        defaults = {one.name: one.default for one in fields(self)}
        for name, numbers in REPLACES.items():
            both = [one for one in numbers if getattr(self, one) != defaults[one]]
            if getattr(self, name) is not None and both:
                raise SettingsError(
                    f"{name} replaces {', '.join(both)}: give one or the other; got {name}="
                    f"{value_records.in_words(getattr(self, name))} and "
                    + ", ".join(f"{one}={getattr(self, one)!r}" for one in both)
                )

    def _check_hidden(self) -> None:
        """Check the values for hidden units, and convert them to sorted pairs."""
        try:
            pairs = dict(self.hidden)
        except (TypeError, ValueError):
            raise SettingsError(
                f"hidden must map names of parameters to numbers; got {self.hidden!r}"
            ) from None
        for name in pairs:
            if name not in FOR_HIDDEN:
                raise UnknownNameError("parameter for hidden units", name, sorted(FOR_HIDDEN))
        object.__setattr__(self, "hidden", tuple(sorted(pairs.items())))
        try:
            self.for_hidden_units()
        except SettingsError as error:
            raise SettingsError(f"hidden: {error}") from error

    def for_hidden_units(self) -> AscentParams:
        """The parameters for a unit of which only the receptive field is computed."""
        other: dict[str, Any] = dict(self.hidden)
        return replace(self, hidden=(), **other) if other else self

    @property
    def blurs(self) -> bool:
        """Whether `blur_width` blurs at all."""
        return self.blur_width > 0 and self.blur_every > 0

    @property
    def chosen_regularizers(self) -> tuple[Any, ...]:
        """The `regularizers`; if None, those given by the numbers, in the paper's order.

        Those that are not from the paper come first.
        """
        if self.regularizers is not None:
            return tuple(self.regularizers)
        q = self
        chosen: list[r.Regularizer] = []
        if q.diversity:
            chosen.append(r.diversity(q.diversity))
        if q.total_variation_end not in (None, q.total_variation):
            chosen.append(r.falling_total_variation(q.total_variation, q.total_variation_end))
        elif q.total_variation:
            chosen.append(r.total_variation(q.total_variation))
        if q.decay_end is not None and q.decay_end != q.decay:
            chosen.append(r.falling_decay(q.decay, q.decay_end))
        elif q.decay:
            chosen.append(r.decay(q.decay))
        if q.blurs and q.blur_end is not None:
            chosen.append(r.falling_blur(q.blur_width, q.blur_end, q.blur_every))
        elif q.blurs:
            chosen.append(r.blur(q.blur_width, q.blur_every))
        if q.value_percentile:
            chosen.append(r.clip_small_values(q.value_percentile))
        if q.norm_percentile:
            chosen.append(r.clip_small_norms(q.norm_percentile))
        if q.benefit_percentile:
            chosen.append(r.clip_small_benefits(q.benefit_percentile))
        if q.contribution_percentile:
            chosen.append(r.clip_small_contributions(q.contribution_percentile))
        return tuple(chosen)

    @property
    def chosen_transforms(self) -> tuple[Any, ...]:
        """The `transforms`; if None, those given by the numbers."""
        if self.transforms is not None:
            return tuple(self.transforms)
        chosen: list[t.Transform] = []
        if self.jitter:
            chosen.append(t.jitter(self.jitter))
        if self.scale:
            chosen.append(t.scale(self.scale))
        if self.rotation:
            chosen.append(t.rotation(self.rotation))
        if self.octaves > 1:
            chosen.append(t.octaves(self.octaves, self.octave_scale))
        if self.coarse < 1:
            chosen.append(t.coarse_to_fine(self.coarse, self.coarse_part))
        return tuple(chosen)

    @property
    def chosen_parameterization(self) -> p.Parameterization:
        """The `parameterization`; if None, the one given by the numbers."""
        if self.parameterization is not None:
            return self.parameterization
        if self.fourier or self.decorrelate:
            return p.fourier(self.fourier, self.decorrelate)
        return p.pixels()

    @property
    def has_transforms(self) -> bool:
        """Whether the net is shown anything but the image itself."""
        return bool(self.chosen_transforms)

    @property
    def compares_images(self) -> bool:
        """Whether an image depends on its unit's others, so that they must share a batch."""
        return any(getattr(one, "compares_images", False) for one in self.chosen_regularizers)

    @property
    def differs_by_seed(self) -> bool:
        """Whether another seed gives another image."""
        return (
            start_differs_by_seed(self.start)
            or self.has_transforms
            or self.compares_images
            or isinstance(self.parameterization, p.maco)
        )

    def but(self, **changes: Any) -> AscentParams:
        """These parameters with some changed; names from earlier versions are accepted.

        A value, such as a list of regularizers, replaces numbers in these parameters, but not
        numbers given with it. Changed parameters also apply to hidden units, unless `hidden` itself
        is given.

        Raises
        ------
        UnknownNameError
            There is no parameter with that name.
        """
        known = [one.name for one in fields(self)]
        current = {OLD_NAMES.get(name, name): value for name, value in changes.items()}
        for name in current:
            if name not in known:
                raise UnknownNameError("ascent parameter", name, known)
        defaults = {one.name: one.default for one in fields(self)}
        replaced = {
            number: defaults[number]
            for name, numbers in REPLACES.items()
            if current.get(name) is not None
            for number in numbers
        }
        changed = {**replaced, **current}
        if "hidden" not in current:
            other = dict(self.hidden)
            changed["hidden"] = {name: other[name] for name in other if name not in changed}
        return replace(self, **changed)

    def record(self) -> dict[str, Any]:
        """The parameters as JSON types, the rate by its type's name and its own parameters.

        Parameters that are not from the paper are left out if they are off.
        """
        off = {one.name: one.default for one in fields(self) if one.name in EXTRAS}
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {
            STORED_AS.get(name, name): value_records.record_of(value)
            for name, value in values.items()
            if off.get(name, self) != value
        }
        if self.hidden:
            plain["hidden"] = dict(self.hidden)
        rate = plain["rate"] if "type" in plain["rate"] else {"type": type(self.rate).__name__}
        return {**plain, "rate": rate}

    def _expect(self, name: str, fits: bool, what: str) -> None:
        if not fits:
            raise SettingsError(f"{name} must be {what}; got {getattr(self, name)!r}")


def _check_value(where: str, value: Any, kind: type, example: str) -> None:
    """Check one entry of a list of values."""
    other_kinds = (r.Regularizer, t.Transform, p.Parameterization, type)
    if isinstance(value, kind) or (callable(value) and not isinstance(value, other_kinds)):
        return
    forgotten = f", the class: write {value.__name__}(...)" if isinstance(value, type) else ""
    raise SettingsError(f"{where} must be {example}; got {_given(value)}{forgotten}")


def _given(value: Any) -> str:
    return value.__qualname__ if isinstance(value, type) else repr(value)


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
    """The regularizers in one line, optionally followed by the rate."""
    q = params
    parts = [
        "minimizes" if q.sign < 0 else "",
        f"decay {q.decay:g}" if q.decay else "",
        f"blur {q.blur_width:g} px every {q.blur_every}" if q.blurs else "",
        f"clips values under {q.value_percentile:g}%" if q.value_percentile else "",
        f"clips norms under {q.norm_percentile:g}%" if q.norm_percentile else "",
        f"clips benefits under {q.benefit_percentile:g}%" if q.benefit_percentile else "",
        f"clips contributions under {q.contribution_percentile:g}%"
        if q.contribution_percentile
        else "",
    ]
    parts += [
        f"{name} {value_records.in_words(getattr(q, name))}"
        for name in REPLACES
        if getattr(q, name)
    ]
    parts += [  # the others by name
        f"{one.name.replace('_', ' ')} {getattr(q, one.name):g}"
        for one in fields(q)
        if isinstance(getattr(q, one.name), int | float)
        and one.name not in NAMED
        and getattr(q, one.name) != one.default
    ]
    said = ", ".join(part for part in parts if part) or "no regularization"
    if q.hidden:
        other = ", ".join(
            f"{name.replace('_', ' ')} {value:g}" for name, value in dict(q.hidden).items()
        )
        said += f"; for hidden units {other}"
    return f"{said}; {rate_in_words(q.rate)}" if rate else said


def rate_in_words(rate: Rate) -> str:
    """A learning rate in a few words."""
    match rate:
        case FallingLevels(levels):
            return f"{levels:g} gray levels a step, falling"
        case GrayLevels(levels):
            return f"{levels:g} gray levels a step"
        case Constant(lr):
            return f"rate {lr:g}"
        case Progress(max_lr, desired):
            return f"progress {desired:g}, rate at most {max_lr:g}"
        case Progress01(max_lr, early, late):
            return f"progress {early:g}, late {late:g}, rate at most {max_lr:g}"
    return type(rate).__name__
