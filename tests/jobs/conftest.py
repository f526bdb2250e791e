"""A small model on disk, and its net, for all tests of a module."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_model
from helpers.cluster_work import small_net

from deepvis_caffe.engines.base import Net


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small_model.write_model(folder)
    return folder


@pytest.fixture(scope="module")
def net(model: Path) -> Net:
    return small_net(model)
