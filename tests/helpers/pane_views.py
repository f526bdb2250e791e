"""Views made by hand, for tests of drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.request import Frame, Result, request_of
from deepvis_caffe.viewer.state.state import Scene, State
from helpers import scenes

INPUT = (3, 8, 10)


def entry(name: str, units: int, height: int = 1, width: int = 1) -> Entry:
    """A layer of `units` maps, or numbers."""
    return scenes.entry(name, 1, units, *(() if (height, width) == (1, 1) else (height, width)))


def scene(*entries: Entry, labels: tuple[str, ...] = ()) -> Scene:
    """What is looked at, with an input of `INPUT`."""
    return replace(scenes.scene(*entries, labels=labels), input_size=INPUT[1:])


def view(
    maps: Any, state: State | None = None, labels: tuple[str, ...] = (), **result: Any
) -> View:
    """A view of one layer, ``conv``, whose maps are (units, height, width)."""
    maps = np.asarray(maps, np.float32)
    return view_of(scene(entry("conv", *maps.shape), labels=labels), maps, state, **result)


def view_of(scene: Scene, maps: Any, state: State | None = None, **result: Any) -> View:
    """A view of the selected layer of a scene."""
    state = state or State()
    picture = np.full((*INPUT[1:], 3), 90, np.uint8)
    frame = Frame(picture, 1, "cat.jpg")
    given = {"number": 1, **result}
    made = Result(frame, request_of(state, scene), picture, np.asarray(maps, np.float32), **given)
    return View(state, scene, Preprocessor(INPUT), frame, made)


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    """All the colours of a picture."""
    return {tuple(map(int, one)) for one in np.unique(picture.reshape(-1, 3), axis=0)}


def has(picture: np.ndarray, color: Sequence[int]) -> bool:
    """Whether a picture has pixels of a colour."""
    return bool((picture == np.asarray(color)).all(axis=2).any())
