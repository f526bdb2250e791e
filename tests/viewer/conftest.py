"""The viewer's tests: no pane fails unnoticed; messages can stay until a test has seen them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import pytest

from deepvis_caffe.viewer import session as session_module


@pytest.fixture(autouse=True)
def broken_panes() -> Iterator[list[str]]:
    """What is said of panes that failed; a test that means them to takes it out of the list.

    A screen draws the failure in the pane's place, and goes on.
    """
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("deepvis_caffe.viewer.panes.pane")
    log.addHandler(handler)
    yield found
    log.removeHandler(handler)
    assert not found


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages and tips of sessions stay for ever, however late a test comes to look."""
    monkeypatch.setattr(session_module, "MESSAGE", math.inf)
    monkeypatch.setattr(session_module, "POINTING", math.inf)
