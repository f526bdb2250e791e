"""The classes: the net's highest scores for the input."""

from __future__ import annotations

import numpy as np

from deepvis_caffe.image import Picture
from deepvis_caffe.model.labels import label_of
from deepvis_caffe.viewer.panes.colors import ACCENT, ACCENT_DIM, RAISED, SOFT, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fill, write_middle
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, letters, titled, write_note
from deepvis_caffe.viewer.panes.words import number, pending
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.mouse import Hit

MOST = 20


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the highest scores, each with its label and a bar."""
    size = letters(width)
    blob = scored(view)
    canvas, room = titled(height, width, size, "classes", blob.name if blob else "")
    if view.result is None or view.result.scores is None:
        write_note(canvas, room, _why_none(view), size)
        return canvas
    scores = view.result.scores.reshape(-1)
    good = np.nan_to_num(scores, posinf=0, neginf=0)
    top, longest = ranked(view), max(float(np.abs(good).max()), 1e-12)
    shares = bool(scores.min() >= 0 and scores.sum() <= 1.001)  # probabilities
    for place, (unit, rect) in enumerate(_rows(view, height, width)):
        value = float(scores[unit])
        text = _share(value) if shares else number(value)
        name = (label_of(view.scene.labels, unit, scores.size) or f"unit {unit}").split(",")[0]
        line = Rect(rect.top, rect.left, rect.height - 5, rect.width)
        ink = TEXT if place == 0 else SOFT
        kept = write_middle(canvas, text, line, size, ink, "right")
        words = line._replace(width=max(1, line.width - kept - size))
        write_middle(canvas, name, words, size, ink, "left", bold=place == 0)
        track = Rect(rect.bottom - 5, rect.left, 3, rect.width)
        fill(canvas, track, RAISED)
        long = round(track.width * max(float(good[unit]), 0) / (1.0 if shares else longest))
        if long:
            color = ACCENT if unit == top[0] else ACCENT_DIM
            fill(canvas, track._replace(width=long), color)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The class at a pixel, with all its names."""
    if view.result is None or view.result.scores is None:
        return None
    count = view.result.scores.size
    for unit, rect in _rows(view, height, width):
        if rect.has(y, x):
            value = number(float(view.result.scores.reshape(-1)[unit]))
            name = label_of(view.scene.labels, unit, count) or ""
            tip = "   ".join(words for words in (f"unit {unit}", name, value) if words)
            blob = scored(view)
            return Hit("class" if blob else "nothing", unit, blob.name if blob else "", tip)
    return None


PANE = Pane("classes", draw, hit)


def scored(view: View) -> Entry | None:
    """The layer of the scores: ``prob`` if its size matches, else the last layer that does."""
    if view.result is None or view.result.scores is None:
        return None
    count = view.result.scores.size
    fits = [one for one in view.scene.entries if one.is_vector and one.units == count]
    return next((one for one in fits if one.name == "prob"), fits[-1] if fits else None)


def ranked(view: View) -> list[int]:
    """The units with the highest scores, highest first."""
    if view.result is None or view.result.scores is None:
        return []
    scores = np.nan_to_num(view.result.scores.reshape(-1), nan=-np.inf)
    return [int(unit) for unit in (-scores).argsort(kind="stable")[:MOST]]


def _why_none(view: View) -> str:
    if view.result is None or not view.result.request.scores:
        return pending(view, "scores")
    return "no scores"


def rows_height(rows: int, size: int) -> int:
    """Height of `rows` classes, pixels."""
    return rows * (round(size * 1.45) + 5)


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 0.0005 or value == 0 else "< 0.1%"


def _rows(view: View, height: int, width: int) -> list[tuple[int, Rect]]:
    size = letters(width)
    room, high = inside(height, width, size), rows_height(1, size)
    units = ranked(view)[: max(1, room.height // high)]
    return [
        (unit, Rect(room.top + place * high, room.left, high, room.width))
        for place, unit in enumerate(units)
    ]
