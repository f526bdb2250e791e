"""No pane may fail unnoticed: a screen draws the failure in its place, and goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def broken_panes() -> Iterator[list[str]]:
    """What is said of panes that failed; a test that means them to takes it out of the list."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("deepvis_caffe.viewer.panes.pane")
    log.addHandler(handler)
    yield found
    log.removeHandler(handler)
    assert not found
