"""The net of a small model, for all tests of a module."""

from __future__ import annotations

import pytest
from helpers import small_model

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    folder = tmp_path_factory.mktemp("model")
    small_model.write_model(folder)
    return load_net(
        folder / "small.prototxt",
        folder / "small.caffemodel",
        engine="torch",
        mean=small_model.MEAN,
        labels=small_model.LABELS,
    )
