"""Windows of the input: ``(model, value, position) -> the part of the image that a unit needs``.

Likewise for a block of positions.

A unit of a convolution sees only its receptive field. On a window around that, the unit has the
same value and gradient as on the full image, provided that

- the window starts at a multiple of every stride on the path from the input, so that each strided
  layer keeps its grid (including rows and columns of padding), and
- it ends where the image ends if the unit sees the padding beyond.

Then everything that the unit depends on is inside the window at every layer, and the window's own
borders only affect what the unit does not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from weakref import WeakKeyDictionary

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.receptive import ReceptiveField
from deepvis_caffe.model.shapes import infer

Box = tuple[int, int, int, int]
Sizes = dict[tuple[Value, tuple[int, int]], tuple[int, int] | None]

# Layers whose step depends on the size of the whole map, so that a part would give other values.
STRETCHED = ("Interp", "Resample")

_sizes: WeakKeyDictionary[Model, Sizes] = WeakKeyDictionary()


@dataclass(frozen=True)
class InputWindow:
    """A part of the input that suffices for the value and gradient of one or several units.

    Attributes
    ----------
    box
        (top, left, bottom, right) in input pixels; bottom and right are excluded.
    index
        The unit's position, (y, x), in the map that the net computes for this part; for a block,
        that of its first unit.
    extent
        Height and width of that map.
    """

    box: Box
    index: tuple[int, int]
    extent: tuple[int, int]

    @property
    def rows(self) -> slice:
        """The rows of the image."""
        return slice(self.box[0], self.box[2])

    @property
    def columns(self) -> slice:
        """The columns of the image."""
        return slice(self.box[1], self.box[3])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


def window_of(model: Model, value: Value, index: Sequence[int] | None) -> InputWindow | None:
    """The smallest window for one position of a value, or None if it needs the whole image.

    Parameters
    ----------
    model
        Layers and shapes; weights are not read.
    value
        The value to maximize.
    index
        (y, x) in its map; None for the whole map.

    Returns
    -------
    InputWindow or None
        None also if some layer on the way does not slide evenly over the image, or is unknown.
    """
    if index is None or len(index) != 2:
        return None
    y, x = index
    return window_of_block(model, value, (y, x, y + 1, x + 1))


def window_of_block(model: Model, value: Value, block: Box) -> InputWindow | None:
    """The smallest window for a block of positions, or None if it needs the whole image.

    Parameters
    ----------
    model, value
        As for :func:`window_of`.
    block
        (top, left, bottom, right) in the value's map; bottom and right are excluded.

    Returns
    -------
    InputWindow or None
        None also if some layer on the way does not slide evenly over the image, or is unknown.
    """
    found = common_window(model, {value: block})
    return found[value] if found else None


def common_window(model: Model, blocks: Mapping[Value, Box]) -> dict[Value, InputWindow] | None:
    """The smallest window for blocks of several values, or None if they need the whole image.

    Parameters
    ----------
    model
        As for :func:`window_of`.
    blocks
        As for :func:`window_of_block`, one for each value.

    Returns
    -------
    dict or None
        The window of each value; all have the same box.
    """
    fields = model.receptive_fields
    layers = model.graph.ancestors(blocks)
    on_the_way = [top for layer in layers for top in layer.tops]
    if any(value not in fields for value in blocks):
        return None
    sources = [model.graph.producer[source] for source in model.graph.sources(blocks)]
    if sum(layer.type == "Input" for layer in sources) > 1:
        return None  # a second input, whose size would have to change, too
    if any(layer.type in STRETCHED for layer in layers):
        return None
    steps = [fields[top].stride for top in on_the_way if top in fields]
    if len(steps) < len(on_the_way) or not all(_even(stride) for stride in steps):
        return None
    grid = (lcm(*(int(rows) for rows, _ in steps)), lcm(*(int(columns) for _, columns in steps)))
    boxes = [_aligned(fields[value], grid, block) for value, block in blocks.items()]
    (tops, lefts, bottoms, rights) = zip(*boxes, strict=True)
    box = min(tops), min(lefts), max(bottoms), max(rights)
    windows = {}
    for value, block in blocks.items():
        field = fields[value]
        if box == (0, 0, *field.input_size):
            return None
        index = (
            block[0] - box[0] // int(field.stride[0]),
            block[1] - box[1] // int(field.stride[1]),
        )
        extent = _map_size(model, value, (box[2] - box[0], box[3] - box[1]))
        size = block[2] - block[0], block[3] - block[1]
        if not extent or any(i + n > e for i, n, e in zip(index, size, extent, strict=True)):
            return None
        windows[value] = InputWindow(box, index, extent)
    return windows


def keeps_shapes(model: Model, values: Sequence[Value], size: tuple[int, int]) -> bool:
    """Whether values have the same shapes for images of another height and width.

    True for values pooled over the whole map, for example. False if the layers do not fit such an
    image, or the net has a second input.
    """
    layers = model.graph.ancestors(values)
    if sum(layer.type == "Input" for layer in layers) > 1:
        return False
    image = model.image_input
    if any(layer.type in STRETCHED for layer in layers):
        return False
    try:
        shapes = [
            infer(Graph(model.graph.name, layers), {image: (1, model.input_shapes[image][1], *of)})
            for of in (size, tuple(model.input_shapes[image][2:]))
        ]
    except ModelError:
        return False
    small, whole = shapes
    return small.weights == whole.weights and all(
        value in small.values and small.values[value] == whole.values[value] for value in values
    )


def _even(stride: tuple[object, object]) -> bool:
    return all(isinstance(step, int) and step > 0 for step in stride)


def _aligned(field: ReceptiveField, grid: tuple[int, int], block: Box) -> Box:
    rows, columns = field.window(block[0], block[1])
    last_rows, last_columns = field.window(block[2] - 1, block[3] - 1)
    # A unit that sees only padding still needs a nonempty image.
    top = min(rows.start, field.input_size[0] - 1) // grid[0] * grid[0]
    left = min(columns.start, field.input_size[1] - 1) // grid[1] * grid[1]
    return top, left, max(last_rows.stop, top + 1), max(last_columns.stop, left + 1)


def _map_size(model: Model, value: Value, size: tuple[int, int]) -> tuple[int, int] | None:
    """The value's height and width for an image of that size; None if the layers do not fit it."""
    known = _sizes.setdefault(model, {})
    if (value, size) not in known:  # a layer's windows have few different sizes
        known[value, size] = _inferred(model, value, model.graph.ancestors([value]), size)
    return known[value, size]


def _inferred(
    model: Model, value: Value, layers: tuple[Layer, ...], size: tuple[int, int]
) -> tuple[int, int] | None:
    image = model.image_input
    channels = model.input_shapes[image][1]
    try:
        found = infer(Graph(model.graph.name, layers), {image: (1, channels, *size)})
    except ModelError:
        return None
    if any(tuple(need) != tuple(model.weight_shapes[name]) for name, need in found.weights.items()):
        return None
    height, width = found.values[value][2:]
    return height, width
