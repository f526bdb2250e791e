"""Top images of a unit, cropped to what it sees: ``(net, source, scan, layer, unit) -> examples``.

A scan keeps, for each unit, the images with its highest activations. Each image is reloaded, its
activation is recomputed (and compared with the scan's), and it is cropped to the receptive field of
the position where the unit responds, with the saliency maps for that position.

Boxes are (top, left, bottom, right), ends excluded, and may reach beyond the image.
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

from deepvis_caffe.attribution.backward import saliency_maps_at
from deepvis_caffe.dataset.layer_scan import NONE, Top
from deepvis_caffe.dataset.loader import ImageCache, ordered_map
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.rules import check_mode
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.model.input_window import Box
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.receptive import ReceptiveField


def place_of(shape: tuple[int, ...], position: int) -> tuple[int, ...]:
    """The indices, one per axis, of a flat position on a unit's map; `shape` is (C, ...)."""
    return tuple(int(index) for index in np.unravel_index(position, shape[1:] or (1,)))[
        : len(shape) - 1
    ]


def field_of(net: Net, layer: str) -> ReceptiveField | None:
    """The receptive field of the value that a scan reads for a layer; None if unknown."""
    return net.model.receptive_fields.get(net.model.graph.activation(layer))


def seen_box(
    preprocessor: Preprocessor, field: ReceptiveField | None, place: tuple[int, ...]
) -> Box:
    """The box of the net's input that one position sees, padding included.

    Along an axis where the receptive field is as large as the input, it is the whole axis: the part
    that the position misses, or the padding that it sees, tells little. It is the whole input for a
    layer without a map or with an unknown receptive field.
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
    """The pixels, in a picture of that size, from which a box of the net's input is computed.

    These are exactly those that `Preprocessor` averages, or interpolates between, for the box. A
    pixel in the padding stands for as many pixels as one inside.
    """
    rows, columns = preprocessor.resized_region(height, width)
    own_height, own_width = preprocessor.resized_size
    above, before = (part.start for part in preprocessor.center)
    top, bottom = _span(above + box[0], above + box[2], rows.stop - rows.start, own_height)
    left, right = _span(before + box[1], before + box[3], columns.stop - columns.start, own_width)
    return top + rows.start, left + columns.start, bottom + rows.start, right + columns.start


def _span(first: int, end: int, pixels: int, size: int) -> tuple[int, int]:
    """The range, along an axis of `pixels`, from which `first` to `end` of `size` are computed."""
    if pixels >= size:  # averaged over areas; in integers, to be exact
        return first * pixels // size, -(-end * pixels // size)
    step = pixels / size  # interpolated between pixel centers
    return floor((first + 0.5) * step - 0.5), ceil((end - 0.5) * step - 0.5) + 1


def cut(
    picture: NDArray[Any], box: Box, inside: Box | None = None, fill: int = 128
) -> NDArray[Any]:
    """Cut a box out of a picture, (H, W, 3); pixels outside the picture are gray.

    Parameters
    ----------
    inside
        The box that counts as the picture; all of it by default.
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


MAX_OVERLAP = 0.25  # of the smaller one's area, for two boxes to be distinct


def distinct(
    net: Net, scan: Scan, layer: str, count: int, tile_of: Callable[[str], tuple[str, Box]]
) -> Top:
    """For each unit of a layer, the `count` top images that show different places.

    If images are overlapping tiles of a few photographs, or frames of a video, a unit's top images
    may all show the same spot. Of overlapping ones only the highest is kept: non-maximum
    suppression.

    Parameters
    ----------
    scan
        Of this net, with more than `count` images per unit. If too few of them are distinct, fewer
        are returned.
    tile_of
        Maps an image's name to the photograph that it was cut from and the box, in pixels.
    """
    found, field = scan.layers[layer], field_of(net, layer)
    tiles = [tile_of(name) for name in scan.names]
    best = Top.empty(len(found.top.value), count)

    def seen(image: int, position: int) -> tuple[str, Box]:
        """The photograph, and its box that the unit sees there."""
        photograph, (top, left, bottom, right) = tiles[image]
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
            if all(name != own[0] or overlap(box, own[1]) <= MAX_OVERLAP for name, box in kept):
                for mine, all_of in (
                    (best.value, found.top.value),
                    (best.image, found.top.image),
                    (best.position, found.top.position),
                ):
                    mine[unit, len(kept)] = all_of[unit, rank]
                kept.append(own)
    return best


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share, as a fraction of the smaller one's area."""
    rows = min(one[2], other[2]) - max(one[0], other[0])
    columns = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in (one, other)]
    return max(rows, 0) * max(columns, 0) / max(1, min(areas))


SMALL = 8  # use windows if the receptive field is at most the input's area divided by this
TOLERANCE = 1e-3  # relative to the activation, or the unit's highest, for rounding differences


@dataclass(frozen=True, eq=False)
class Example:
    """One top image of a unit.

    Attributes
    ----------
    name, label
        The image's name, and its class number.
    value
        The activation, as in the scan.
    place
        The position on the unit's map, (y, x); empty if it has no map.
    box
        The part of the net's input that the unit sees there; it may reach into the padding.
    picture_box
        The pixels of the picture that `box` comes from; it may reach beyond the picture.
    crop
        Those pixels, (h, w, 3); gray outside the picture.
    diffs
        The saliency map by backward mode, cut to `box`; 0 is mid-gray.
    file
        The file that holds this image and nothing else; None if there is none.
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
    images: ImageCache | None = None,
) -> list[Example]:
    """The top images of a unit, highest activation first.

    Images for which the unit is silent are left out: those at its lowest activation over the whole
    scan, unless that is above 0.

    Parameters
    ----------
    source
        The scanned images.
    scan
        A scan of this net.
    modes
        Backward modes of the saliency maps, see `deepvis_caffe.attribution.backward`.
    threads
        Number of threads that decode images.
    images
        A cache of `source`, to share between units.

    Raises
    ------
    ImageError
        An image is missing, or has changed since the scan.
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
            raise ImageError(f"the image {name}, a top image of {layer} unit {unit}, is missing")

    decoded = images or ImageCache(source, net.preprocessor)

    def load(place: int) -> tuple[NDArray[Any], Floats]:
        try:
            return decoded.load(indices[place])
        except ImageError as error:
            raise ImageError(f"the image {names[place]} can no longer be read: {error}") from error

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        loaded = [one for _, one in ordered_map(load, range(len(names)), pool, 2 * threads)]
    where = [place_of(found.shape, int(top.position[unit, k])) for k in places]
    x = np.stack([one for _, one in loaded]) if loaded else np.zeros((0, *net.preprocessor.shape))
    field = field_of(net, layer)
    in_windows = _is_small(field, net.preprocessor)
    values, diffs = saliency_maps_at(
        net, layer, unit, x.astype(np.float32), where, modes, in_windows
    )
    examples = []
    for number, k in enumerate(places):
        expected, found_again = float(top.value[unit, k]), float(values[number])
        most = max(abs(expected), abs(float(top.value[unit, 0])))
        if not abs(found_again - expected) <= TOLERANCE * most:
            raise ImageError(
                f"{names[number]} gives {layer} unit {unit} the activation {found_again:.6g}; in "
                f"the scan it was {expected:.6g}: the image has changed since; give --overwrite to "
                "scan all images again"
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
                value=expected,
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
    """Convert a source's image to a picture, (H, W, 3), RGB, uint8."""
    return preprocessor.show(x) if source.prepared else preprocessor.picture(image)


def _is_small(field: ReceptiveField | None, preprocessor: Preprocessor) -> bool:
    """Whether windows pay off, although images with equal windows, which batch, are rare."""
    if field is None:
        return False
    _, height, width = preprocessor.shape
    return SMALL * field.size[0] * field.size[1] <= height * width
