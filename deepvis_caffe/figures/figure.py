"""Labeled figures, as in a paper: ``[[cell, ...], ...] -> picture``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.text import cut, line_ink, text_width, wrapped

WHITE, BLACK, FAINT = (255, 255, 255), (17, 17, 17), (95, 95, 95)
MARGIN = 14  # pixels around the figure


@dataclass(frozen=True)
class Cell:
    """A picture and the lines of text below it; the first line is dark, the others are faint."""

    picture: Picture
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Cells side by side, with a title to their left."""

    cells: Sequence[Cell]
    title: str = ""


def figure(
    rows: Sequence[Row], cell: int = 160, title: str = "", text: int = 0, gap: int = 6
) -> Picture:
    """Lay out rows of labeled pictures.

    Parameters
    ----------
    rows
        Rows with at least one cell among them; they may differ in length.
    cell
        The longer side of every picture, in pixels. Pictures keep their aspect ratio and are
        centered in their cells.
    title
        A line above the rows.
    text
        Font size below the pictures, in pixels; 0 chooses one that suits the cells.
    gap
        Pixels between cells.

    Returns
    -------
    ndarray
        (H, W, 3), RGB, uint8, black on white.

    Raises
    ------
    ImageError
        There is nothing to show.
    """
    every = [one for row in rows for one in row.cells]
    if not every:
        raise ImageError("a figure needs at least one picture")
    text = text or max(10, min(16, round(cell / 11)))
    height, width = (max(_fit(one.picture, cell)[axis] for one in every) for axis in (0, 1))
    step = round(text * 1.3)
    side = _side_width(rows, text)
    head = MARGIN + (round(text * 2.2) if title else 0)
    heights = [height + _lines(row) * step + (text // 2 if _lines(row) else 0) for row in rows]
    columns = max(len(row.cells) for row in rows)
    canvas = _Canvas(
        head
        + sum(heights)
        + gap * (len(rows) - 1)
        + MARGIN
        - (text // 2 if _lines(rows[-1]) else 0),
        MARGIN + side + columns * width + (columns - 1) * gap + MARGIN,
    )
    if title:
        canvas.write(
            title, MARGIN, MARGIN - text // 4, round(text * 1.25), BLACK, canvas.width - 2 * MARGIN
        )
    top = head
    for row, row_height in zip(rows, heights, strict=True):
        if row.title:
            lines = wrapped(row.title, text + 1, side - text)
            first = top + (height - len(lines) * round((text + 1) * 1.3)) // 2
            for number, line in enumerate(lines):
                canvas.write(
                    line, MARGIN, first + number * round((text + 1) * 1.3), text + 1, BLACK, side
                )
        for column, one in enumerate(row.cells):
            left = MARGIN + side + column * (width + gap)
            canvas.paste(one.picture, top, left, height, width, cell)
            for number, line in enumerate(one.lines):
                ink = FAINT if number else BLACK
                below = top + height + 2 + number * step
                canvas.write(line, left, below, text, ink, width, center=True)
        top += row_height + gap
    return canvas.picture()


def grid(
    cells: Sequence[Cell], columns: int, cell: int = 96, title: str = "", text: int = 0
) -> Picture:
    """A figure of cells in rows of `columns`; see `figure` for the other parameters."""
    if columns < 1:
        raise ImageError(f"a figure needs at least 1 column; got {columns}")
    rows = [Row(cells[first : first + columns]) for first in range(0, len(cells), columns)]
    return figure(rows, cell, title, text)


class _Canvas:
    """A white picture to draw pictures and text on."""

    def __init__(self, height: int, width: int) -> None:
        from PIL import Image

        self.width = width
        self._image = Image.new("RGB", (width, height), WHITE)

    def write(
        self,
        line: str,
        left: int,
        top: int,
        size: int,
        ink: tuple[int, int, int],
        width: int,
        center: bool = False,
    ) -> None:
        """Write one line of text, cut to `width` pixels."""
        from PIL import Image

        line = cut(line, size, width)
        if not line:
            return
        left += round((width - text_width(line, size)) / 2) if center else 0
        self._image.paste(ink, (left, top), Image.fromarray(line_ink(line, size)))

    def paste(
        self, picture: Picture, top: int, left: int, height: int, width: int, cell: int
    ) -> None:
        """Center a picture in an area of `height` x `width` pixels."""
        from PIL import Image

        rows, columns = _fit(picture, cell)
        small = np.ascontiguousarray(resize_image(picture, rows, columns))
        corner = (left + (width - columns) // 2, top + (height - rows) // 2)
        self._image.paste(Image.fromarray(small), corner)

    def picture(self) -> Picture:
        """The figure as an array."""
        return np.asarray(self._image).copy()


def _fit(picture: Picture, cell: int) -> tuple[int, int]:
    rows, columns = picture.shape[:2]
    factor = cell / max(rows, columns)
    return max(1, round(rows * factor)), max(1, round(columns * factor))


def _lines(row: Row) -> int:
    return max((len(one.lines) for one in row.cells), default=0)


def _side_width(rows: Sequence[Row], text: int) -> int:
    words = [word for row in rows for word in row.title.replace("-", "- ").split()]
    return max((text_width(word, text + 1) for word in words), default=-text) + text
