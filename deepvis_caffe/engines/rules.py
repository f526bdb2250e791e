"""Backward rules: ``(dy, x) -> dx`` where a mode differs from a layer's gradient.

There is no entry where a mode uses the true gradient. Rules use only operations that numpy arrays
and torch tensors share, so both engines run the same code.

- deconv: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".
- guided: Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net".
- redirected: the gradient, but where a ReLU blocks all of an image's diff, the part of it that
  would switch that ReLU's units on. As in lucid ("redirected ReLU gradients").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.model.graph import Layer

Rule = Callable[[Any, Any], Any]

MODES = ("gradient", "deconv", "guided")
REDIRECTED = "redirected"  # for ascents only: it tells nothing about an image
ASCENT_MODES = (*MODES, REDIRECTED)

# Layer types that choose, sort, compare or look up: they have no gradient.
NO_GRADIENT = frozenset(
    {
        *("Accuracy", "ArgMax", "BoxOutput", "DetectionEvaluate", "DetectionOutput", "Embed"),
        *("PriorBox", "PriorBoxClustered", "Proposal", "ProposalLayer", "RegionOutput"),
        *("Threshold", "YoloDetectionOutput", "Yolov3DetectionOutput"),
    }
)


def relu_deconv(dy: Any, x: Any) -> Any:
    """``max(dy, 0)``, whatever the sign of x."""
    return dy.clip(min=0)  # dy * (dy > 0) takes five times as long in torch


def relu_guided(dy: Any, x: Any) -> Any:
    """``max(dy, 0) * (x > 0)``; x may be the ReLU's input or output: their signs agree."""
    return dy * ((dy > 0) & (x > 0))


def relu6_guided(dy: Any, x: Any, limit: float = 6.0) -> Any:
    """``max(dy, 0) * (0 < x < limit)``; x may be the ReLU6's input or output."""
    return dy * ((dy > 0) & (x > 0) & (x < limit))


def relu_redirected(dy: Any, x: Any) -> Any:
    """``dy * (x > 0)``, or ``max(dy, 0)`` for an image where that is 0 everywhere."""
    through = dy * (x > 0)
    return through + dy.clip(min=0) * _silent(through)


def relu6_redirected(dy: Any, x: Any, limit: float = 6.0) -> Any:
    """As `relu_redirected`; units at the limit cannot rise further."""
    through = dy * ((x > 0) & (x < limit))
    return through + dy.clip(min=0) * (x < limit) * _silent(through)


def _silent(diff: Any) -> Any:
    """Which images have an all-zero diff, (N, 1, ...)."""
    nothing = ~(diff != 0).reshape(len(diff), -1).any(1)
    return nothing.reshape(-1, *(1,) * (diff.ndim - 1))


def pass_through(dy: Any, x: Any) -> Any:
    """The diff unchanged."""
    return dy


RULES: dict[tuple[str, str], Rule] = {
    ("ReLU", "deconv"): relu_deconv,
    ("ReLU", "guided"): relu_guided,
    ("ReLU6", "deconv"): relu_deconv,
    ("ReLU6", "guided"): relu6_guided,
    ("ReLU", REDIRECTED): relu_redirected,
    ("ReLU6", REDIRECTED): relu6_redirected,
    ("LRN", "deconv"): pass_through,  # only where lrn_param.deconv_ignore is true
}


def check_mode(mode: str, known: Sequence[str] = MODES) -> str:
    """`mode` itself; raises `UnknownNameError` if it is not known."""
    if mode not in known:
        raise UnknownNameError("backward mode", mode, known)
    return mode


def _has_slope(layer: Layer) -> bool:
    """Whether a rectifier has a negative slope, and so blocks no diff entirely."""
    param = layer.param.relu6_param if layer.type == "ReLU6" else layer.param.relu_param
    return bool(param.negative_slope)


def rule_for(layer: Layer, mode: str) -> Rule | None:
    """The rule that replaces `layer`'s gradient in `mode`; None to use the gradient."""
    if layer.type == "LRN" and not layer.param.lrn_param.deconv_ignore:
        return None
    if mode == REDIRECTED and _has_slope(layer):
        return None
    rule = RULES.get((layer.type, mode))
    if layer.type == "ReLU6" and rule in (relu6_guided, relu6_redirected):
        return partial(rule, limit=layer.param.relu6_param.threshold)
    return rule
