"""``caffe.draw``: a net's layers and blobs as a graph, drawn by Graphviz through pydot."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.files import whole_file

COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
OTHER_LAYER, IN_PLACE_LAYER, BLOB = "#6495ED", "#90EE90", "#E0E0E0"


class DrawError(DeepVisError, ImportError):
    """The graph drawing library is not installed."""


def _pydot() -> Any:
    for name in ("pydot", "pydotplus"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise DrawError(
        "drawing a net needs pydot and Graphviz: pip install pydot, and the system's package "
        "graphviz"
    )


def _quoted(text: str) -> str:
    escaped = text.replace('"', r"\"")
    return f'"{escaped}"'  # without quotes a colon means a port


def _label(layer: Any, display_lrm: bool) -> str:
    lines = [layer.name, f"({layer.type})"]
    if layer.type == "Pooling":
        p = layer.pooling_param
        lines[1] = f"(Pooling {caffe_pb2.PoolingParameter.PoolMethod.Name(p.pool)})"
        lines.append(f"kernel size: {p.kernel_size}, stride: {p.stride}, pad: {p.pad}")
    elif layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        size, stride, pad = (
            "x".join(map(str, values)) or default
            for values, default in ((p.kernel_size, "1"), (p.stride, "1"), (p.pad, "0"))
        )
        lines.append(f"kernel size: {size}, stride: {stride}, pad: {pad}")
    if display_lrm and layer.type in ("Convolution", "Deconvolution", "InnerProduct"):
        rates = [param.lr_mult for param in layer.param] + [1.0, 1.0]
        lines.append(f"lr mult: {rates[0]:.1f}, {rates[1]:.1f}")
    return _quoted(r"\n".join(lines))


def _edge_label(layer: Any) -> str:
    if layer.type == "Data":
        return _quoted(f"Batch {layer.data_param.batch_size}")
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return _quoted("")


def _in_phase(layer: Any, phase: int | None) -> bool:
    if phase is None:
        return True
    included = not layer.include or any(rule.phase == phase for rule in layer.include)
    return included and not any(rule.phase == phase for rule in layer.exclude)


def get_pydot_graph(
    caffe_net: Any,
    rankdir: str = "LR",
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """The graph of a net: a node for each layer and each blob.

    Parameters
    ----------
    caffe_net
        A ``caffe_pb2.NetParameter``.
    rankdir
        The direction from bottoms to tops: ``LR``, ``TB`` or ``BT``.
    label_edges
        Whether to label edges with the layer's number of outputs.
    phase
        ``TRAIN`` or ``TEST``, to leave out the other phase's layers; None for all.
    display_lrm
        Whether to show the learning rate multipliers.

    Returns
    -------
    pydot.Dot

    Raises
    ------
    DrawError
        If pydot is not installed; it is an ``ImportError`` too.
    """
    pydot = _pydot()
    graph = pydot.Dot(_quoted(caffe_net.name or "Net"), graph_type="digraph", rankdir=rankdir)
    blobs: set[str] = set()
    for number, layer in enumerate(caffe_net.layer):
        if not _in_phase(layer, phase):
            continue
        in_place = list(layer.bottom) == list(layer.top) and len(layer.top) == 1
        color = IN_PLACE_LAYER if in_place else COLORS.get(layer.type, OTHER_LAYER)
        node = f"layer_{number}"
        label = _label(layer, display_lrm)
        graph.add_node(pydot.Node(node, label=label, shape="box", style="filled", fillcolor=color))
        for blob in dict.fromkeys([*layer.bottom, *layer.top]):
            if blob not in blobs:
                blobs.add(blob)
                style = {"shape": "octagon", "style": "filled", "fillcolor": BLOB}
                graph.add_node(pydot.Node(_quoted(f"{blob}_blob"), label=_quoted(blob), **style))
        for blob in layer.bottom:
            graph.add_edge(pydot.Edge(_quoted(f"{blob}_blob"), node))
        for blob in layer.top:
            text = _edge_label(layer) if label_edges else _quoted("")
            graph.add_edge(pydot.Edge(node, _quoted(f"{blob}_blob"), label=text))
    return graph


def draw_net(
    caffe_net: Any,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """The picture of a net as file content, in the format ``ext``.

    See `get_pydot_graph` for the parameters.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    return graph.create(format=ext)


def draw_net_to_file(
    caffe_net: Any,
    filename: str | Path,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write the picture of a net to a file, in the format of its extension.

    See `get_pydot_graph` for the parameters.
    """
    path = Path(filename)
    picture = draw_net(caffe_net, rankdir, path.suffix[1:], phase, display_lrm)
    with whole_file(path) as part:
        part.write_bytes(picture)
