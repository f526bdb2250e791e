"""The shapes of a net's inputs, if its file does not give them.

They are derived, in this order, from a data layer's parameters, from naming conventions
(``im_info``), and from the weights: those of the first convolution imply the number of channels,
and those of the first inner product the number of values in the maps below it, hence the image
size. A net that works at any size gets 224 x 224.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import lt
from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.mean import find_mean_file, mean_image_shape
from deepvis_caffe.model.schema_pb2 import LayerParameter, VideoDataParameter
from deepvis_caffe.model.shapes import RULES, Shapes, infer
from deepvis_caffe.model.sliding_window import convolution_window, pooling_window

Shape = tuple[int, ...]
Arrays = Mapping[str, Sequence[NDArray[np.float32]]]

COMMON = 224  # the side of most classifiers' images
COLOURS = 3
MOST = 2048  # the largest side to search
LARGE = 512  # a side at which most nets work
# Detection nets' inputs other than the image, from py-faster-rcnn: height, width and scale of the
# image; boxes as image index, left, top, right, bottom; and ground-truth boxes, which have the
# class at the end instead of the index.
CONVENTIONAL: Mapping[str, Shape] = {"im_info": (1, 3), "rois": (1, 5), "gt_boxes": (1, 5)}
# Common sides, the most common first: ImageNet classifiers, detectors, faces, digits, patches.
SIDES = (
    *(224, 227, 299, 28, 32, 256, 300, 112, 128, 96, 64, 48, 24, 12, 40, 60, 20, 36, 39, 15),
    *(100, 160, 144, 192, 208, 231, 250, 320, 321, 331, 384, 448, 416, 473, 500, 512, 513),
    *(600, 640, 713, 800, 1024),
)

OBLONG = ((360, 480), (240, 320), (480, 640), (360, 640), (720, 1280))  # height, width


# -- what follows from the file --------------------------------------------------------------------


@dataclass(frozen=True)
class Hint:
    """What a file tells about an input.

    Attributes
    ----------
    channels
        None if unknown.
    size
        Height and width; None if unknown.
    frames
        Number of frames of a video, an axis before height and width; None for images.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    frames: int | None = None

    @property
    def shape(self) -> Shape:
        """The resulting shape, with 3 channels if unknown; empty without a size."""
        return self.shape_of(self.channels or COLOURS, *self.size) if self.size else ()

    def shape_of(self, channels: int, height: int, width: int) -> Shape:
        """The shape of one image or video of that size."""
        return (1, channels, *([self.frames] if self.frames else []), height, width)


_HEIGHT_AND_WIDTH = (
    ("crop_height", "crop_width"),
    ("crop_h", "crop_w"),
    ("crop_size", "crop_size"),
    ("new_height", "new_width"),
    ("resize_height", "resize_width"),
    ("image_size_y", "image_size_x"),
    ("height", "width"),
)
# Blocks whose sizes are not the image's, but those of augmentations or crops.
_OTHER_SIZES = ("batch_sampler", "data_filler", "distort_param", "expand_param", "noise_param")
# Fields of Y. Xiong's VideoData, in which frames are channels. For C3D and video-caffe they are an
# axis.
_MAKES_CHANNELS = ("modality", "num_segments", "name_pattern", "encoded", "grayscale")


def hint_of(layer: LayerParameter, prototxt: Path | None = None) -> Hint:
    """What a data layer's parameters tell about the pictures in its first top.

    Caffe's own data layers and those of its forks use the same names. A crop size takes precedence
    over a resized size. Without either, pictures have the size of the mean image.

    Parameters
    ----------
    layer
        The layer.
    prototxt
        Its file, in whose folder the mean image is looked up; None without a file.
    """
    told: dict[str, list[float]] = {}
    _collect(layer, told)

    def number(name: str) -> int:
        return int(next(iter(told.get(name, [])), 0))

    pairs = ((number(height), number(width)) for height, width in _HEIGHT_AND_WIDTH)
    mean = _mean_shape(layer, prototxt)
    size = next((pair for pair in pairs if all(pair)), mean[1:] if mean else None)
    channels: int | None = None
    if number("force_gray") or (told.get("is_color") and not number("is_color")):
        channels = 1
    elif number("channels"):
        channels = number("channels")
    elif mean:
        channels = mean[0]
    elif len(told.get("mean_value", ())) > 1:
        channels = len(told["mean_value"])
    elif (
        number("force_color")
        or layer.type in ("ImageData", "DenseImageData", "WindowData")
        or not CONVENTIONAL.keys().isdisjoint(layer.top)
    ):
        channels = COLOURS  # these, and R-CNN's layers, read color unless is_color is false
    video = layer.video_data_param
    if any(map(video.HasField, _MAKES_CHANNELS)):
        return Hint(_channels_of_frames(video), size)
    frames = layer.image_data_param.new_length  # C3D 1.0
    if video.HasField("new_length"):  # C3D 1.1, video-caffe
        frames = video.new_length
    return Hint(channels or (COLOURS if frames else None), size, frames or None)


def _mean_shape(layer: LayerParameter, prototxt: Path | None) -> tuple[int, int, int] | None:
    """(C, H, W) of a data layer's mean image; Caffe refuses pictures of any other shape."""
    written = layer.transform_param.mean_file
    path = find_mean_file(prototxt, written) if written and prototxt else None
    return mean_image_shape(path) if path else None


def _channels_of_frames(video: VideoDataParameter) -> int:
    """Channels of the frames: two for flow, x and y, otherwise the colors."""
    colours = 1 if video.grayscale else COLOURS
    each = 2 if video.modality == VideoDataParameter.FLOW else colours
    return each * video.new_length * video.num_segments


def _collect(message: Message, told: dict[str, list[float]]) -> None:
    """Collect the numbers in a message at any depth, by field name."""
    for descriptor, value in message.ListFields():
        if descriptor.name in _OTHER_SIZES:
            continue
        values = value if descriptor.is_repeated else [value]
        for one in values:
            if isinstance(one, Message):
                _collect(one, told)
            elif isinstance(one, int | float):  # bool included
                told.setdefault(descriptor.name, []).append(one)


# -- what follows from the net and its weights -----------------------------------------------------


@dataclass
class Fitted:
    """Shapes of inputs that the file does not give.

    Attributes
    ----------
    shapes
        The shapes that were found, by blob.
    channels
        The numbers of channels of inputs about which nothing else was found.
    notes
        One sentence for each assumption and its reason.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def fit_inputs(
    graph: Graph, known: Mapping[str, Shape], hints: Mapping[str, Hint], weights: Arrays | None
) -> Fitted:
    """Find the shapes of inputs from the net and its weights.

    Parameters
    ----------
    graph
        The net.
    known
        The known input shapes.
    hints
        What the file tells about each of the others. One with a known size is examined as well,
        because files rarely give the number of channels.
    weights
        Arrays by layer name, as in the file; None without weights.
    """
    fitted, trial = Fitted(), _Trial(graph, dict(known), weights or {})
    for blob, shape in known.items():
        if trial.lacks_batch(blob, shape):
            fitted.shapes[blob] = trial.known[blob] = (1, *shape)
            fitted.notes.append(
                f"input {blob!r}, {times(shape)}, has no batch axis; {times((1, *shape))} is used"
            )
    reasons: dict[str, str] = {}
    for blob, hint in hints.items():
        first = trial.first_weighted(blob)
        if blob in CONVENTIONAL and not hint.size:
            fitted.shapes[blob], reasons[blob] = CONVENTIONAL[blob], "the usual size for that name"
        elif first and first.type == "InnerProduct" and not hint.size:
            inputs = trial.inputs_of(first)
            fitted.shapes[blob] = trial.for_inner_product(blob, first, hint)
            reasons[blob] = f"because layer {first.name!r} has weights for {inputs} inputs"
        else:
            channels = trial.channels(blob, first, hint)
            if first and channels and channels != hint.channels:
                some = "1 channel" if channels == 1 else f"{channels} channels"
                reasons[blob] = f"because layer {first.name!r} has weights for {some}"
            if hint.size:
                fitted.shapes[blob] = hint.shape_of(channels or COLOURS, *hint.size)
            elif channels and not hint.frames:
                fitted.channels[blob] = channels
        if first and first.type == "Deconvolution" and blob in fitted.channels:
            # Generators turn a vector into an image.
            fitted.shapes[blob] = (1, fitted.channels.pop(blob), 1, 1)
    trial.known |= fitted.shapes
    if fitted.channels and (found := trial.size(fitted.channels)):
        size, why = found
        for blob, channels in fitted.channels.items():
            fitted.shapes[blob] = (1, channels, *size)
            reasons[blob] = f"{reasons[blob]} and {why}" if blob in reasons else f"because {why}"
        fitted.channels.clear()
    for blob, reason in reasons.items():
        taken = fitted.shapes.get(blob, ())
        if taken and taken != hints[blob].shape:
            fitted.notes.append(f"input {blob!r} is assumed to be {times(taken)}, {reason}")
    return fitted


def times(shape: Iterable[int]) -> str:
    """A shape in words: ``1 x 3 x 224 x 224``."""
    return " x ".join(map(str, shape))


@dataclass
class _Trial:
    """Tries shapes on a net; see `fit_inputs`."""

    graph: Graph
    known: dict[str, Shape]
    weights: Arrays

    def first_weighted(self, blob: str) -> Layer | None:
        """The first layer that depends on an input and has weights in the file."""
        values = {Value(blob)}
        for layer in self.graph:
            if not values.isdisjoint(layer.bottoms):
                if len(self.weights.get(layer.name, ())):
                    return layer
                values.update(layer.tops)
        return None

    def inputs_of(self, layer: Layer) -> int:
        """The number of inputs of an InnerProduct's units, from its weights."""
        return self.weights[layer.name][0].size // max(
            layer.param.inner_product_param.num_output, 1
        )

    def for_inner_product(self, blob: str, first: Layer, hint: Hint) -> Shape:
        """A square image with 1 or 3 channels, if that gives the layer's number of inputs."""
        count = self.inputs_of(first)
        part = self._up_to(first)
        for channels in filter(None, (hint.channels, 1, COLOURS)):
            side = math.isqrt(count // channels)
            shape = (1, channels, side, side)
            # Fewer values are usually features, not pixels.
            if side >= 8 and math.prod(shape) == count and self._fits(part, {blob: shape}, first):
                return shape
        return (1, count)

    def channels(self, blob: str, first: Layer | None, hint: Hint) -> int | None:
        """The number of channels for which the first weights fit; None if unknown."""
        if first is None:
            return hint.channels
        array, conv = self.weights[first.name][0], first.param.convolution_param
        is_deconvolution = first.type == "Deconvolution"
        usual = array.size
        if array.ndim >= 4:
            usual = array.shape[0] if is_deconvolution else array.shape[1] * max(conv.group, 1)
        if first.type not in RULES:
            return usual if array.ndim == 4 else hint.channels
        part, size = self._up_to(first), hint.size or (COMMON, COMMON)

        def of(count: int) -> dict[str, Shape]:
            return {blob: hint.shape_of(count, *size)}

        counts = dict.fromkeys(filter(None, [hint.channels, usual, *range(1, 65)]))
        fitting = [n for n in counts if self._fits(part, of(n), first)]
        if len(fitting) < 2:
            return next(iter(fitting), hint.channels)
        # After a Slice, later layers see the other channels.
        return min(fitting, key=lambda n: self._lost(of(n)))

    def size(self, channels: Mapping[str, int]) -> tuple[tuple[int, int], str] | None:
        """Height and width for images with these channels, and the reason; None if unknown."""

        def images(height: int, width: int) -> dict[str, Shape]:
            return {blob: (1, count, height, width) for blob, count in channels.items()}

        # Both are large enough for any net's poolings; if they differ, some layer fixes the size.
        one, other = (self._weights(self.graph, images(side, side)) for side in (320, 352))
        target = next(
            (layer for layer in self.graph if one.get(layer.name) != other.get(layer.name)), None
        )
        if target is None:
            part = self._up_to_first_convolution(channels)
            sides = sorted(SIDES, key=lambda side: self.cut_off(part, images(side, side)))
            sizes = [*((side, side) for side in sides), *OBLONG]
            lost: dict[tuple[int, int], int] = {}
            for size in sizes:
                lost[size] = self._lost(images(*size))
                if not lost[size]:
                    break
            size = min(lost, key=lambda size: lost[size])
            return size, "its layers work at this size, and require no other"
        if not len(self.weights.get(target.name, ())):
            return None
        found = _Search(self, self._up_to(target), target, images).size()
        if found is None:
            return None
        return found, f"layer {target.name!r} has weights for {self.inputs_of(target)} inputs"

    def lacks_batch(self, blob: str, shape: Shape) -> bool:
        """Whether a 3-axis shape is that of a single image, with which more layers work and fit."""
        if len(shape) != 3:
            return False
        return self._lost({blob: (1, *shape)}) < self._lost({blob: shape})

    def cut_off(self, graph: Graph, images: Mapping[str, Shape]) -> int:
        """The number of layers whose windows do not cover their bottom: fewer is a better size.

        Layers with padding, overlapping pooling windows or gaps between windows do not count.
        """
        values = self.shapes(graph, images)[0].values
        return sum(
            _has_rest(layer.param, values[layer.bottoms[0]][2:])
            for layer in graph
            if layer.type in ("Convolution", "Pooling")
            and len(values.get(layer.bottoms[0], ())) == 4
        )

    def _up_to_first_convolution(self, images: Iterable[str]) -> Graph:
        inputs = set(map(Value, images))
        convolutions = (
            layer
            for layer in self.graph
            if layer.type == "Convolution" and not inputs.isdisjoint(layer.bottoms)
        )
        return self._up_to(next(convolutions, self.graph.layers[-1]))

    def _up_to(self, layer: Layer) -> Graph:
        return Graph(self.graph.name, self.graph.layers[: layer.index + 1])

    def shapes(self, graph: Graph, shapes: Mapping[str, Shape]) -> tuple[Shapes, dict[str, str]]:
        """All shapes for these input shapes, and the layers with faults."""
        faults: dict[str, str] = {}
        return infer(graph, {**self.known, **shapes}, faults), faults

    def _weights(
        self, graph: Graph, shapes: Mapping[str, Shape]
    ) -> Mapping[str, tuple[Shape, ...]]:
        return self.shapes(graph, shapes)[0].weights

    def _fits(self, graph: Graph, shapes: Mapping[str, Shape], layer: Layer) -> bool:
        needed = self._weights(graph, shapes).get(layer.name, ())
        return len(needed) > 0 and _same(self.weights[layer.name][0].shape, needed[0])

    def _lost(self, shapes: Mapping[str, Shape]) -> int:
        """The number of layers that cannot work, or do not fit their weights."""
        found, faults = self.shapes(self.graph, shapes)
        misfits = (
            name
            for name, needed in found.weights.items()
            if len(self.weights.get(name, ())) and not _same(self.weights[name][0].shape, needed[0])
        )
        return len(faults) + sum(1 for _ in misfits)


def _same(found: Shape, needed: Shape) -> bool:
    """Whether a blob in the file has this shape, or its legacy form with four axes."""
    return found == needed or (
        len(found) == 4 and found == (1,) * (4 - len(needed)) + tuple(needed)
    )


@dataclass
class _Search:
    """Searches the image size at which an inner product's input matches its weights."""

    trial: _Trial
    part: Graph
    target: Layer
    images: Callable[[int, int], dict[str, Shape]]

    def size(self) -> tuple[int, int] | None:
        goal = self.trial.weights[self.target.name][0].size
        fitting = _sides(lambda side: self._count(side, side), goal)
        # If some sizes do not work at all, the first search may miss those that do.
        usual = [
            side
            for side in SIDES
            if (side in fitting or not fitting) and self._count(side, side) == goal
        ]
        if usual:
            side = min(
                usual, key=lambda side: self.trial.cut_off(self.part, self.images(side, side))
            )
            return side, side
        return (_roundest(fitting),) * 2 if fitting else self._oblong(goal)

    def _count(self, height: int, width: int) -> int:
        """The number of weights that the layer would need."""
        shapes, _ = self.trial.shapes(self.part, self.images(height, width))
        needed = shapes.weights.get(self.target.name)
        return math.prod(needed[0]) if needed else 0

    def _oblong(self, goal: int) -> tuple[int, int] | None:
        """The size closest to a square, preferring landscape to portrait."""
        below = self._map_below()
        if below is None:
            return None

        def extent(axis: int, side: int) -> int:
            size = (side, LARGE) if axis == 2 else (LARGE, side)
            shapes, _ = self.trial.shapes(self.part, self.images(*size))
            return shapes.values[below][axis] if below in shapes.values else 0

        shapes, _ = self.trial.shapes(self.part, self.images(LARGE, LARGE))
        outputs = max(self.target.param.inner_product_param.num_output, 1)
        positions, rest = divmod(goal, outputs * shapes.values[below][1])
        if rest:
            return None
        divisors = [n for n in range(1, positions + 1) if positions % n == 0]
        pairs = [(high, positions // high) for high in divisors]
        for high, wide in sorted(pairs, key=lambda pair: (abs(math.log(pair[1] / pair[0])), pair)):
            heights = _sides(lambda side: extent(2, side), high)
            widths = _sides(lambda side: extent(3, side), wide)
            if heights and widths:
                size = _roundest(heights), _roundest(widths)
                if self._count(*size) == goal:
                    return size
        return None

    def _map_below(self) -> Value | None:
        """The nearest value below the layer with a height and width."""
        shapes, _ = self.trial.shapes(self.part, self.images(LARGE, LARGE))
        if self.target.name not in shapes.weights:
            return None
        value = self.target.bottoms[0]
        while len(shapes.values[value]) != 4 or shapes.values[value][2:] == (1, 1):
            writer = self.part.producer[value]
            if len(writer.bottoms) != 1:
                return None
            value = writer.bottoms[0]
        return value


def _has_rest(param: LayerParameter, size: Shape) -> bool:
    """Whether the windows of a layer without padding leave a remainder of its bottom."""
    try:
        if param.type == "Pooling":
            window = pooling_window(param.pooling_param, size)
            overlapping = any(map(lt, window.stride, window.kernel))
        else:
            window = convolution_window(param.convolution_param, len(size))
            overlapping = False
    except ModelError:
        return False
    skipping = any(map(lt, window.extent, window.stride))  # a 1 x 1 convolution of stride 2
    if overlapping or skipping or any(window.pad):
        return False
    steps = zip(size, window.extent, window.stride, strict=True)
    return any((pixels - extent) % stride for pixels, extent, stride in steps)


def _sides(measure: Callable[[int], int], goal: int) -> range:
    """The sides whose measure, which is nondecreasing in the side, equals the goal."""
    first = bisect_left(range(MOST), goal, key=measure)
    return range(first, bisect_right(range(MOST), goal, lo=first, key=measure))


def _roundest(sides: Iterable[int]) -> int:
    """The side divisible by the largest power of two up to 32; the largest of several."""
    return max(sides, key=lambda side: (min(side & -side, 32), side))


# -- which input is the image ----------------------------------------------------------------------


def image_input(shapes: Mapping[str, Shape], wanted: str | None = None) -> str:
    """The input that holds the image.

    It is the first one with 4 axes, 1 to 4 channels, and more than one row and column; otherwise
    the first with 4 axes; otherwise the first.

    Parameters
    ----------
    shapes
        By input blob, in the net's order. At least one.
    wanted
        The user's choice.

    Raises
    ------
    UnknownNameError
        There is no input `wanted`.
    """
    if wanted is not None:
        if wanted not in shapes:
            raise UnknownNameError("input", wanted, shapes)
        return wanted
    return max(shapes, key=lambda blob: is_image(shapes[blob]))


def is_image(shape: Shape) -> int:
    """How likely a shape is one of images: 2, 1 (4 axes) or 0."""
    if len(shape) != 4:
        return 0
    return 2 if shape[1] <= 4 and min(shape[2:]) > 1 else 1
