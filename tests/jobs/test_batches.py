"""The same pictures wherever they are made: this process, local processes, a Dask cluster."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from distributed import LocalCluster
from helpers import small_model
from helpers.jobs import make_layer
from helpers.results_folder import contents

import deepvis_caffe as dv
from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Serial
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ClusterError, ModelError
from deepvis_caffe.jobs import job as job_module
from deepvis_caffe.jobs.batches import make_batches, run_batches
from deepvis_caffe.jobs.job import Job, net_maker, where_of
from deepvis_caffe.optimizer import AscentParams, ascent_params
from deepvis_caffe.optimizer.run import AscentBatch
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.results.store import ResultStore
from deepvis_caffe.settings import Settings, load_settings

PARAMS = ascent_params(preset=3, iterations=6)
BATCHES = [AscentBatch("fc", ((unit, 0), (unit, 1)), PARAMS) for unit in (2, 0)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(small_model.write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def net(settings: Settings) -> Net:
    return dv.load_net(settings)


@pytest.mark.process
@pytest.mark.parametrize("how", ["local", "dask"])
def test_every_file_is_the_serial_one_byte_for_byte(
    settings: Settings, net: Net, tmp_path: Path, how: str
) -> None:
    seen: list[tuple[int, int]] = []
    give = (["fc"], [3, 1, 0], [0, 1, 2], PARAMS)

    def make(name: str, **more: object) -> dict[str, bytes]:
        (layer,), units, seeds, params = give
        store = ResultStore(tmp_path / name)
        made = make_layer(net, store, layer, units, seeds, params, **more)
        assert [unit.new for unit in made] == [3, 3, 3]
        return contents(tmp_path / name)

    def report(done: int, total: int) -> None:
        seen.append((done, total))

    serial = make("serial", batch_size=2)
    more = {"batch_size": 2, "make_net": net_maker(settings, net), "progress": report}
    if how == "local":
        assert make("there", where=LocalProcesses(2), **more) == serial
        assert len(seen) == 5 * 6  # 9 images in batches of 1 and 2: after every step of each
    else:
        with LocalCluster(
            n_workers=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster:
            where = DaskCluster(cluster.scheduler_address)
            assert make("there", where=where, **more) == serial
        assert len(seen) == 5  # after every batch
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (54, 54)


def test_results_are_the_optimizers(net: Net, tmp_path: Path) -> None:
    for batch, results in run_batches(Job(net, tmp_path), BATCHES):
        runs = dv.optimize(net, "fc", batch.names, (0, 1), preset=PARAMS)
        assert [(it.unit, it.seed) for it in results] == [(it.unit, it.seed) for it in runs]
        for result, run in zip(results, runs, strict=True):
            assert result.image.tobytes() == run.image.tobytes()
            assert result.picture().tobytes() == run.picture().tobytes()


@pytest.mark.process
def test_a_worker_without_the_files_or_with_others(
    settings: Settings, net: Net, tmp_path: Path
) -> None:
    for name in ("prototxt", "weights"):
        shutil.copy(getattr(settings, name), tmp_path)
    moved = settings.model_copy(
        update={
            "prototxt": tmp_path / "small.prototxt",
            "weights": tmp_path / "small.caffemodel",
            "mean": (1.0, 2.0, 3.0),
        }
    )
    where = LocalProcesses(1)
    with pytest.raises(ModelError, match="a worker's net differs from this one"):
        list(run_batches(Job(net, tmp_path, where, net_maker(moved, net)), BATCHES))
    (tmp_path / "small.caffemodel").unlink()
    there = f"{socket.gethostname()} has no file {tmp_path / 'small.caffemodel'}: workers read"
    with pytest.raises(ModelError) as caught:
        list(run_batches(Job(net, tmp_path, where, net_maker(moved, net)), BATCHES))
    assert str(caught.value).startswith(there)
    assert "while a worker was starting, on" in caught.value.__notes__[0]
    with pytest.raises(ClusterError, match="give make_net"):
        Job(net, tmp_path, where)


def test_a_batchs_error_names_it(net: Net, tmp_path: Path) -> None:
    with pytest.raises(dv.SettingsError) as caught:
        list(run_batches(Job(net, tmp_path), [AscentBatch("fc", ((1, 0), (9, 0)), PARAMS)]))
    assert caught.value.__notes__ == ["in the task fc, units 1,9, seeds 0"]


@pytest.mark.parametrize(
    ("images", "most", "workers", "sizes"),
    [
        (9, 8, 1, [4, 5]),
        (9, 9, 2, [4, 5]),  # not all nine on one of two
        (9, 9, 4, [3, 3, 3]),
        (9, 9, 16, [1] * 9),
        (100, 20, 4, [20] * 5),  # each has enough
        (0, 8, 4, []),
    ],
)
def test_workers_share_what_there_is(
    net: Net, tmp_path: Path, images: int, most: int, workers: int, sizes: list[int]
) -> None:
    where = Serial() if workers == 1 else LocalProcesses(workers)
    job, layer = Job(net, tmp_path, where, lambda: net), TargetLayer.of(net, "fc")
    runs = [(unit, seed) for unit in (2, 0) for seed in range(50)][:images]
    batches = make_batches(job, layer, {PARAMS: runs}, most)
    assert [len(batch.runs) for batch in batches] == sizes
    assert [run for batch in batches for run in batch.runs] == runs


def test_sets_of_parameters_share_the_workers(net: Net, tmp_path: Path) -> None:
    job = Job(net, tmp_path, LocalProcesses(2), lambda: net)
    layer, runs = TargetLayer.of(net, "fc"), [(1, seed) for seed in range(4)]
    other, third = PARAMS.but(decay=0.2), PARAMS.but(decay=0.3)

    def sizes(missing: Mapping[AscentParams, Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
        found = make_batches(job, layer, missing, 9)
        return [(list(missing).index(batch.params), len(batch.runs)) for batch in found]

    assert sizes({PARAMS: runs, other: runs, third: []}) == [(0, 4), (1, 4)]
    assert sizes({PARAMS: [], other: runs, third: runs[:1]}) == [(1, 2), (1, 2), (2, 1)]


class _OnGpu:
    engine, device = "pycaffe", "cuda:0"


def test_settings_say_where(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "find_gpus", lambda: ("4", "6"))
    assert where_of(Settings(), net) == Serial()
    assert where_of(Settings(workers="3"), net) == LocalProcesses(3)
    dask = DaskCluster("tcp://10.0.0.1:8786")
    assert where_of(Settings(workers=3, scheduler=dask.address), net) == dask
    for device in ("auto", "cuda"):
        dealt = where_of(Settings(workers=3, device=device), _OnGpu())  # type: ignore[arg-type]
        assert dealt == LocalProcesses(3, gpus=("4", "6"))
    named = where_of(Settings(workers=3, device="cuda:1"), _OnGpu())  # type: ignore[arg-type]
    assert named == LocalProcesses(3)


@pytest.mark.parametrize(
    ("given", "device"),
    [
        # One of several GPUs is all that a local worker sees.
        ({"device": "auto", "workers": 2}, "cuda"),
        ({"device": "cuda", "workers": 2}, "cuda"),
        ({"device": "cuda:1", "workers": 2}, "cuda:1"),
        ({"device": "auto", "scheduler": "tcp://s:1"}, "auto"),
    ],
)
def test_a_workers_net_is_the_same_on_its_own_device(
    given: dict[str, object], device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(prototxt="a.prototxt", mean="/m.npy", results="out", **given)
    maker = net_maker(settings, _OnGpu())  # type: ignore[arg-type]
    assert isinstance(maker, partial)
    (made_of,) = maker.args
    assert made_of.prototxt == tmp_path / "a.prototxt"
    assert made_of.mean == Path("/m.npy")
    assert (made_of.engine, made_of.device) == ("pycaffe", device)


@pytest.mark.process
def test_the_command_with_two_workers(settings: Settings, tmp_path: Path) -> None:
    """As people call it: from a script with no `if __name__ == ...` of ours."""
    command = [sys.executable, "-c", "from deepvis_caffe.cli.main import main; main()", "optimize"]
    flags = ["--units=1,3", "--seeds=2", "--iterations=4", "--batch-size=2", "--workers=2"]
    file = settings.prototxt.parent / "settings_local.py"  # type: ignore[union-attr]
    ended = subprocess.run(
        [*command, "fc", "-s", str(file), "-o", str(tmp_path), *flags],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert ended.returncode == 0, ended.stderr
    assert "4 new runs, 0 already finished" in ended.stderr
    net = dv.load_net(settings)
    for run in dv.optimize(net, "fc", [1, 3], range(2), iterations=4):
        path = tmp_path / f"regularized_opt/fc/fc_{run.unit:04d}_{run.seed}.json"
        assert json.loads(path.read_text())["objective"] == [float(v) for v in run.activations]
