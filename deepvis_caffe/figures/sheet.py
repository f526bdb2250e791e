"""Results of any kind side by side: ``(result, result, ...) -> Sheet``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.errors import ImageError
from deepvis_caffe.figures.figure import Cell, grid
from deepvis_caffe.image import Picture, encode_png, write_image
from deepvis_caffe.text import wrapped

TEXT = 13  # pixels, the size of titles


@dataclass(frozen=True, eq=False)
class Sheet:
    """A picture that a notebook displays.

    Attributes
    ----------
    image
        (H, W, 3), RGB, uint8.
    """

    image: Picture = field(repr=False)

    def picture(self) -> Picture:
        """`image`."""
        return self.image

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as an image file.

        Raises
        ------
        ImageError
            The file cannot be written.
        """
        return write_image(path, self.image)

    def _repr_png_(self) -> bytes:
        return encode_png(self.image)


def side_by_side(
    *results: Any,
    titles: Sequence[str] | None = None,
    columns: int = 4,
    cell: int = 180,
    title: str = "",
) -> Sheet:
    """Lay out results in a grid, to compare them.

    >>> methods = ["gradient", "grad_cam", "occlusion", "lrp_epsilon"]
    >>> side_by_side(attribute(net, photo, "pool10", 281, method) for method in methods)

    Parameters
    ----------
    *results
        Anything with a ``picture()`` method, such as the results of `optimize`, `attribute` and
        `top_images`; pictures, (H, W, 3) RGB uint8; and lists of these.
    titles
        A line below each; by default the results' own titles.
    columns
        Pictures per row.
    cell
        The longer side of each, in pixels.
    title
        A line above all.

    Raises
    ------
    ImageError
        There is nothing to show, something is not a picture, or the number of titles differs.
    """
    shown = list(_flat(results))
    pictures = [_picture(one) for one in shown]
    if titles is None:
        titles = [getattr(one, "title", "") for one in shown]
    if len(titles) != len(shown):
        raise ImageError(f"{len(shown)} pictures need as many titles; got {len(titles)}")
    cells = [
        Cell(picture, tuple(wrapped(text, TEXT, cell)) if text else ())
        for picture, text in zip(pictures, titles, strict=True)
    ]
    return Sheet(grid(cells, min(columns, max(1, len(cells))), cell, title, TEXT))


def _flat(results: Iterable[Any]) -> Iterator[Any]:
    for one in results:
        if isinstance(one, Iterable) and not isinstance(one, np.ndarray) and not _shows(one):
            yield from _flat(one)
        else:
            yield one


def _shows(result: Any) -> bool:
    return callable(getattr(result, "picture", None))


def _picture(result: Any) -> Picture:
    found = np.asarray(result.picture() if _shows(result) else result)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3:
        raise ImageError(
            "side_by_side takes results and pictures, uint8 of shape (H, W, 3); got "
            f"{type(result).__name__}, {found.dtype} of shape {found.shape}"
        )
    return found
