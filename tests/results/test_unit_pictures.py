"""The pictures of units of several layers, read from a results folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.results_folder import add_run, record

from deepvis_caffe.image import write_image
from deepvis_caffe.results.unit_pictures import read_unit_pictures


def flat(level: int) -> np.ndarray:
    return np.full((16, 16, 3), level, np.uint8)


def test_optimized_images_and_montages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = add_run(tmp_path, "conv1", record("conv1", 3, 0, window=None, sees=None))
    run.with_name("conv1_0003_0_best_X.png").unlink()  # the other is shown as it is
    write_image(run.with_name("conv1_0003_0_best_Xpm.png"), flat(200))
    write_image(tmp_path / "regularized_opt/conv1/conv1_0004_montage.jpg", flat(150))
    (tmp_path / "max_im/fc_1").mkdir(parents=True)
    write_image(tmp_path / "max_im/fc_1/fc_1_0002.jpg", flat(60))
    (tmp_path / "max_im/fc_1/fc_1_0005.jpg").write_bytes(b"no picture")
    asked = [("conv1", 3), ("conv1", 4), ("conv1", 5), ("fc/1", 2), ("fc/1", 5), ("other", 0)]
    found = read_unit_pictures(tmp_path, asked)
    levels = {
        name: {key: int(one.mean()) for key, one in some.items()}
        for name, some in found._asdict().items()
    }
    assert levels == {
        "optimized": {("conv1", 3): 200, ("conv1", 4): 150},
        "top": {("fc/1", 2): 60},
    }
    assert "fc_1_0005.jpg" in caplog.text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert read_unit_pictures(tmp_path / "none", [("conv1", 3)]) == ({}, {})
