"""What the text of a flag means."""

from __future__ import annotations

import pytest

from deepvis_caffe.cli.values import parse_position, parse_push, parse_units
from deepvis_caffe.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("3", [3]),
        ("5, 0-2", [5, 0, 1, 2]),
        ("4,4,3-5", [4, 3, 5]),
        ("0-5", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_units(text: str, units: list[int]) -> None:
    assert parse_units(text, 6) == units


@pytest.mark.parametrize("text", ["", "x", "1;2", "1-", "-1", "2-x", "1,"])
def test_what_is_no_unit(text: str) -> None:
    with pytest.raises(SettingsError, match="is neither a unit nor a range"):
        parse_units(text, 6)


def test_sums() -> None:
    assert parse_units("1+0, 0-2+5, 2+3-4+0", 6) == [(1, 0), (0, 1, 2, 5), (2, 3, 4, 0)]
    assert parse_units("4+4,1-1+1", 6) == [4, 1]  # of one unit


def test_a_range_ends_after_it_begins() -> None:
    with pytest.raises(SettingsError, match="'3-2' ends before it begins; write 2-3"):
        parse_units("3-2", 6)


@pytest.mark.parametrize("text", ["6", "4-6", "1+6", "0-6+1"])
def test_units_that_the_layer_lacks(text: str) -> None:
    with pytest.raises(SettingsError, match=r"6' is not within the layer's 6 units.* 0 to 5"):
        parse_units(text, 6)


def test_position() -> None:
    assert [parse_position(text) for text in ("center", "all", "3,4", "7")] == [
        "center",
        "all",
        (3, 4),
        (7,),
    ]
    with pytest.raises(SettingsError, match="--position: got 'middle'"):
        parse_position("middle")


def test_push() -> None:
    assert (parse_push("up"), parse_push("down")) == (1, -1)
    with pytest.raises(SettingsError, match="--push: got 'left', expected up or down"):
        parse_push("left")
