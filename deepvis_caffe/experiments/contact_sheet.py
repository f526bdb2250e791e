"""The contact sheet of a hyperparameter search: ``(variants, trials) -> page, picture, record``."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.experiments.search import Judge, Trial, measure, search_record
from deepvis_caffe.experiments.variants import Variants
from deepvis_caffe.figures.figure import Cell, grid
from deepvis_caffe.files import write_text
from deepvis_caffe.image import Picture, resize_image, write_image
from deepvis_caffe.optimizer.params import AscentParams, in_words
from deepvis_caffe.results.layout import search_sheet
from deepvis_caffe.results.records import write_record

THUMBNAIL = 200  # pixels; the page shows pictures smaller, and a chosen one at this size
QUALITY = 88
GAP = 2  # pixels between the pictures of two units


class Sheet(NamedTuple):
    """The contact sheet of a search: how many trials it has, and its files."""

    trials: int
    page: Path
    picture: Path


def write_sheet(
    variants: Variants, drawn: Sequence[AscentParams], judge: Judge | None, again: str
) -> Sheet | None:
    """Write the contact sheet of the finished trials as a page and a picture, with a record.

    Parameters
    ----------
    variants
        The runs.
    drawn
        The parameters of every trial, by number.
    again
        The command that made the search.

    Returns
    -------
    Sheet or None
        None if no trial has finished.
    """
    finished = [(number, params) for number, params in enumerate(drawn) if variants.has_all(params)]
    if not finished:
        return None
    made = [measure(variants, number, params, judge) for number, params in finished]
    names = "; ".join(variants.title(unit) for unit in variants.units)
    (seed,) = variants.seeds
    title = f"{names}: {len(made)} random regularizations, seed {seed}"
    place = partial(
        search_sheet,
        variants.folder,
        variants.layer,
        variants.units,
        seed,
        folders=variants.job.folders,
    )
    write_record(place(".json"), search_record(variants.layer, variants.units, seed, made))
    write_image(place(".png"), sheet_picture(made, title))
    write_page(place(".html"), made, title, again)
    return Sheet(len(made), place(".html"), place(".png"))


def sheet_picture(trials: Sequence[Trial], title: str, cell: int = 96) -> Picture:
    """The contact sheet as one picture: every trial with its number and activation."""
    cells = [
        Cell(side_by_side(one.pictures), (f"{one.number}", f"a = {short(one.activation)}"))
        for one in trials
    ]
    columns = max(1, round(math.sqrt(len(cells) * 1.5 / len(trials[0].pictures))))
    return grid(cells, columns, cell * len(trials[0].pictures), title, text=11)


def write_page(path: Path, trials: Sequence[Trial], title: str, keep: str) -> Path:
    """Write the contact sheet as one HTML page that needs no other files.

    Parameters
    ----------
    keep
        The command that keeps a trial, without its number.

    Raises
    ------
    ResultsError
        The folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("deepvis_caffe.experiments", "")
    page = Environment(loader=loader, autoescape=True).get_template("search.html.j2")
    text = page.render(title=title, keep=keep, trials=[_row(one) for one in trials])
    try:
        return write_text(path, text)
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Join the pictures of several units into one row, each centered in a cell of equal size."""
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
    """A number in three digits, or ``none``."""
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
