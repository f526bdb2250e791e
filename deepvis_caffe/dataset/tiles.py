"""Few photographs as many images: overlapping square views of each, at several scales, in files.

A view's name says what it is of: ``coffee_0200_0100_0133.png`` is the photograph ``coffee`` from
row 200 and column 100, 133 pixels a side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deepvis_caffe.dataset.image_files import Files
from deepvis_caffe.dataset.top_images import Box
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, write_image

PARTS = (1, 2, 3)  # of a photograph's shorter side, what a view is long
SMALLEST = 96  # pixels; a view of fewer is a blur to most nets
NAME = re.compile(r"(.+)_(\d{4,})_(\d{4,})_(\d{4,})\.png")


def view_boxes(height: int, width: int) -> list[Box]:
    """Where the views of a photograph are, (top, left, bottom, right), the largest first.

    At each scale they begin and end at the photograph's borders, and neighbours are half a side
    apart or less.
    """
    shorter = min(height, width)
    sides = [shorter // part for part in PARTS if part == 1 or shorter // part >= SMALLEST]
    return [
        (top, left, top + side, left + side)
        for side in sides
        for top in _starts(height, side)
        for left in _starts(width, side)
    ]


def write_views(
    photographs: Mapping[str, Picture],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Files:
    """Cut photographs into views, as PNG files; those that are there are left alone.

    Parameters
    ----------
    photographs
        By name, (H, W, 3), RGB, uint8.
    progress
        Called with the views that are there and that there will be.

    Returns
    -------
    Files
        The views, and no other files of that folder.

    Raises
    ------
    ImageError
        A file cannot be written.
    """
    boxes = {
        view_name(name, box): (name, box)
        for name, photograph in photographs.items()
        for box in view_boxes(*photograph.shape[:2])
    }
    for number, (file, (name, (top, left, bottom, right))) in enumerate(boxes.items(), 1):
        if not (folder / file).is_file():
            write_image(folder / file, photographs[name][top:bottom, left:right])
        if progress:
            progress(number, len(boxes))
    return Files(folder, dict.fromkeys(boxes))


def view_name(photograph: str, box: Box) -> str:
    """The name of a view's file."""
    top, left, bottom, _ = box
    return f"{photograph}_{top:04d}_{left:04d}_{bottom - top:04d}.png"


def view_of(name: str) -> tuple[str, Box]:
    """The photograph that a view is of, and its part of it.

    Raises
    ------
    ImageError
        It is not the name of a view.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise ImageError(f"{name} is not the name of a view, as photograph_0200_0100_0133.png is")
    top, left, side = (int(part) for part in match.groups()[1:])
    return match[1], (top, left, top + side, left + side)


def _starts(length: int, side: int) -> Iterator[int]:
    """Where views of that side start along an axis."""
    steps = math.ceil((length - side) / max(1, side // 2))
    return (step * (length - side) // max(1, steps) for step in range(steps + 1))
