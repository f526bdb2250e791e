"""A scan's statistics of units, in the index and in the page's data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cluster_work import small_net
from helpers.image_sets import slow_pass, write_folder
from helpers.results_folder import add_pictures
from helpers.small_model import write_model

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.engines.base import Net
from deepvis_caffe.jobs.scan import scan_dataset
from deepvis_caffe.page.data import part_texts
from deepvis_caffe.results.additions import with_statistics
from deepvis_caffe.results.index import read_results

IMAGES = 6


@pytest.fixture
def net(tmp_path: Path) -> Net:
    write_model(tmp_path)
    return small_net(tmp_path)


@pytest.fixture
def folder(net: Net, tmp_path: Path) -> Path:
    """Units of fc, one more than the net has, and another layer's; the scan is of fc alone."""
    source = open_source(write_folder(tmp_path / "images", IMAGES))
    folder = tmp_path / "out"
    scan_dataset(net, source, folder / "dataset", ScanParams(("fc",), 3, correlation=True))
    for layer, unit in (("fc", 1), ("fc", 3), ("fc", 9), ("pool", 0)):
        add_pictures(folder, f"max_im/{layer}/{layer}_{unit:04d}.jpg")
    return folder


def test_units_have_the_numbers_of_a_slow_loop(folder: Path, net: Net, tmp_path: Path) -> None:
    fc, pool = with_statistics(read_results(folder)).layers
    assert [unit.statistics is None for unit in fc.units] == [False, False, True]
    assert pool.units[0].statistics is None
    (text,) = part_texts(fc, 0)
    assert not list(part_texts(pool, 1))
    part = json.loads(text.removeprefix('deepvisPart("0.0", ').removesuffix(");\n"))
    one, three, nine = part["statistics"]
    assert nine is None
    _, values = slow_pass(net, tmp_path / "images", "fc")
    values = values[:, :, 0].astype(float)
    row = np.corrcoef(values.T)[3]
    alike = sorted((k for k in range(4) if k != 3), key=lambda k: -abs(row[k]))
    for known, unit in ((one, 1), (three, 3)):
        own = values[:, unit]
        assert known["images"] == IMAGES
        assert known["mean"] == pytest.approx(own.mean(), rel=1e-3)
        assert known["deviation"] == pytest.approx(own.std(), rel=1e-3)
        assert known["highest"] == pytest.approx(own.max(), rel=1e-3)
        assert known["active"] == pytest.approx((own > 0).mean(), rel=1e-3)
        assert known["dead"] == (own.max() <= 0)
        for count, low, high in zip(
            known["counts"], known["edges"][:-1], known["edges"][1:], strict=True
        ):
            assert count == ((own >= low - abs(low) * 1e-4) & (own < high)).sum()
    assert [unit for unit, _ in three["alike"]] == alike
    assert [value for _, value in three["alike"]] == pytest.approx(row[alike], abs=1e-3)


def test_a_folder_without_a_scan_or_with_a_damaged_one(folder: Path) -> None:
    results = read_results(folder)
    path = folder / "dataset" / "scan.npz"
    path.write_bytes(b"no scan")
    damaged = with_statistics(results)
    assert damaged.layers == results.layers
    assert f"{path} cannot be read as a scan" in damaged.skipped[-1]
    path.unlink()
    assert with_statistics(results) == results


def test_a_scan_of_another_net_is_not_believed(folder: Path) -> None:
    results = read_results(folder)
    (folder / "regularized_opt/fc").mkdir(parents=True)
    (folder / "regularized_opt/fc/whole_layer.json").write_text('{"count": 1000}')
    add_pictures(
        folder, "regularized_opt/fc/whole_layer.jpg", "regularized_opt/fc/fc_0001_montage.jpg"
    )
    other = with_statistics(read_results(folder)).layers[0]
    assert other.count == 1000
    assert [unit.statistics for unit in other.units] == [None] * 3
    assert with_statistics(results).layers[0].units[0].statistics is not None
