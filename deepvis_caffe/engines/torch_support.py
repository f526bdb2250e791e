"""What the torch engine can run, without importing PyTorch, which takes most of a second."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from deepvis_caffe.model.graph import Layer
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.python_layers import why_not_allowed
from deepvis_caffe.model.schema_pb2 import LayerParameter, PoolingParameter
from deepvis_caffe.model.shapes import RULES

FILLERS = ("constant", "gaussian", "uniform")
_CONVOLUTIONS = ("Convolution", "Deconvolution")
_POOLINGS = ("NdPooling", "Pooling", "Pooling3D")


def why_unknown(kind: str, param: LayerParameter | None = None) -> str:
    """Why this engine does not have a layer type; empty if it does.

    It has every type with a shape rule.
    """
    if kind in RULES:
        return ""
    if kind == "Python" and param is not None:
        return why_not_allowed(param)
    near = difflib.get_close_matches(kind, RULES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"the torch engine has no layer type {kind!r}{hint}"


def why_not(layer: Layer, weight_shapes: Sequence[Sequence[int]] = ()) -> str:
    """Why a layer cannot run, because of its type or parameters; empty if it can."""
    if unknown := why_unknown(layer.type, layer.param):
        return unknown
    axes = len(weight_shapes[0]) - 2 if weight_shapes else 2
    if layer.type in _CONVOLUTIONS and not 1 <= axes <= 3:
        return (
            f"layer {layer.name!r} ({layer.type}): got {axes} spatial axes; the torch engine "
            "supports one, two or three"
        )
    pool = layer.param.pooling_param.pool
    if layer.type in _POOLINGS and pool == PoolingParameter.STOCHASTIC:
        return (
            f"layer {layer.name!r} (Pooling): STOCHASTIC pooling is undefined outside training, in "
            "Caffe on the CPU as well; set pool: AVE or pool: MAX in the deploy prototxt"
        )
    fillers = layer.param.dummy_data_param.data_filler if layer.type == "DummyData" else ()
    for filler in fillers:
        if filler.type not in FILLERS:
            return (
                f"layer {layer.name!r} (DummyData): unsupported filler {filler.type!r}; the torch "
                "engine supports constant, uniform and gaussian"
            )
    return ""


def opaque_layers(model: Model) -> OpaqueLayers:
    """The layers of a model that this engine cannot run, and those that depend on them."""
    reasons = {}
    for layer in model.graph:
        shapes = [blob.shape for blob in model.weights.get(layer.name, ())]
        if why := model.faults.get(layer.name) or why_not(layer, shapes):
            reasons[layer.name] = why
    return OpaqueLayers(model.graph, reasons)


def for_processors_only() -> bool:
    """Whether the installed PyTorch is a CPU-only build, according to its version file."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    given = dict(re.findall(r"^(\w+)(?:\s*:[^=]*)?\s*=\s*(.+)$", text, re.MULTILINE))
    return all(given.get(one) == "None" for one in ("cuda", "hip"))
