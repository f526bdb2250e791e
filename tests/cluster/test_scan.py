"""A pass over a dataset on a Dask cluster."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
from distributed import Client
from helpers import small_model
from helpers.cluster_work import mortal_net, small_net
from helpers.image_sets import slow_pass, slow_top, write_folder

from deepvis_caffe.cluster import DaskCluster
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.jobs.scan import scan_dataset


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


def test_a_worker_killed_in_the_middle_of_a_shard_changes_no_bit(
    address: str, tmp_path: Path
) -> None:
    small_model.write_model(tmp_path)
    images = write_folder(tmp_path / "images", 13)
    source, params = open_source(images), ScanParams(("conv/1", "fc"), 3, correlation=True)
    # Shards of 4, batches of 2: image 6 starts the second batch of the second of four shards.
    marker, fatal = tmp_path / "killed", images / source.names[6]
    net = small_net(tmp_path)
    more = {
        "where": DaskCluster(address),
        "make_net": partial(mortal_net, tmp_path, fatal, marker),
    }
    told: list[tuple[int, int]] = []
    scan_dataset(net, source, tmp_path / "here", params, batch_size=2, shard_size=4)
    with Client(address, set_as_default=False) as client:
        before = set(client.run(os.getpid).values())
        scan_dataset(
            net,
            source,
            tmp_path / "there",
            params,
            batch_size=2,
            shard_size=4,
            progress=lambda done, total: told.append((done, total)),
            **more,
        )
        client.wait_for_workers(2, timeout=60)  # another one in its place
        after = set(client.run(os.getpid).values())
    killed = int(marker.read_text())
    assert before - after == {killed}
    assert len(before) == len(after) == 2
    assert told[-1] == (13, 13)
    files = [np.load(tmp_path / name / "scan.npz") for name in ("here", "there")]
    assert set(files[0].files) == set(files[1].files)
    for name in files[0].files:
        assert files[0][name].tobytes() == files[1][name].tobytes(), name
