"""A small model in the current folder, as for a user."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_model

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and its settings, as the current one."""
    small_model.write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    return tmp_path


@pytest.fixture
def net() -> Net:
    return dv.load_net("small.prototxt", "small.caffemodel", engine="torch", mean=small_model.MEAN)
