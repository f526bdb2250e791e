"""Backward rules: ``(dy, x) -> dx`` where a mode differs from a layer's gradient.

Entries are missing where the mode uses the true gradient. Rules are written in operators that numpy
arrays and torch tensors share, so both engines run the same lines.

- deconv: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".
- guided: Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.model.graph import Layer

Rule = Callable[[Any, Any], Any]

MODES = ("gradient", "deconv", "guided")

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


def pass_through(dy: Any, x: Any) -> Any:
    """The diff unchanged."""
    return dy


RULES: dict[tuple[str, str], Rule] = {
    ("ReLU", "deconv"): relu_deconv,
    ("ReLU", "guided"): relu_guided,
    ("ReLU6", "deconv"): relu_deconv,
    ("ReLU6", "guided"): relu6_guided,
    ("LRN", "deconv"): pass_through,  # only where lrn_param.deconv_ignore is true
}


def check_mode(mode: str) -> str:
    """`mode` itself; `UnknownNameError` where it is none of `MODES`."""
    if mode not in MODES:
        raise UnknownNameError("backward mode", mode, MODES)
    return mode


def rule_for(layer: Layer, mode: str) -> Rule | None:
    """The rule that replaces `layer`'s gradient in `mode`, or None where the gradient holds."""
    if layer.type == "LRN" and not layer.param.lrn_param.deconv_ignore:
        return None
    rule = RULES.get((layer.type, mode))
    if rule is relu6_guided:
        return partial(relu6_guided, limit=layer.param.relu6_param.threshold)
    return rule
