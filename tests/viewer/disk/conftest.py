"""A small net, and a folder of images to scan."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cluster_work import small_net
from helpers.image_sets import write_folder
from helpers.scanned import IMAGES
from helpers.small_model import write_model

from deepvis_caffe.engines.base import Net


@pytest.fixture
def net(tmp_path: Path) -> Net:
    write_model(tmp_path)
    return small_net(tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images", IMAGES)
