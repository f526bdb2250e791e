"""Backward rules: ``(dy, x) -> dx`` where a mode differs from a layer's gradient.

Entries are missing where the mode uses the true gradient. Rules are written in operators that numpy
arrays and torch tensors share, so both engines run the same lines.

- deconv: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".
- guided: Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net".
- redirected: the gradient, and where it ends at a ReLU that lets nothing of an image through, what
  would switch that ReLU's units on. As lucid has it ("redirected ReLU gradients").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.model.graph import Layer

Rule = Callable[[Any, Any], Any]

MODES = ("gradient", "deconv", "guided")
REDIRECTED = "redirected"  # an ascent's alone: it says nothing of an image
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
    return dy.clip(min=0)  # a product with dy > 0 takes torch five times as long


def relu_guided(dy: Any, x: Any) -> Any:
    """``max(dy, 0) * (x > 0)``; x may be the ReLU's input or its output, their signs agree."""
    return dy * ((dy > 0) & (x > 0))


def relu6_guided(dy: Any, x: Any, limit: float = 6.0) -> Any:
    """``max(dy, 0) * (0 < x < limit)``; x may be the ReLU6's input or its output."""
    return dy * ((dy > 0) & (x > 0) & (x < limit))


def relu_redirected(dy: Any, x: Any) -> Any:
    """``dy * (x > 0)``; in an image where that is 0 everywhere, ``max(dy, 0)``."""
    through = dy * (x > 0)
    return through + dy.clip(min=0) * _silent(through)


def relu6_redirected(dy: Any, x: Any, limit: float = 6.0) -> Any:
    """As `relu_redirected`; units at the limit cannot rise any more."""
    through = dy * ((x > 0) & (x < limit))
    return through + dy.clip(min=0) * (x < limit) * _silent(through)


def _silent(diff: Any) -> Any:
    """Which images have a diff that is 0 everywhere, (N, 1, ...)."""
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
    """`mode` itself; `UnknownNameError` where it is not known."""
    if mode not in known:
        raise UnknownNameError("backward mode", mode, known)
    return mode


def _has_slope(layer: Layer) -> bool:
    """Whether a rectifier lets a part of every diff through."""
    param = layer.param.relu6_param if layer.type == "ReLU6" else layer.param.relu_param
    return bool(param.negative_slope)


def rule_for(layer: Layer, mode: str) -> Rule | None:
    """The rule that replaces `layer`'s gradient in `mode`, or None where the gradient holds."""
    if layer.type == "LRN" and not layer.param.lrn_param.deconv_ignore:
        return None
    if mode == REDIRECTED and _has_slope(layer):
        return None
    rule = RULES.get((layer.type, mode))
    if layer.type == "ReLU6" and rule in (relu6_guided, relu6_redirected):
        return partial(rule, limit=layer.param.relu6_param.threshold)
    return rule
