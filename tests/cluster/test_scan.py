"""A pass over a dataset on a Dask cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import small_model
from cluster_work import small_net
from image_sets import slow_pass, slow_top, write_folder

from deepvis_caffe.cluster import DaskCluster
from deepvis_caffe.dataset.open import open_source
from deepvis_caffe.dataset.run import scan_dataset
from deepvis_caffe.dataset.scan import ScanParams


def test_a_cluster_finds_the_same_to_the_last_bit(address: str, tmp_path: Path) -> None:
    small_model.write_model(tmp_path)
    images = write_folder(tmp_path / "images", 11)
    net, params = small_net(tmp_path), ScanParams(("conv/1", "fc"), 3, correlation=True)
    told: list[tuple[int, int]] = []
    scans = [
        scan_dataset(
            net,
            open_source(images),
            tmp_path / name,
            params,
            batch_size=2,
            shard_size=3,
            progress=lambda done, total: told.append((done, total)),
            **more,
        )
        for name, more in (
            ("here", {}),
            ("there", {"where": DaskCluster(address), "make_net": partial(small_net, tmp_path)}),
        )
    ]
    assert told[-1] == (11, 11)
    files = [np.load(tmp_path / name / "scan.npz") for name in ("here", "there")]
    for name in files[0].files:
        assert files[0][name].tobytes() == files[1][name].tobytes(), name
    there = scans[1]
    for layer in params.layers:
        found = there.layers[layer].top
        names, values = slow_pass(net, images, layer)
        for unit, expected in enumerate(slow_top(names, values, 3)):
            assert [there.names[k] for k in found.image[unit]] == [one[1] for one in expected]
