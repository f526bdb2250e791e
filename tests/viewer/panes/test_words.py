"""What panes say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import entry, scene, view

from deepvis_caffe.viewer.panes.words import (
    extent,
    number,
    ordinal,
    pending,
    short_label,
    unit_name,
)
from deepvis_caffe.viewer.state.search import matches
from deepvis_caffe.viewer.state.state import State


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (0.12345, "0.1235"),
        (-2.5, "-2.50"),
        (284.46, "284.5"),
        (1e-9, "1.0e-09"),
        (-123456.0, "-1.2e+05"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_numbers(value: float, told: str) -> None:
    assert number(value) == told
    assert len(told) <= 8


def test_ordinals() -> None:
    told = " ".join(ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111))
    assert told == "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th"


def test_units_and_layers() -> None:
    seen = scene(
        entry("conv", 5, 2, 3), entry("prob", 2), entry("one", 1), labels=("tabby, cat", "bee")
    )
    assert unit_name(seen, (1, 0)) == "prob 0 tabby"
    assert unit_name(seen, (0, 1)) == "conv 1"
    assert short_label(seen, seen.entries[1], 9) == ""
    assert [extent(one) for one in seen.entries] == ["5 maps of 3 × 2", "2 units", "1 unit"]


def test_what_is_not_there_yet_says_what_is_waited_for() -> None:
    shown = replace(view(np.ones((2, 2, 2))), result=None)
    told = [
        pending(one, "conv")
        for one in (
            shown,
            replace(shown, loading=True),
            replace(shown, loading=True, frame=None),
            replace(shown, frame=None),
            replace(shown, failure="it is gone; trying again"),
        )
    ]
    loading = "loading the net ..."
    assert told == ["computing conv ...", loading, loading, "no picture yet", "no conv: it is gone"]


def test_a_label_that_is_the_unit_s_number_is_not_said_twice() -> None:
    seen = scene(entry("prob", 3), labels=("0", "2", "two"))
    assert [unit_name(seen, (0, unit)) for unit in range(3)] == ["prob 0", "prob 1 2", "prob 2 two"]
    found = matches(State(search="2"), seen)
    assert [one.name for one in found] == ["prob 2   two", "prob 1   2"]
