"""Decoded images equal the source's, and are cached like a slow list of the last used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deepvis_caffe.dataset.loader import MOST, ImageCache, default_cache_size
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.model.preprocess import Preprocessor

# A gray picture of n x n bytes, and with it an input of 4 x 4 floats.
SIDES = (10, 12, 8, 20, 10, 16, 30, 9)
INPUT = 4 * 4 * 4


class Squares(Source):
    """Gray squares that remember what was read."""

    kind = "squares"

    def __init__(self) -> None:
        self.names = [f"{number:02d}" for number in range(len(SIDES))]
        self.seen: list[int] = []

    def read(self, index: int) -> NDArray[Any]:
        self.seen.append(index)
        return np.full((SIDES[index], SIDES[index], 1), 10 * index, np.uint8)

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        return np.full((side, side, 1), 10 * index + 1, np.uint8)

    def label(self, index: int) -> int | None:
        return None

    def content(self, index: int) -> bytes:
        return b""


def slow_misses(asked: list[int], room: int) -> list[int]:
    """Which have to be read: the list holds those that were used last, the oldest first."""
    kept: list[int] = []
    missed = []
    for index in asked:
        if index in kept:
            kept.remove(index)
        else:
            missed.append(index)
        if SIDES[index] ** 2 + INPUT <= room:
            kept.append(index)
        while sum(SIDES[one] ** 2 + INPUT for one in kept) > room:
            kept.pop(0)
    return missed


@pytest.mark.parametrize("room", [0, 150, 600, 963, 964, 10_000])
def test_the_last_used_are_kept_while_there_is_room(room: int) -> None:
    asked = np.random.default_rng(room).integers(0, len(SIDES), 200).tolist()
    source = Squares()
    images = ImageCache(source, Preprocessor((1, 4, 4)), room)
    for index in asked:
        image, x = images.load(index)
        assert image.shape == (SIDES[index], SIDES[index], 1)
        assert (image == 10 * index).all()
        # The input is of the smaller copy where the picture is twice as long as it has to be.
        expected = 10 * index + (SIDES[index] >= 2 * 3 * 4)
        np.testing.assert_allclose(x, expected, rtol=1e-5)
    assert source.seen == slow_misses(asked, room)


def test_threads_share_them() -> None:
    source = Squares()
    images = ImageCache(source, Preprocessor((1, 4, 4)), 800)
    asked = np.random.default_rng(1).integers(0, len(SIDES), 400).tolist()
    with ThreadPoolExecutor(4) as pool:
        for index, (image, _) in zip(asked, pool.map(images.load, asked), strict=True):
            assert (image == 10 * index).all()
    for index in asked:
        images.load(index)
    before = len(source.seen)
    # What is counted as taken is what is there: as many fit as at the beginning.
    for index in (0, 1, 2, 0, 1, 2):
        images.load(index)
    assert len(source.seen) <= before + 3


def test_room_is_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArrayOps, "free_memory", lambda self: 800)
    assert (default_cache_size(), default_cache_size(4)) == (100, 25)
    monkeypatch.setattr(ArrayOps, "free_memory", lambda self: 100 * MOST)
    assert default_cache_size(2) == MOST
    monkeypatch.setattr(ArrayOps, "free_memory", lambda self: None)
    assert 0 < default_cache_size() < MOST
