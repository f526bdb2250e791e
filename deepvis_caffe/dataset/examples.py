"""What excites a unit most, to look at: ``(net, source, scan, layer, unit) -> crops and diffs``.

Each activation is computed again from its image, so that a picture shows what made the number that
is on record, or says that it does not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.decoded import DecodedImages
from deepvis_caffe.dataset.geometry import Box, cut, field_of, picture_box, place_of, seen_box
from deepvis_caffe.dataset.loader import Floats, in_order
from deepvis_caffe.dataset.scan import Scan, value_of
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.top import NONE
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.rules import check_mode
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.receptive import ReceptiveField
from deepvis_caffe.model.window import Window, window_of

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
