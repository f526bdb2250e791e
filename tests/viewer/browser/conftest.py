"""A session that needs no net, and a server that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.browser_session import FakeSession, Running, served


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def running(session: FakeSession) -> Iterator[Running]:
    with served(session) as running:
        yield running
