"""Python layers of well-known projects that are computed here: ``python_param -> a type``.

The code of a Python layer is not in the net, so only its own Caffe runs it. A few are the same
everywhere; they get their class's name for a type, and the engines know that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import LayerParameter

# The class of the layer, and its module.
KNOWN = {"ProposalLayer": re.compile(r"(^|\.)proposal_layer$")}


def recognize(layer: LayerParameter) -> None:
    """Give a Python layer that is known, with options that are, its class's name for a type."""
    code = layer.python_param
    if layer.type == "Python" and code.layer in KNOWN and KNOWN[code.layer].search(code.module):
        try:
            proposal_options(code.param_str)
        except ModelError:  # somebody's own version of it, which only its own Caffe runs
            return
        layer.type = code.layer


def caffe_type(kind: str) -> str:
    """The type that Caffe knows a layer of this type by."""
    return "Python" if kind in KNOWN else kind


@dataclass(frozen=True)
class ProposalOptions:
    """The `param_str` of py-faster-rcnn's ProposalLayer.

    Attributes
    ----------
    feat_stride
        Pixels of the image between two positions of the map.
    ratios
        Height divided by width of the reference boxes.
    scales
        Their sizes, in units of 16 pixels.
    """

    feat_stride: int
    ratios: tuple[float, ...] = (0.5, 1, 2)
    scales: tuple[float, ...] = (8, 16, 32)


# Options of the layer's that have no effect on what it computes.
_BACKWARD_ONLY = frozenset({"clip_base", "gradient_scale", "use_clip"})  # MNC's
_ENTRY = re.compile(
    r"""['"]?(?P<name>\w+)['"]?\s*:\s*(?:!!python/tuple\s*)?"""
    r"""(?P<value>\[[^]]*\]|\([^)]*\)|[^\s,{}\[\]()]+)"""
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def proposal_options(text: str) -> ProposalOptions:
    """Read the `param_str` of a ProposalLayer, which is a flat mapping in YAML.

    Raises
    ------
    ModelError
        It has no feat_stride, or an option that is not known.
    """
    found = {
        match["name"]: tuple(map(float, _NUMBER.findall(match["value"])))
        for match in _ENTRY.finditer(text)
    }
    unknown = found.keys() - {"feat_stride", "ratios", "scales"} - _BACKWARD_ONLY
    if unknown or len(found.get("feat_stride", ())) != 1:
        what = (
            f"the unknown option(s) {', '.join(sorted(unknown))}" if unknown else "no feat_stride"
        )
        raise ModelError(f"its param_str {text!r} has {what}; known: feat_stride, ratios, scales")
    defaults = ProposalOptions(1)
    return ProposalOptions(
        int(found["feat_stride"][0]),
        found.get("ratios", defaults.ratios),
        found.get("scales", defaults.scales),
    )
