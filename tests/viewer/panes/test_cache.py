"""Memory by identity: made once, and never another thing's."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.panes.draw import MOST_BYTES, thumb


def test_each_is_made_once_and_the_oldest_is_forgotten() -> None:
    kept: ByIdentity[int] = ByIdentity(2)
    calls: list[int] = []

    def make() -> int:
        calls.append(len(calls))
        return calls[-1]

    one, other = [1], [1]
    assert [kept.get(one, "a", make), kept.get(one, "a", make)] == [0, 0]
    assert kept.get(other, "a", make) == 1, "equal is not the same"
    assert kept.get(one, "b", make) == 2
    assert kept.get(one, "a", make) == 3, "only two are kept"


def test_a_thing_that_is_gone_is_not_mistaken_for_its_successor() -> None:
    for level in range(200):  # new arrays get old ones' places in memory
        small = thumb(np.full((40, 40, 3), level, np.uint8), 10, 10)
        assert (small == level).all()


def test_a_thumb_keeps_the_pictures_shape() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 40:] = 200
    small = thumb(picture, 30, 20)
    assert small.shape == (10, 20, 3)
    assert (small[:, 10:] == 200).all()
    assert (small[:, :10] == 0).all()
    assert thumb(picture, 30, 20) is small


@pytest.mark.slow
def test_pictures_that_were_passed_by_are_let_go() -> None:
    """A walk through many units: their pictures live no longer than the library keeps them."""
    size = MOST_BYTES // 40
    seen = []
    for _ in range(100):
        picture = np.zeros((1, size // 3, 3), np.uint8)
        seen.append(weakref.ref(picture))
        thumb(picture, 1, 10)
    del picture
    alive = [one() is not None for one in seen]
    assert sum(alive) <= 40
    assert all(alive[-30:]), "the newest are kept"
