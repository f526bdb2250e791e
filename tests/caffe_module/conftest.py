"""Real pycaffe with the functions of scikit-image that it was written against."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
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
