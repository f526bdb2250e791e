"""A set of parameters as people read it: ``params -> "decay 0.0001, blur 1 px every 4"``."""

from __future__ import annotations

from dataclasses import fields

from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.rates import Constant, GrayLevels, Progress, Progress01, Rate

NAMED = (
    "decay",
    "blur_width",
    "blur_every",
    "value_percentile",
    "norm_percentile",
    "benefit_percentile",
    "contribution_percentile",
    "iterations",
)


def in_words(params: AscentParams, rate: bool = False) -> str:
    """The regularizers in one line, and the rate where it is asked for."""
    p = params
    parts = [
        f"decay {p.decay:g}" if p.decay else "",
        f"blur {p.blur_width:g} px every {p.blur_every}" if p.blurs else "",
        f"clips values under {p.value_percentile:g}%" if p.value_percentile else "",
        f"clips norms under {p.norm_percentile:g}%" if p.norm_percentile else "",
        f"clips benefits under {p.benefit_percentile:g}%" if p.benefit_percentile else "",
        f"clips contributions under {p.contribution_percentile:g}%"
        if p.contribution_percentile
        else "",
    ]
    parts += [  # what has no words of its own here, by its name
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
