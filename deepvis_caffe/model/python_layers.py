"""Python layers: those of well-known projects, those that the user allows to run, and all others.

The code of a Python layer is not in the net. A few are the same everywhere; they get their class
name as type, which the engines know. The modules of others are only imported if the user names
them, because importing a module runs it: a prototxt must not decide which code runs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import LayerParameter, NetParameter

# The class of the layer, and its module.
KNOWN = {"ProposalLayer": re.compile(r"(^|\.)proposal_layer$")}
# The type of a layer whose module the user allows.
ALLOWED = "PythonLayer"
_allowed: set[str] = set()  # the modules that some net of this process may import
# The module that calls users' layers. It is above the model and the engines, so it is imported
# lazily, with the first such layer.
CALLER = "deepvis_caffe.caffe.layer_alone"


def recognize(layer: LayerParameter) -> None:
    """Set the type of a known Python layer with known options to its class name."""
    code = layer.python_param
    if layer.type == ALLOWED:  # a prototxt must not use this type itself
        layer.type = "Python"
    if layer.type == "Python" and code.layer in KNOWN and KNOWN[code.layer].search(code.module):
        try:
            proposal_options(code.param_str)
        except ModelError:  # a modified version, which only its own Caffe runs
            return
        layer.type = code.layer


def caffe_type(kind: str) -> str:
    """Caffe's name for a type."""
    return "Python" if kind in KNOWN or kind == ALLOWED else kind


def allow(net: NetParameter, modules: Collection[str]) -> None:
    """Allow the embedded engine to run the Python layers of these modules.

    Parameters
    ----------
    net
        A deploy net; its layers of type Python get the type `ALLOWED`.
    modules
        Module names, as in the prototxt.
    """
    if not modules or not find_spec("torch"):  # then only Caffe runs them, without asking
        return
    for layer in net.layer:
        if layer.type == "Python" and layer.python_param.module in modules:
            layer.type = ALLOWED
            _allowed.add(layer.python_param.module)


def why_not_allowed(layer: LayerParameter) -> str:
    """Why a Python layer does not run, and what to do about it."""
    code = layer.python_param
    return (
        f"it is a Python layer (class {code.layer!r} of module {code.module!r}), and its module is "
        f'not allowed to run; to allow it, set python_layers = ("{code.module}",) in the settings, '
        f"or give --python-layers {code.module}"
    )


def caller(layer: LayerParameter) -> Any:
    """The module that calls users' layers, for one whose module the user allows.

    Raises
    ------
    ModelError
        The user has not allowed it.
    """
    if layer.python_param.module not in _allowed:
        raise ModelError(why_not_allowed(layer))
    return importlib.import_module(CALLER)


@dataclass(frozen=True)
class ProposalOptions:
    """The `param_str` of py-faster-rcnn's ProposalLayer.

    Attributes
    ----------
    feat_stride
        Image pixels between neighboring positions of the map.
    ratios
        Height divided by width of the anchors.
    scales
        Sizes of the anchors, in units of 16 pixels.
    """

    feat_stride: int
    ratios: tuple[float, ...] = (0.5, 1, 2)
    scales: tuple[float, ...] = (8, 16, 32)


# The layer's options that do not affect its output.
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
        It has no feat_stride, or an unknown option.
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
