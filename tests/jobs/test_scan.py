"""A scan in shards: interrupted and resumed, killed, shared among processes, with one result."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import dataset_work
from helpers.cluster_work import small_net
from helpers.dataset_work import LAYERS, SHARD
from helpers.engine_nets import conv, layer, load_text, net_text
from helpers.image_sets import write_folder
from helpers.own_group import start_script

from deepvis_caffe.cluster import LocalProcesses, Serial
from deepvis_caffe.dataset.decoders import Decoders
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import Scan, ScanParams
from deepvis_caffe.dataset.scan_file import write_scan
from deepvis_caffe.dataset.source import every
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, ResultsError, SettingsError
from deepvis_caffe.files import lock
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.scan import Shard, run_scan, scan_dataset, where_to_scan
from deepvis_caffe.results.scan_folder import ScanFolder

IMAGES, PARAMS = 17, ScanParams(LAYERS, 4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_folder(tmp_path_factory.mktemp("images"), IMAGES)
    (folder / "a" / "0035.png").write_bytes(b"damaged")
    return folder


@pytest.fixture(scope="module")
def expected(net: Net, images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("expected")
    return content(run(net, images, out), out)


def run(net: Net, images: Path, out: Path, **more: object) -> Scan:
    given = {"batch_size": 2, "shard_size": SHARD, **more}
    return scan_dataset(net, open_source(images), out, PARAMS, **given)


def content(scan: Scan, out: Path) -> dict[str, object]:
    """Everything in a scan and its file, to the last bit."""
    with np.load(out / "scan.npz") as file:
        arrays = {name: file[name].tobytes() for name in file.files}
    assert [path.name for path in sorted(out.iterdir())] == ["recipe.json", "scan.lock", "scan.npz"]
    return {**arrays, "names": scan.names, "skipped": scan.skipped, "images": scan.images}


def interrupted(net: Net, images: Path, out: Path, at: int) -> list[str]:
    def progress(done: int, total: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(net, images, out, progress=progress)
    return sorted(path.name for path in out.glob("*.npz"))


def test_finished_shards_are_kept_and_the_same_call_resumes(
    net: Net, images: Path, tmp_path: Path, expected: dict[str, object]
) -> None:
    assert expected["images"] == IMAGES
    assert interrupted(net, images, tmp_path, 12) == ["shard_00000.npz", "shard_00001.npz"]
    before = (tmp_path / "shard_00001.npz").stat().st_mtime_ns
    seen: list[int] = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        assert total == IMAGES + 1
        assert (tmp_path / "shard_00001.npz").stat().st_mtime_ns == before

    # The shards that are there count, whatever size is asked for now.
    scan = run(net, images, tmp_path, progress=progress, shard_size=4)
    assert content(scan, tmp_path) == expected
    assert seen[0] > 10
    assert seen[-1] == IMAGES + 1


def test_shards_that_were_left_beside_the_finished_scan_go(
    net: Net,
    images: Path,
    tmp_path: Path,
    expected: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a process leaves them that is killed at the end; not while another one has the folder."""
    with monkeypatch.context() as patch:
        patch.setattr(ScanFolder, "finish", _write_only)
        run(net, images, tmp_path)
    with lock(tmp_path / "scan.lock", "the scan"):
        assert run(net, images, tmp_path).names == expected["names"]
    assert list(tmp_path.glob("shard_*"))
    assert content(run(net, images, tmp_path), tmp_path) == expected
    assert not list(tmp_path.glob("shard_*"))


def _write_only(kept: ScanFolder, scan: Scan, recipe: dict[str, object]) -> None:
    write_scan(kept.folder / "scan.npz", scan, recipe)


def test_a_damaged_shard_is_made_again(
    net: Net, images: Path, tmp_path: Path, expected: dict[str, object]
) -> None:
    interrupted(net, images, tmp_path, 12)
    shard = tmp_path / "shard_00000.npz"
    shard.write_bytes(shard.read_bytes()[:100])
    assert content(run(net, images, tmp_path), tmp_path) == expected


@pytest.mark.process
def test_killed_in_the_middle_it_resumes_to_the_same_bytes(
    net: Net, model: Path, images: Path, tmp_path: Path, expected: dict[str, object]
) -> None:
    killed = start_script(dataset_work.__file__, model, images, tmp_path, 13)
    _, said = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    assert not (tmp_path / "scan.npz").exists()
    assert len(list(tmp_path.glob("shard_*.npz"))) == 13 // SHARD
    assert content(run(net, images, tmp_path), tmp_path) == expected


@pytest.mark.process
def test_processes_find_the_same_to_the_last_bit(
    net: Net, model: Path, images: Path, tmp_path: Path, expected: dict[str, object]
) -> None:
    make_net = partial(small_net, model)
    scan = run(net, images, tmp_path, where=LocalProcesses(2), make_net=make_net)
    assert content(scan, tmp_path) == expected


@pytest.mark.process
def test_many_images_are_scanned_in_a_process_per_core_with_the_same_bits(
    net: Net,
    model: Path,
    images: Path,
    tmp_path: Path,
    expected: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deepvis_caffe.jobs.scan.ENOUGH", IMAGES)
    monkeypatch.setattr("deepvis_caffe.jobs.scan.ROUNDS", 1)
    monkeypatch.setattr("deepvis_caffe.jobs.scan.others_compute", lambda: False)
    monkeypatch.setattr("deepvis_caffe.jobs.job.threads_here", lambda: 3)
    monkeypatch.setattr(net.ops, "free_memory", lambda: 2**40)
    before, most = len(multiprocessing.active_children()), 0

    def progress(done: int, total: int) -> None:
        nonlocal most
        most = max(most, len(multiprocessing.active_children()) - before)

    job = Job(net, tmp_path, make_net=partial(small_net, model), progress=progress)
    scan = run_scan(job, open_source(images), PARAMS, 2, SHARD, tmp_path, own_processes=True)
    assert content(scan, tmp_path) == expected
    assert most == 3


EACH = 5 * 2**27 + 2 * 84 * 2**20 + 6 * 4 * 16 * 3 * 64 * 64  # bytes of a process


@pytest.mark.parametrize(
    ("changed", "processes"),
    [
        ({}, True),
        ({"images": 2047}, False),
        ({"shards": 15}, False),
        ({"threads": 1}, False),
        ({"threads": 5}, False),  # more than a quarter of the shards
        ({"where": LocalProcesses(2)}, False),
        ({"make_net": None}, False),
        ({"free": 8 * EACH}, True),
        ({"free": 8 * EACH - 2}, False),
        ({"free": None}, False),
        ({"reentrant": False}, False),
        ({"in_one_stream": True}, False),
        ({"others": True}, False),
    ],
)
def test_where_a_scan_runs(
    changed: dict[str, Any], processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {
        "images": 2048,
        "shards": 16,
        "threads": 4,
        "where": Serial(),
        "make_net": object(),
        "free": 2**40,
        "reentrant": True,
        "in_one_stream": False,
        "others": False,
        **changed,
    }
    monkeypatch.setattr("deepvis_caffe.jobs.scan.others_compute", lambda: given["others"])
    weights = {"conv": [np.broadcast_to(np.float32(0), (84, 2**18))]}  # 84 MiB
    net = SimpleNamespace(
        reentrant=given["reentrant"],
        ops=SimpleNamespace(free_memory=lambda: given["free"]),
        shapes={"data": (1, 3, 64, 64)},
        model=SimpleNamespace(weights=weights),
    )
    own = {name: given[name] for name in ("threads", "where", "make_net")}
    job: Any = SimpleNamespace(net=net, **own)
    source: Any = SimpleNamespace(in_one_stream=given["in_one_stream"])
    edges = np.linspace(0, given["images"], given["shards"] + 1).astype(int).tolist()
    shards = [Shard(number, *pair) for number, pair in enumerate(pairwise(edges))]
    expected = LocalProcesses(4, threads=1) if processes else given["where"]
    assert where_to_scan(job, source, 16, shards) == expected


def test_that_images_run_one_at_a_time_is_said_once(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = net_text(
        conv("one", "data", 4),
        layer("soft", "Softmax", "one", "", "softmax_param { axis: 0 }"),
        data=(1, 3, 8, 8),
    )
    net = load_text("torch", tmp_path, text)
    scan_dataset(net, open_source(images), tmp_path / "out", ScanParams(("soft",)))
    assert caplog.text.count("images run one at a time") == 1


@pytest.mark.process
def test_decoding_processes_change_no_bit_and_end_with_the_pass(
    net: Net,
    images: Path,
    tmp_path: Path,
    expected: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As beside a net that only one thread at a time may run: from the start, and taken up."""
    began: list[int] = []

    class Watched(Decoders):
        def close(self) -> None:
            began.append(len(multiprocessing.active_children()))
            super().close()

    monkeypatch.setattr("deepvis_caffe.jobs.scan.Decoders", Watched)
    monkeypatch.setattr("deepvis_caffe.jobs.job.threads_here", lambda: 2)
    monkeypatch.setattr("deepvis_caffe.dataset.decoders.FEWEST", 1)
    monkeypatch.setattr(net, "reentrant", False)
    before = len(multiprocessing.active_children())
    assert content(run(net, images, tmp_path / "once"), tmp_path / "once") == expected
    assert interrupted(net, images, tmp_path / "twice", 7) == ["shard_00000.npz"]
    assert content(run(net, images, tmp_path / "twice"), tmp_path / "twice") == expected
    assert len(began) == 3
    assert min(began) > before
    assert len(multiprocessing.active_children()) == before


def test_what_is_there_is_read_and_not_made_again(
    net: Net, images: Path, tmp_path: Path, expected: dict[str, object]
) -> None:
    run(net, images, tmp_path)

    def progress(done: int, total: int) -> None:
        raise AssertionError("nothing was to be done")

    assert content(run(net, images, tmp_path, progress=progress), tmp_path) == expected
    part = scan_dataset(
        net, open_source(images), tmp_path, ScanParams(("fc",), 4), progress=progress
    )
    assert part.names == expected["names"]


def test_another_recipe_is_refused_or_replaces_all(net: Net, images: Path, tmp_path: Path) -> None:
    run(net, images, tmp_path)
    fewer = every(open_source(images), 2)
    with pytest.raises(SettingsError, match=r"other parameters \(other images\); .*--overwrite"):
        scan_dataset(net, fewer, tmp_path, PARAMS)
    with pytest.raises(SettingsError, match="count 4, now 3"):
        scan_dataset(net, open_source(images), tmp_path, ScanParams(LAYERS, 3))
    scan = scan_dataset(net, fewer, tmp_path, PARAMS, overwrite=True)
    assert scan.images + len(scan.skipped) == 9
    recipe = json.loads((tmp_path / "recipe.json").read_text())["recipe"]
    assert recipe["images"] == fewer.signature()


def test_a_folder_with_a_damaged_recipe_is_left_alone_but_for_overwrite(
    net: Net, images: Path, tmp_path: Path, expected: dict[str, object]
) -> None:
    for text in ("", "no", "[]", '{"recipe": {}}'):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ResultsError, match=r"recipe\.json is damaged; give --overwrite"):
            run(net, images, tmp_path)
        assert (tmp_path / "recipe.json").read_text() == text
        assert not list(tmp_path.glob("*.npz"))
    assert content(run(net, images, tmp_path, overwrite=True), tmp_path) == expected


@pytest.mark.parametrize("left", [0, 0.5])
def test_a_damaged_scan_is_made_again(
    net: Net, images: Path, tmp_path: Path, expected: dict[str, object], left: float
) -> None:
    """As a power cut may leave it: empty, or half of it."""
    run(net, images, tmp_path)
    path = tmp_path / "scan.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))])
    assert content(run(net, images, tmp_path), tmp_path) == expected


def test_two_scans_do_not_mix(net: Net, images: Path, tmp_path: Path) -> None:
    """The second is told who is at it, and the first ends as if alone."""
    others = write_folder(tmp_path / "others", IMAGES - 3)
    out = tmp_path / "out"

    def progress(done: int, total: int) -> None:
        for again, overwrite in ((images, False), (others, True)):
            with pytest.raises(ResultsError, match=rf"process {os.getpid()} on .*, since "):
                run(net, again, out, overwrite=overwrite)

    scan = run(net, images, out, progress=progress)
    assert scan.images + len(scan.skipped) == IMAGES + 1
    assert run(net, others, out, overwrite=True).images == IMAGES - 3


def test_a_shard_of_another_scan_is_not_merged(net: Net, images: Path, tmp_path: Path) -> None:
    """As another program, without our lock, might write it meanwhile."""
    others = write_folder(tmp_path / "others", IMAGES)
    interrupted(net, others, tmp_path / "other", 12)
    out = tmp_path / "out"

    def progress(done: int, total: int) -> None:
        if done == total:
            shutil.copy(tmp_path / "other" / "shard_00000.npz", out)

    with pytest.raises(ResultsError, match=r"was made by another scan .*other images"):
        run(net, images, out, progress=progress)


def test_nothing_that_can_be_read_is_an_error(net: Net, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(b"no")
    with pytest.raises(ImageError, match=r"none of the 1 images can be used; x.png: cannot read"):
        run(net, tmp_path / "images", tmp_path / "out")
