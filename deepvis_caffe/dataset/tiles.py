"""Tiles: a few photographs cut into many images, ``photographs -> Files``.

Tiles are overlapping squares at several scales. The name of a tile tells where it was cut:
``coffee_0200_0100_0133.png`` is from the photograph ``coffee``, at row 200 and column 100, with
sides of 133 pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from deepvis_caffe.dataset.image_files import Files
from deepvis_caffe.dataset.top_images import Box
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, write_image
from deepvis_caffe.progress import ProgressCallback

DIVISORS = (1, 2, 3)  # a tile's side is the photograph's shorter side divided by one of these
SMALLEST = 96  # pixels; a smaller tile is too blurred for most nets
NAME = re.compile(r"(.+)_(\d{4,})_(\d{4,})_(\d{4,})\.png")


def tile_boxes(height: int, width: int) -> list[Box]:
    """The tiles of a photograph, (top, left, bottom, right), the largest first.

    At each scale they reach to the photograph's borders, and neighbors overlap by at least half.
    """
    shorter = min(height, width)
    sides = [shorter // part for part in DIVISORS if part == 1 or shorter // part >= SMALLEST]
    return [
        (top, left, top + side, left + side)
        for side in sides
        for top in _starts(height, side)
        for left in _starts(width, side)
    ]


def write_tiles(
    photographs: Mapping[str, Picture],
    folder: Path,
    progress: ProgressCallback | None = None,
) -> Files:
    """Cut photographs into tiles and write them as PNG files; existing files are kept.

    Parameters
    ----------
    photographs
        By name, (H, W, 3), RGB, uint8.
    progress
        Called with the number of tiles written, and their total.

    Returns
    -------
    Files
        The tiles, and no other files in that folder.

    Raises
    ------
    ImageError
        A file cannot be written.
    """
    boxes = {
        tile_name(name, box): (name, box)
        for name, photograph in photographs.items()
        for box in tile_boxes(*photograph.shape[:2])
    }
    for number, (file, (name, (top, left, bottom, right))) in enumerate(boxes.items(), 1):
        if not (folder / file).is_file():
            write_image(folder / file, photographs[name][top:bottom, left:right])
        if progress:
            progress(number, len(boxes))
    return Files(folder, dict.fromkeys(boxes))


def tile_name(photograph: str, box: Box) -> str:
    """The file name of a tile."""
    top, left, bottom, _ = box
    return f"{photograph}_{top:04d}_{left:04d}_{bottom - top:04d}.png"


def parse_tile_name(name: str) -> tuple[str, Box]:
    """The photograph's name and the box, from a tile's file name.

    Raises
    ------
    ImageError
        It is not the name of a tile.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise ImageError(f"{name} is not a tile's name, such as photograph_0200_0100_0133.png")
    top, left, side = (int(part) for part in match.groups()[1:])
    return match[1], (top, left, top + side, left + side)


def _starts(length: int, side: int) -> Iterator[int]:
    """Where tiles of that side start along an axis."""
    steps = math.ceil((length - side) / max(1, side // 2))
    return (step * (length - side) // max(1, steps) for step in range(steps + 1))
