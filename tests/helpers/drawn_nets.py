"""Small nets for hypothesis, as text that real Caffe accepts: splits, layers in place, losses.

Every net is valid by construction, because real Caffe aborts the process at an invalid one. Nothing
in them is random: no Dropout in phase TRAIN, and no filler, because programs set all parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

Shape = tuple[int, ...]

LIKE = "like({blob}, seed={seed})"  # how a program makes an input's values

LABELS_COUNTED = ("normalization: NONE", "normalization: BATCH_SIZE", "ignore_label: 1")

V1_NAMES = {
    "AbsVal": "ABSVAL",
    "Accuracy": "ACCURACY",
    "BNLL": "BNLL",
    "Concat": "CONCAT",
    "Convolution": "CONVOLUTION",
    "Deconvolution": "DECONVOLUTION",
    "Dropout": "DROPOUT",
    "Eltwise": "ELTWISE",
    "EuclideanLoss": "EUCLIDEAN_LOSS",
    "Exp": "EXP",
    "Flatten": "FLATTEN",
    "InnerProduct": "INNER_PRODUCT",
    "LRN": "LRN",
    "MVN": "MVN",
    "Pooling": "POOLING",
    "Power": "POWER",
    "ReLU": "RELU",
    "Sigmoid": "SIGMOID",
    "SigmoidCrossEntropyLoss": "SIGMOID_CROSS_ENTROPY_LOSS",
    "Silence": "SILENCE",
    "Slice": "SLICE",
    "Softmax": "SOFTMAX",
    "SoftmaxWithLoss": "SOFTMAX_LOSS",
    "TanH": "TANH",
}


@dataclass(frozen=True)
class DrawnNet:
    """A net and what a program has to know about it.

    Parameters
    ----------
    text
        The prototxt.
    phase
        ``TEST`` or ``TRAIN``.
    inputs
        For each input an expression that makes its values, from ``blob`` and ``seed``.
    resizable
        Whether height and width of the inputs may grow; the batch always may.
    """

    text: str
    phase: str
    inputs: dict[str, str]
    resizable: bool


@dataclass
class Builder:
    """A net that grows a layer at a time.

    Parameters
    ----------
    draw
        Hypothesis's.
    style
        ``Input`` layers, ``input`` fields, or ``V1``: ``input`` fields and ``layers``.
    """

    draw: Callable
    style: str
    phase: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    inputs: dict[str, Shape] = field(default_factory=dict)
    makers: dict[str, str] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)  # blobs that a layer reads as they now are
    resizable: bool = True

    def one_of(self, *values):
        return self.draw(st.sampled_from(values))

    def input(self, name: str, shape: Shape, maker: str = LIKE) -> str:
        """A new input."""
        self.inputs[name] = self.shapes[name] = shape
        self.makers[name] = maker
        return name

    def add(
        self,
        kind: str,
        bottoms: Sequence[str],
        shapes: Sequence[Shape],
        params: str = "",
        in_place: bool = False,
        weights: str = "",
    ) -> None:
        """A new layer, in place where it can be and hypothesis likes.

        Parameters
        ----------
        kind
            Its type.
        bottoms
            Blobs that it reads.
        shapes
            The shape of each top.
        params
            Its parameters as text.
        in_place
            Whether Caffe lets it work in place.
        weights
            The shapes of its weights in words; layers of the same words may share.
        """
        name = f"{kind.lower()}{len(self.layers)}"
        tops = [name] if len(shapes) == 1 else [f"{name}_{i}" for i in range(len(shapes))]
        if in_place and bottoms[0] not in self.read and bottoms[0] not in bottoms[1:]:
            tops = self.one_of([bottoms[0]], tops)
        has_loss = bool(tops) and tops[0] != bottoms[0] and self.draw(st.integers(0, 7)) == 0
        if has_loss:
            params += " loss_weight: 0.5" * len(tops)
        if weights:
            params += self._weight_specs(kind, weights)
        self.read |= set(bottoms)
        self.read -= set(tops)
        if has_loss:  # Caffe counts it as a reader
            self.read |= set(tops)
        self.shapes |= dict(zip(tops, shapes, strict=True))
        self.layers.append(self._layer(name, kind, bottoms, tops, params))

    def put(self, kind: str, bottoms: Sequence[str], params: str = "") -> None:
        """A new layer that ends in a number."""
        name = f"{kind.lower()}{len(self.layers)}"
        self.layers.append(self._layer(name, kind, bottoms, [name], params))

    def _weight_specs(self, kind: str, words: str) -> str:
        how = self.one_of("plain", "plain", "shared", "frozen", "frozen bias")
        if how == "shared":
            names = [f"{kind} {words} {part}" for part in ("w", "b")[: words.count(";") + 1]]
            if self.style == "V1":
                return "".join(f' param: "{name}"' for name in names)
            return "".join(f' param {{ name: "{name}" }}' for name in names)
        if how == "plain":
            return ""
        rates = ["0" if how == "frozen" else "1", "0"][: words.count(";") + 1]
        if self.style == "V1":
            return "".join(f" blobs_lr: {rate}" for rate in rates)
        return "".join(f" param {{ lr_mult: {rate} }}" for rate in rates)

    def _layer(
        self, name: str, kind: str, bottoms: Sequence[str], tops: Sequence[str], params: str
    ) -> str:
        blobs = [f'bottom: "{b}"' for b in bottoms] + [f'top: "{t}"' for t in tops]
        outer, kind = ("layers", V1_NAMES[kind]) if self.style == "V1" else ("layer", f'"{kind}"')
        return f'{outer} {{ name: "{name}" type: {kind} {" ".join(blobs)} {params} }}'

    def text(self, force_backward: bool) -> str:
        """The whole net."""
        lines = ['name: "drawn"', f"force_backward: {str(force_backward).lower()}"]
        for name, shape in self.inputs.items():
            dims = " ".join(f"dim: {d}" for d in shape)
            lines.append(
                f'layer {{ name: "{name}" type: "Input" top: "{name}" '
                f"input_param {{ shape {{ {dims} }} }} }}"
                if self.style == "Input"
                else f'input: "{name}" input_shape {{ {dims} }}'
            )
        return "\n".join([*lines, *self.layers])

    def allows(self, kind: str) -> bool:
        """Whether the style has a word for this type."""
        return self.style != "V1" or kind in V1_NAMES


def _size(size: int, kernel: int, stride: int, pad: int, ceil: bool = False) -> int:
    room = size + 2 * pad - kernel
    count = (-(-room // stride) if ceil else room // stride) + 1
    return count - 1 if ceil and pad and (count - 1) * stride >= size + pad else count


# -- one kind of layer each: (builder, the blob to read) -> whether one was added -----------------


def _convolution(net: Builder, x: str) -> bool:
    n, c, h, w = net.shapes[x]
    kernel, stride, pad = net.one_of(1, 2, 3), net.one_of(1, 2), net.one_of(0, 1)
    if min(h, w) + 2 * pad < kernel:
        return False
    group = net.one_of(1, 2) if c % 2 == 0 else 1
    outputs = group * net.one_of(1, 2)
    bias = net.draw(st.booleans())
    params = (
        f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} group: {group}"
        f" bias_term: {str(bias).lower()}"
    )
    net.add(
        "Convolution",
        [x],
        [(n, outputs, *(_size(size, kernel, stride, pad) for size in (h, w)))],
        f"convolution_param {{ {params} }}",
        weights=f"{outputs} {c // group} {kernel}" + ("; b" if bias else ""),
    )
    return True


def _deconvolution(net: Builder, x: str) -> bool:
    n, c, h, w = net.shapes[x]
    kernel, stride, outputs = net.one_of(1, 2, 3), net.one_of(1, 2), net.one_of(1, 2)
    if max(h, w) > 6:
        return False
    params = f"num_output: {outputs} kernel_size: {kernel} stride: {stride}"
    net.add(
        "Deconvolution",
        [x],
        [(n, outputs, *((size - 1) * stride + kernel for size in (h, w)))],
        f"convolution_param {{ {params} }}",
        weights=f"{c} {outputs} {kernel}; b",
    )
    return True


def _pooling(net: Builder, x: str) -> bool:
    n, c, h, w = net.shapes[x]
    how = net.one_of("MAX", "MAX", "AVE")
    if net.draw(st.integers(0, 4)) == 0:
        params = f"pooling_param {{ pool: {how} global_pooling: true }}"
        net.add("Pooling", [x], [(n, c, 1, 1)], params)
        return True
    kernel, stride, pad = net.one_of(2, 3), net.one_of(1, 2), net.one_of(0, 1)
    if min(h, w) + 2 * pad < kernel:
        return False
    net.add(
        "Pooling",
        [x],
        [(n, c, *(_size(size, kernel, stride, pad, ceil=True) for size in (h, w)))],
        f"pooling_param {{ pool: {how} kernel_size: {kernel} stride: {stride} pad: {pad} }}",
    )
    return True


def _lrn(net: Builder, x: str) -> bool:
    region = net.one_of("ACROSS_CHANNELS", "WITHIN_CHANNEL")
    params = f"lrn_param {{ local_size: 3 alpha: 0.5 beta: 0.75 norm_region: {region} }}"
    net.add("LRN", [x], [net.shapes[x]], params)
    return True


def _pointwise(net: Builder, x: str) -> bool:
    kind, params, in_place = net.one_of(
        ("ReLU", "", True),
        ("ReLU", "", True),
        ("ReLU", "relu_param { negative_slope: 0.2 }", True),
        ("Sigmoid", "", True),
        ("TanH", "", True),
        ("ELU", "elu_param { alpha: 0.5 }", True),
        ("BNLL", "", True),
        ("AbsVal", "", False),
        ("Power", "power_param { scale: 0.5 shift: 0.25 }", True),
        ("Power", "power_param { power: 2 scale: 0.5 shift: 0.25 }", True),
        ("Exp", "exp_param { scale: 0.2 }", True),
        ("PReLU", "", True),
        ("Dropout", "dropout_param { dropout_ratio: 0.3 }", True),
    )
    if not net.allows(kind) or (kind == "Dropout" and net.phase == "TRAIN"):
        return False
    if kind == "PReLU" and len(net.shapes[x]) == 2:
        net.resizable = False
    net.add(kind, [x], [net.shapes[x]], params, in_place=in_place)
    return True


def _affine(net: Builder, x: str) -> bool:
    kind, params = net.one_of(
        ("BatchNorm", ""),
        ("BatchNorm", "batch_norm_param { use_global_stats: true }"),
        ("BatchNorm", "batch_norm_param { use_global_stats: false eps: 0.1 }"),
        ("Scale", "scale_param { bias_term: true }"),
        ("Scale", ""),
        ("Bias", ""),
    )
    if not net.allows(kind):
        return False
    if kind == "BatchNorm" and net.phase == "TRAIN" and not params:
        params = "batch_norm_param { eps: 0.1 }"  # or few values blow up the error of rounding
    if len(net.shapes[x]) == 2:
        net.resizable = False
    net.add(kind, [x], [net.shapes[x]], params, in_place=True)
    return True


def _inner_product(net: Builder, x: str) -> bool:
    shape = net.shapes[x]
    outputs = net.one_of(2, 3)
    transpose = net.allows("BatchNorm") and net.draw(st.booleans())
    params = f"num_output: {outputs} transpose: {str(transpose).lower()}"
    count = math.prod(shape[1:])
    net.resizable = False
    net.add(
        "InnerProduct",
        [x],
        [(shape[0], outputs)],
        f"inner_product_param {{ {params} }}",
        weights=f"{outputs} {count} {transpose}; b",
    )
    return True


def _flatten(net: Builder, x: str) -> bool:
    shape = net.shapes[x]
    count = math.prod(shape[1:])
    if net.allows("Reshape") and net.draw(st.booleans()):
        params = "reshape_param { shape { dim: 0 dim: -1 } }"
        net.add("Reshape", [x], [(shape[0], count)], params)
    else:
        net.add("Flatten", [x], [(shape[0], count)])
    return True


def _softmax(net: Builder, x: str) -> bool:
    net.add("Softmax", [x], [net.shapes[x]], in_place=True)
    return True


def _slice(net: Builder, x: str) -> bool:
    n, c, *rest = net.shapes[x]
    if c < 2:
        return False
    net.add("Slice", [x], [(n, 1, *rest), (n, c - 1, *rest)], "slice_param { slice_point: 1 }")
    return True


def _partner(net: Builder, x: str, fits: Callable[[Shape], bool]) -> str | None:
    blobs = [blob for blob, shape in net.shapes.items() if fits(shape)]
    if not blobs:
        return None
    y = net.one_of(*blobs)
    first = next(iter(net.inputs.values()))
    if net.shapes[x][2:] != first[2:]:
        net.resizable = False  # two ways to one size may part at another
    return y


def _eltwise(net: Builder, x: str) -> bool:
    y = _partner(net, x, lambda shape: shape == net.shapes[x])
    params, kind = net.one_of(
        ("eltwise_param { operation: SUM }", "Eltwise"),
        ("eltwise_param { operation: SUM coeff: 0.5 coeff: -1 }", "Eltwise"),
        ("eltwise_param { operation: PROD }", "Eltwise"),
        ("eltwise_param { operation: MAX }", "Eltwise"),
        ("scale_param { axis: 0 }", "Scale"),
    )
    if y is None or not net.allows(kind):
        return False
    net.add(kind, [x, y], [net.shapes[x]], params)
    return True


def _concat(net: Builder, x: str) -> bool:
    n, c, *rest = net.shapes[x]
    y = _partner(net, x, lambda shape: (shape[0], *shape[2:]) == (n, *rest) and len(shape) > 1)
    if y is None:
        return False
    net.add("Concat", [x, y], [(n, c + net.shapes[y][1], *rest)])
    return True


def _tile(net: Builder, x: str) -> bool:
    n, c, *rest = net.shapes[x]
    net.add("Tile", [x], [(n, 2 * c, *rest)], "tile_param { tiles: 2 }")
    return True


def _reduction(net: Builder, x: str) -> bool:
    how = net.one_of("SUM", "ASUM", "SUMSQ", "MEAN")
    net.add(
        "Reduction", [x], [net.shapes[x][:1]], f"reduction_param {{ operation: {how} axis: 1 }}"
    )
    return True


def _silence(net: Builder, x: str) -> bool:
    net.add("Silence", [x], [])
    return True


def _crop(net: Builder, x: str) -> bool:
    n, c, h, w = net.shapes[x]
    y = _partner(net, x, lambda s: len(s) == 4 and s[0] == n and s[2] <= h and s[3] <= w)
    if y is None:
        return False
    net.resizable = net.resizable and net.shapes[y][2:] == (h, w)
    net.add("Crop", [x, y], [(n, c, *net.shapes[y][2:])], "crop_param { axis: 2 }")
    return True


def _mvn(net: Builder, x: str) -> bool:
    across = net.one_of("true", "false")
    params = f"mvn_param {{ across_channels: {across} eps: 0.01 }}"
    net.add("MVN", [x], [net.shapes[x]], params)
    return True


def _permute(net: Builder, x: str) -> bool:
    order = net.one_of((0, 1, 2, 3), (0, 2, 3, 1), (0, 1, 3, 2))
    shape = tuple(net.shapes[x][axis] for axis in order)
    params = " ".join(f"order: {axis}" for axis in order)
    net.resizable = False
    net.add("Permute", [x], [shape], f"permute_param {{ {params} }}")
    return True


IMAGE_LAYERS = (
    _convolution,
    _convolution,
    _deconvolution,
    _pooling,
    _pooling,
    _lrn,
    _crop,
    _mvn,
    _permute,
)
NOT_IN_V1 = (_tile, _reduction, _crop, _permute)
LAYERS = (
    _pointwise,
    _pointwise,
    _pointwise,
    _affine,
    _inner_product,
    _flatten,
    _softmax,
    _slice,
    _eltwise,
    _eltwise,
    _concat,
    _tile,
    _reduction,
    _silence,
)


def _loss(net: Builder, x: str, force_backward: bool) -> None:
    n, classes, *rest = net.shapes[x]
    kind = net.one_of("SoftmaxWithLoss", "EuclideanLoss", "SigmoidCrossEntropyLoss")
    shape, maker = net.shapes[x], LIKE
    params = net.one_of("", "loss_weight: 0.5", "loss_weight: 3")
    if kind == "SigmoidCrossEntropyLoss":
        maker = "labels({blob}, 2, {seed})"
    elif kind == "SoftmaxWithLoss":
        shape, maker = (n, 1, *rest) if rest else (n,), f"labels({{blob}}, {classes}, {{seed}})"
        params += net.one_of("", *(f" loss_param {{ {how} }}" for how in LABELS_COUNTED))
    target = net.input(f"target{len(net.inputs)}", shape, maker)
    net.resizable = False
    net.put(kind, [x, target], params)
    # Real Caffe's Accuracy aborts in a backward pass.
    if kind == "SoftmaxWithLoss" and not force_backward and net.one_of(True, False):
        net.put("Accuracy", [x, target])


@st.composite
def nets(draw: Callable) -> DrawnNet:
    """A net of a few layers."""
    phase = draw(st.sampled_from(["TEST", "TEST", "TEST", "TRAIN"]))
    net = Builder(draw, draw(st.sampled_from(["Input", "Input", "fields", "V1"])), phase)
    force_backward = draw(st.booleans())
    size = st.integers(3, 6)
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(size), draw(size))
    net.input("data", shape)
    if draw(st.integers(0, 3)) == 0:
        net.input("extra", shape)
    for _ in range(draw(st.integers(2, 7))):
        blobs = [blob for blob, shape in net.shapes.items() if len(shape) > 1]
        x = blobs[-1] if draw(st.booleans()) else draw(st.sampled_from(blobs))
        choices = LAYERS + (IMAGE_LAYERS if len(net.shapes[x]) == 4 else ())
        make = draw(st.sampled_from(choices))
        if net.style != "V1" or make not in NOT_IN_V1:
            make(net, x)
    features = [b for b, shape in net.shapes.items() if b not in net.inputs and len(shape) > 1]
    for _ in range(draw(st.integers(0, 2)) if features else 0):
        _loss(net, draw(st.sampled_from(features)), force_backward)
    if not net.layers:
        _pointwise(net, "data") or _inner_product(net, "data")
    return DrawnNet(net.text(force_backward), phase, net.makers, net.resizable)
