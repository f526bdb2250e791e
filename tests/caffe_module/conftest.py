"""Real pycaffe, in this process, and with ours in separate processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from helpers.caffe_programs import Two, listing, program
from skimage import transform


@pytest.fixture
def real(caffe: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Real pycaffe, whose `resize_image` works again.

    The build that tests use lacks the import of scikit-image's ``resize``, which did not smooth
    before shrinking then.
    """
    resize = partial(transform.resize, anti_aliasing=False)
    monkeypatch.setattr(caffe.io, "resize", resize, raising=False)
    return caffe


@pytest.fixture(scope="session")
def both(caffe: Any) -> Iterator[Two]:
    """A process with each module."""
    both = Two()
    yield both
    both.close()


@pytest.fixture
def check(both: Two) -> Callable[..., None]:
    """Run a program twice: reading all arrays after every line, and only after the last one."""

    def check(text: str, *lines: str, aborts: bool = False, **files: str) -> None:
        for looks in (None,) if aborts else (None, [len(lines) - 1]):
            made = program(*lines, looks=looks, net=text, **files)
            died = f"real Caffe died\n{listing(made, both.real.died_at)}"
            assert both.check(made, aborts), died

    return check
