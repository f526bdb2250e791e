"""A search's contact sheet: ``trials -> one HTML page, one picture``, to choose from by eye."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.errors import ImageError
from deepvis_caffe.files import write_text
from deepvis_caffe.gallery.figure import Cell, grid
from deepvis_caffe.gallery.trials import Trial
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.optimizer.words import in_words

THUMBNAIL = 200  # pixels; the page shows them smaller, and whole when one is chosen
QUALITY = 88
GAP = 2  # pixels between the pictures of two units


def sheet_picture(trials: Sequence[Trial], title: str, cell: int = 96) -> Picture:
    """The contact sheet as one picture: every trial with its number and activation."""
    cells = [
        Cell(side_by_side(one.pictures), (f"{one.number}", f"a = {short(one.activation)}"))
        for one in trials
    ]
    columns = max(1, round(math.sqrt(len(cells) * 1.5 / len(trials[0].pictures))))
    return grid(cells, columns, cell * len(trials[0].pictures), title, text=11)


def write_page(path: Path, trials: Sequence[Trial], title: str, keep: str) -> Path:
    """Write the contact sheet as one page that needs no other file.

    Parameters
    ----------
    keep
        The command that keeps a trial, without its number.

    Raises
    ------
    ImageError
        The folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("deepvis_caffe.gallery", "")
    page = Environment(loader=loader, autoescape=True).get_template("search.html.j2")
    text = page.render(title=title, keep=keep, trials=[_row(one) for one in trials])
    try:
        return write_text(path, text)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Pictures of several units as one, each in the middle of a place as large as the largest."""
    if len(pictures) == 1:
        return pictures[0]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    out = np.full((height, (width + GAP) * len(pictures) - GAP, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        rows, columns = picture.shape[:2]
        top, left = (height - rows) // 2, place * (width + GAP) + (width - columns) // 2
        out[top : top + rows, left : left + columns] = picture
    return out


def short(value: float | None) -> str:
    """A measure in three digits."""
    return "none" if value is None else f"{value:.3g}"


def _row(one: Trial) -> dict[str, Any]:
    return {
        "number": one.number,
        "images": [_data_url(picture) for picture in one.pictures],
        "words": in_words(one.params, rate=True),
        "measures": {
            "activation": one.activation,
            "variation": one.variation,
            "judged": one.judged,
        },
        "shown": {
            "a": short(one.activation),
            "TV": short(one.variation),
            **({"judge": short(one.judged)} if one.judged is not None else {}),
        },
    }


def _data_url(picture: Picture) -> str:
    import cv2

    height, width = picture.shape[:2]
    factor = THUMBNAIL / max(height, width)
    small = resize_image(picture, max(1, round(height * factor)), max(1, round(width * factor)))
    bgr = np.ascontiguousarray(small[..., ::-1])
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()
