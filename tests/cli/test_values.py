"""Parsing the text of flags."""

from __future__ import annotations

import pytest

from deepvis_caffe.cli.values import parse_position, parse_push
from deepvis_caffe.errors import SettingsError


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
