"""Units as people write them: numbers, ranges, names, sums."""

from __future__ import annotations

from functools import partial

import pytest

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.model.labels import unit_of
from deepvis_caffe.model.unit_text import parse_unit_numbers, parse_units


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
def test_what_is_not_a_unit(text: str) -> None:
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
    with pytest.raises(SettingsError, match=r"6' is out of range: the layer has 6 units.* 0 to 5"):
        parse_units(text, 6)


LABELS = ("tabby, tabby cat", "zebra", "hen-of-the-woods, hen of the woods", "7", "a+b", "")


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("zebra", [1]),
        ("Zebra, tabby", [1, 0]),
        ("tabby, tabby cat", [0]),  # the whole label of one unit
        ("tabby cat,3-4,zebra", [0, 3, 4, 1]),
        ("hen-of-the-woods", [2]),
        ("tabby+zebra,2", [(0, 1), 2]),
        ("zebra+3-4", [(1, 3, 4)]),
        ("a+b", [4]),
        ("a+b,1", [4, 1]),
        ("5", [5]),  # a number is a number
    ],
)
def test_units_by_name(text: str, units: list[int]) -> None:
    assert parse_units(text, 6, partial(unit_of, LABELS, layer="fc")) == units


@pytest.mark.parametrize("text", ["tabbi", "zebra,tabbi", "tabbi+1", "1-zebra"])
def test_a_name_that_is_none(text: str) -> None:
    with pytest.raises(UnknownNameError, match="in the labels of 'fc'"):
        parse_units(text, 6, partial(unit_of, LABELS, layer="fc"))


def test_a_typo_in_numbers_is_not_a_name() -> None:
    with pytest.raises(SettingsError, match="'1-' is neither a unit nor a range"):
        parse_units("1-", 6, partial(unit_of, LABELS, layer="fc"))


def test_single_units_only() -> None:
    assert parse_unit_numbers("0-1,zebra", 6, partial(unit_of, LABELS, layer="fc")) == [0, 1]
    for text in ("0+1", "layer"):
        with pytest.raises(SettingsError, match="must list single units"):
            parse_unit_numbers(text, 6)
