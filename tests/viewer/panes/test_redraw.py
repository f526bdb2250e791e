"""A function of a view is called again for what it read, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import view

from deepvis_caffe.viewer.panes.redraw import Redraw
from deepvis_caffe.viewer.panes.view import Status, View
from deepvis_caffe.viewer.state.request import Frame
from deepvis_caffe.viewer.state.state import State

SHOWN = view(np.ones((2, 3, 3)))


class Calls:
    """A function that reads what it is told to, and counts its calls."""

    def __init__(self) -> None:
        self.count = 0
        self.function = Redraw(self._read)

    def _read(self, given: View, *names: str) -> list[object]:
        self.count += 1
        values = []
        for name in names:
            value: object = given
            for part in name.split("."):
                value = getattr(value, part)
            values.append(value)
        return values


def frame(number: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), number, "cat.jpg")


@pytest.mark.parametrize(
    ("names", "change", "again"),
    [
        (["state.unit"], {"state": State(unit=1)}, True),
        (["state.unit"], {"state": State(layer=1, gamma=2)}, False),
        (["state.back_source"], {"state": State(gamma=2)}, False),  # equal, another tuple
        (["state.back_source"], {"state": State(unit=1)}, True),
        (["status.rate_text"], {"status": Status(rate=20.1)}, False),
        (["status.rate"], {"status": Status(rate=20.1)}, True),
        (["frame"], {"frame": frame(2)}, True),
        (["has_frame"], {"frame": frame(2)}, False),
        (["has_frame"], {"frame": None}, True),
        (["shown_maps"], {"result": None}, True),
        (["attribution"], {"result": replace(SHOWN.result, back=np.ones((3, 8, 10)))}, False),
        (["state.unit", "failure"], {"failure": "the fan is off"}, True),
        ([], {"failure": "the fan is off", "state": State(unit=1), "result": None}, False),
    ],
)
def test_what_was_read_decides(names: list[str], change: dict, again: bool) -> None:
    calls = Calls()
    shown = replace(SHOWN, frame=frame(1), status=Status(rate=20.0))
    calls.function(shown, *names)
    changed = replace(shown, **change)
    assert calls.function.is_current(changed, *names) != again
    found = calls.function(changed, *names)
    assert calls.count == 1 + again
    assert calls.function(changed, *names) is found
    assert calls.count == 1 + again


def test_a_field_that_is_read_only_now_and_then_counts_only_then() -> None:
    count = []

    def draw(given: View) -> int:
        count.append(1)
        return given.state.unit if given.failure else -1

    function = Redraw(draw)
    assert function(SHOWN) == -1
    assert function(replace(SHOWN, state=State(unit=1))) == -1
    assert len(count) == 1
    failed = replace(SHOWN, state=State(unit=1), failure="no")
    assert function(failed) == 1
    assert function(replace(failed, state=State(unit=2))) == 2
    assert len(count) == 3


def test_other_arguments_call_it_again_and_a_failure_is_not_kept() -> None:
    count = []

    def draw(given: View, height: int) -> float:
        count.append(height)
        return 1 / height

    function = Redraw(draw)
    assert [function(SHOWN, 2), function(SHOWN, 2), function(SHOWN, 4)] == [0.5, 0.5, 0.25]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            function(SHOWN, 0)
    assert count == [2, 4, 0, 0]


def test_what_was_not_there_and_comes_is_a_change() -> None:
    shown = view(np.ones((2, 3, 3)), State(back="deconv"))
    function = Redraw(lambda given: given.attribution)
    assert function(shown) is None
    diff = np.ones((3, 8, 10), np.float32)
    assert function(replace(shown, result=replace(shown.result, back=diff))) is diff
    assert function(shown) is None
