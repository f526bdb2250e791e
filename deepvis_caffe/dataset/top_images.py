"""Top images of a unit, cut to what it sees: ``(net, source, scan, layer, unit) -> examples``.

All boxes are (top, left, bottom, right), ends excluded, and may reach beyond what they are of.

Where images are overlapping views of few photographs, or frames of a video, the nine strongest may
be nine times one spot. Of those that overlap only the strongest stays: non-maximum suppression.

Each activation is computed again from its image, so that a picture shows what made the number that
is on record, or says that it does not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.layer_scan import NONE, Top
from deepvis_caffe.dataset.loader import DecodedImages, Floats, in_order
from deepvis_caffe.dataset.scan import Scan, value_of
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.rules import check_mode
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture
from deepvis_caffe.model.input_window import Window, window_of
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.receptive import ReceptiveField

Box = tuple[int, int, int, int]


def place_of(shape: tuple[int, ...], position: int) -> tuple[int, ...]:
    """One index an axis for a position of a unit's map, of a layer of that shape, (C, ...)."""
    return tuple(int(index) for index in np.unravel_index(position, shape[1:] or (1,)))[
        : len(shape) - 1
    ]


def field_of(net: Net, layer: str) -> ReceptiveField | None:
    """The receptive field of the value that is read for a layer; None where it is not known."""
    return net.model.receptive_fields.get(value_of(net, layer))


def seen_box(
    preprocessor: Preprocessor, field: ReceptiveField | None, place: tuple[int, ...]
) -> Box:
    """What one position sees of the net's input, padding included.

    An axis along which it could see all of the input is all of the input: what it misses of that,
    or sees of the padding, says little. So is the whole input where the layer has no map, or none
    whose receptive field is known.
    """
    _, height, width = preprocessor.shape
    if field is None or len(place) != 2:
        return 0, 0, height, width
    top, left, bottom, right = field.box(*place)
    if field.size[0] >= height:
        top, bottom = 0, height
    if field.size[1] >= width:
        left, right = 0, width
    return top, left, bottom, right


def picture_box(preprocessor: Preprocessor, box: Box, height: int, width: int) -> Box:
    """The pixels of a picture of that size from which a box of the input is computed.

    They are exactly those that `Preprocessor` averages, or interpolates between, for the box; one
    in the padding stands for as many pixels as one inside.
    """
    rows, columns = preprocessor.region(height, width)
    _, own_height, own_width = preprocessor.shape
    top, bottom = _span(box[0], box[2], rows.stop - rows.start, own_height)
    left, right = _span(box[1], box[3], columns.stop - columns.start, own_width)
    return top + rows.start, left + columns.start, bottom + rows.start, right + columns.start


def _span(first: int, end: int, pixels: int, size: int) -> tuple[int, int]:
    """Where `first` to `end` of an axis of `size` come from, of an axis of `pixels`."""
    if pixels >= size:  # averaged over areas; whole numbers, so that nothing is rounded away
        return first * pixels // size, -(-end * pixels // size)
    step = pixels / size  # interpolated between the centres of pixels
    return floor((first + 0.5) * step - 0.5), ceil((end - 0.5) * step - 0.5) + 1


def cut(
    picture: NDArray[Any], box: Box, inside: Box | None = None, fill: int = 128
) -> NDArray[Any]:
    """A box of a picture, (H, W, 3); what lies outside of it is gray.

    Parameters
    ----------
    inside
        What counts as the picture, where that is not all of it.
    """
    top, left, bottom, right = box
    a, b, c, d = inside or (0, 0, *picture.shape[:2])
    out = np.full((bottom - top, right - left, *picture.shape[2:]), fill, picture.dtype)
    rows = slice(max(top, a), max(min(bottom, c), top, a))
    columns = slice(max(left, b), max(min(right, d), left, b))
    found = picture[rows, columns]
    y, x = rows.start - top, columns.start - left
    if found.size:
        out[y : y + found.shape[0], x : x + found.shape[1]] = found
    return out


MOST = 0.25  # of the smaller one's area that two may share


def distinct(
    net: Net, scan: Scan, layer: str, count: int, view_of: Callable[[str], tuple[str, Box]]
) -> Top:
    """For each unit of a layer, its `count` strongest images that show different places.

    Parameters
    ----------
    scan
        Of this net, with more than `count` images of each unit; where too few of them are
        distinct, there are fewer.
    view_of
        From an image's name to the photograph that it is a view of, and its part of that, (top,
        left, bottom, right) in pixels.
    """
    found, field = scan.layers[layer], field_of(net, layer)
    views = [view_of(name) for name in scan.names]
    best = Top.empty(len(found.top.value), count)

    def seen(image: int, position: int) -> tuple[str, Box]:
        """The photograph, and what of it the unit sees there."""
        photograph, (top, left, bottom, right) = views[image]
        height, width = bottom - top, right - left
        box = seen_box(net.preprocessor, field, place_of(found.shape, position))
        a, b, c, d = picture_box(net.preprocessor, box, height, width)
        rows = top + max(a, 0), top + min(c, height)
        columns = left + max(b, 0), left + min(d, width)
        return photograph, (rows[0], columns[0], rows[1], columns[1])

    for unit, images in enumerate(found.top.image):
        kept: list[tuple[str, Box]] = []
        for rank in np.flatnonzero(images != NONE):
            own = seen(int(images[rank]), int(found.top.position[unit, rank]))
            if len(kept) == count:
                break
            if all(name != own[0] or overlap(box, own[1]) <= MOST for name, box in kept):
                for mine, all_of in (
                    (best.value, found.top.value),
                    (best.image, found.top.image),
                    (best.position, found.top.position),
                ):
                    mine[unit, len(kept)] = all_of[unit, rank]
                kept.append(own)
    return best


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share, as a part of the smaller one's."""
    rows = min(one[2], other[2]) - max(one[0], other[0])
    columns = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in (one, other)]
    return max(rows, 0) * max(columns, 0) / max(1, min(areas))


SMALL = 8  # windows that are this part of the input
TOLERANCE = 1e-3  # of the value, or of the strongest of its unit: engines and batches round apart


@dataclass(frozen=True, eq=False)
class Example:
    """One image that excites a unit, and where.

    Attributes
    ----------
    name, label
        The image's, and the number of its class.
    value
        The activation, as on record and found again.
    place
        Where on the unit's map, (y, x); empty where it has none.
    box
        What the unit sees there of the net's input; it may reach into the padding.
    picture_box
        The pixels of the picture that this comes from; it may reach beyond them.
    crop
        Those pixels, (h, w, 3); gray where there are none.
    diffs
        By backward mode: what of the input makes the unit answer, cut to `box`, 0 is mid-gray.
    file
        The file that the image is; None where it is a part of one.
    """

    name: str
    label: int | None
    value: float
    place: tuple[int, ...]
    box: Box
    picture_box: Box
    crop: Picture = field(repr=False)
    diffs: dict[str, Picture] = field(repr=False)
    file: Path | None = None


def unit_examples(
    net: Net,
    source: Source,
    scan: Scan,
    layer: str,
    unit: int,
    modes: Sequence[str] = ("deconv",),
    threads: int = 1,
    images: DecodedImages | None = None,
) -> list[Example]:
    """The strongest images of a unit, strongest first.

    Images that the unit is silent for are none of them: those that leave it at the lowest that it
    ever has, if that is not above 0.

    Parameters
    ----------
    source
        The one that was scanned.
    scan
        Of this net.
    modes
        Of the diffs, see `deepvis_caffe.engines.rules`.
    threads
        How many decode images.
    images
        Those of `source`, where other units want some of them too.

    Raises
    ------
    ImageError
        An image is gone, or has changed since the scan.
    """
    for mode in modes:
        check_mode(mode)
    found = scan.layers[layer]
    top, low = found.top, float(found.low[unit])
    places = [k for k in range(top.count) if top.image[unit, k] != NONE]
    places = [k for k in places if top.value[unit, k] > min(low, 0)]
    names = [scan.names[top.image[unit, k]] for k in places]
    indices = [bisect_left(source.names, name) for name in names]
    for name, index in zip(names, indices, strict=True):
        if list(source.names[index : index + 1]) != [name]:
            raise ImageError(f"the image {name}, on record for {layer} unit {unit}, is gone")

    decoded = images or DecodedImages(source, net.preprocessor)

    def load(place: int) -> tuple[NDArray[Any], Floats]:
        try:
            return decoded.load(indices[place])
        except ImageError as error:
            raise ImageError(
                f"the image {names[place]} cannot be read any more: {error}"
            ) from error

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        loaded = [got for _, got in in_order(load, range(len(names)), pool, ahead=2 * threads)]
    where = [place_of(found.shape, int(top.position[unit, k])) for k in places]
    x = np.stack([one for _, one in loaded]) if loaded else np.zeros((0, *net.preprocessor.shape))
    field = field_of(net, layer)
    values, diffs = _backward(
        net, layer, unit, x.astype(np.float32), where, modes, _is_small(field, net.preprocessor)
    )
    examples = []
    for number, k in enumerate(places):
        on_record, again = float(top.value[unit, k]), float(values[number])
        most = max(abs(on_record), abs(float(top.value[unit, 0])))
        if not abs(again - on_record) <= TOLERANCE * most:
            raise ImageError(
                f"{names[number]} excites {layer} unit {unit} by {again:.6g}, and {on_record:.6g} "
                "is on record: it has changed since; give --overwrite to look through all anew"
            )
        image, own = loaded[number]
        shown = as_picture(image, own, source, net.preprocessor)
        box = seen_box(net.preprocessor, field, where[number])
        there = picture_box(net.preprocessor, box, *shown.shape[:2])
        rows, columns = net.preprocessor.region(*shown.shape[:2])
        region = (rows.start, columns.start, rows.stop, columns.stop)
        examples.append(
            Example(
                name=names[number],
                label=scan.label(int(top.image[unit, k])),
                value=on_record,
                place=where[number],
                box=box,
                picture_box=there,
                crop=cut(shown, there, region),
                diffs={
                    mode: cut(net.preprocessor.show_symmetric(diffs[mode][number]), box)
                    for mode in modes
                },
                file=source.file(indices[number]),
            )
        )
    return examples


def as_picture(
    image: NDArray[Any], x: Floats, source: Source, preprocessor: Preprocessor
) -> Picture:
    """A source's image as people see it, (H, W, 3), RGB, uint8."""
    if source.prepared:
        return preprocessor.show(x)
    if image.dtype.kind == "f":
        image = np.rint(image * 255).astype(np.uint8)
    elif image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _backward(
    net: Net,
    layer: str,
    unit: int,
    x: Floats,
    where: Sequence[tuple[int, ...]],
    modes: Sequence[str],
    in_windows: bool,
) -> tuple[NDArray[np.float32], dict[str, Floats]]:
    """Each image's activation at its place, and its diffs, seeded there with 1.

    In windows only what the unit sees is run; images whose windows are alike run together.
    """
    value = value_of(net, layer)
    writer = net.model.graph.producer[value]
    name = writer.name if len(writer.tops) == 1 else value.blob
    values = np.zeros(len(x), np.float32)
    diffs = {mode: np.zeros_like(x) for mode in modes}
    windows = [window_of(net.model, value, place) if in_windows else None for place in where]
    groups: dict[Any, list[int]] = {}
    for number, window in enumerate(windows):
        key = (window.size, window.where) if window else None
        groups.setdefault(key, []).append(number)
    for group in groups.values():
        parts = [_part(windows[number]) for number in group]
        batch = net.ops.asarray(
            np.stack([x[number][part] for number, part in zip(group, parts, strict=True)])
        )
        places = [w.where if (w := windows[number]) else where[number] for number in group]
        spots: Any = (np.arange(len(group)), unit, *np.array(places, int).T)
        for mode in modes or ("",):
            got = net.ops.numpy(net.evaluate(batch, name))
            values[group] = got[spots]
            if mode:
                seed = np.zeros(got.shape, np.float32)
                seed[spots] = 1
                back = net.ops.numpy(net.input_gradient(net.ops.asarray(seed), mode))
                for one, number, part in zip(back, group, parts, strict=True):
                    diffs[mode][number][part] = one
    return values, diffs


def _is_small(field: ReceptiveField | None, preprocessor: Preprocessor) -> bool:
    """Whether running windows pays, though images seldom have the same one, and so no batch."""
    if field is None:
        return False
    _, height, width = preprocessor.shape
    return SMALL * field.size[0] * field.size[1] <= height * width


def _part(window: Window | None) -> tuple[slice, ...]:
    """The input's channels, rows and columns that are run."""
    return (slice(None), window.rows, window.columns) if window else (slice(None),)
