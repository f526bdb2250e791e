"""A Dask cluster with faults, and the resources that tasks request."""

from __future__ import annotations

import os
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from helpers import cluster_work as work
from helpers.waiting import LONG, eventually

import deepvis_caffe
from deepvis_caffe.cluster import DaskCluster, remote, run_tasks
from deepvis_caffe.errors import ClusterError, SettingsError
from deepvis_caffe.resources import pip_install

TESTS = Path(__file__).parents[1]


def _square(address: str, timeout: float = LONG) -> list[tuple[int, int]]:
    where = DaskCluster(address, timeout=timeout)
    return list(run_tasks(work.no_state, work.square, range(3), where))


def test_no_scheduler_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}"):
        _square(address, timeout=0.5)


@pytest.mark.parametrize("address", ["moon://1", "foo", "http://10.0.0.1:8786", "tcp://a", ""])
def test_a_malformed_address_is_not_tried(address: str) -> None:
    with pytest.raises(
        SettingsError, match=r"a scheduler's address looks like tcp://10\.0\.0\.1:8786"
    ):
        _square(address)


def test_a_cluster_without_workers_is_waited_for_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        ThreadPoolExecutor(1) as pool,
    ):
        found = pool.submit(_square, cluster.scheduler_address)
        eventually(lambda: "has no workers yet" in caplog.text)
        assert not found.done()
        cluster.scale(1)
        assert sorted(found.result(timeout=60)) == [(0, 0), (1, 1), (2, 4)]


def test_no_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install .*\[dask\]"):
        _square("tcp://127.0.0.1:1")


def test_a_cluster_of_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = deepvis_caffe.__version__
    monkeypatch.setattr(deepvis_caffe, "__version__", "9.8")
    with pytest.raises(
        ClusterError, match=f"127.0.0.1:.* has {theirs}, and this process has 9.8"
    ) as caught:
        _square(address)
    assert str(caught.value).endswith(f", as here: {pip_install('dask,torch')}")


@contextmanager
def _changed(address: str, change: Callable[..., None], *given: object) -> Iterator[str]:
    """Change one worker, given its address, or all of them; at the end they have our version."""
    with Client(address, set_as_default=False) as client:
        one = next(iter(client.scheduler_info()["workers"]))
        try:
            client.run(change, *given, workers=[one])
            yield one
        finally:
            client.run(work.have_version, deepvis_caffe.__version__)


@pytest.mark.parametrize(
    ("version", "has"), [("0.0.1", "has 0.0.1"), (None, r"has none \(.*deepvis_caffe")]
)
def test_one_worker_of_another_version_or_without_the_package(
    address: str, version: str | None, has: str
) -> None:
    ours = deepvis_caffe.__version__
    with (
        _changed(address, work.have_version, version) as worker,
        pytest.raises(ClusterError, match=f"{worker} {has}.*, and this process has {ours}"),
    ):
        _square(address)


def test_a_worker_that_leaves_as_it_is_asked_for_its_version(address: str) -> None:
    with _changed(address, work.leave_when_asked):
        assert sorted(_square(address)) == [(0, 0), (1, 1), (2, 4)]


def test_a_worker_that_joins_late_with_another_version(address: str) -> None:
    """As after an update of the files: the versions were the same when the run began."""
    ours = deepvis_caffe.__version__
    where = DaskCluster(address, timeout=LONG, in_flight=1)
    with closing(run_tasks(work.no_state, work.square, range(9), where)) as found:
        assert next(found)[1] in (0, 1)
        with Client(address, set_as_default=False) as client:
            client.run(work.have_version, "0.0.1")
            try:
                with pytest.raises(
                    ClusterError, match=f"a worker has 0.0.1, and this process has {ours}"
                ):
                    list(found)
            finally:
                client.run(work.have_version, ours)


def test_workers_keep_a_state_until_the_run_ends(address: str, tmp_path: Path) -> None:
    where = DaskCluster(address, timeout=LONG)
    signs, meeting = tmp_path / "signs", tmp_path / "meeting"
    signs.mkdir()
    meeting.mkdir()
    tasks = [(meeting, 2)] * 8
    with closing(run_tasks(partial(work.Traced, signs), work.meet, tasks, where)) as found:
        seen = {sign for _ in range(6) if next(found) for sign in signs.iterdir()}
        assert len(seen) == 2  # one for each worker, however many tasks it did
    eventually(lambda: not any(signs.iterdir()))


def test_a_task_that_comes_after_the_end_of_its_run_makes_no_state(
    address: str, tmp_path: Path
) -> None:
    """A worker may get one when the run was stopped in between."""
    job = pickle.dumps((partial(work.Traced, tmp_path), work.identity))
    given = ("stopped", deepvis_caffe.__version__, job)
    with Client(address, set_as_default=False) as client:
        client.run(remote.end_run, "stopped")
        failure = client.submit(remote.run_task, given, pickle.dumps(0), pure=False).result()
    assert isinstance(failure.exception(), remote.RunEndedError)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("advertised", "asked"),
    [
        ({}, {}),
        ({"a": {}, "b": {}}, {}),
        ({"a": {"GPU": 1}, "b": {"GPU": 1}}, {"GPU": 1}),
        ({"a": {"memory": 5}, "b": {"GPU": 2}}, {"GPU": 1}),
        ({"a": {"GPU": 0}}, {}),
    ],
)
def test_a_task_asks_for_a_gpu_where_workers_have_some(
    advertised: dict[str, dict[str, float]], asked: dict[str, float]
) -> None:
    assert remote.needed(advertised) == asked


@pytest.mark.parametrize(
    ("given", "said", "threads"), [(1, "1", 1), (8, "1", 8), (1, "4", 4), (2, None, 2), (2, "x", 2)]
)
def test_threads_of_a_worker(given: int, said: str | None, threads: int) -> None:
    environment = {} if said is None else {"OMP_NUM_THREADS": said}
    assert remote.threads_of(given, environment) == threads


def test_a_scheduler_that_dies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}

    def start(kind: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard"]
        return subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0")
    assert scheduler.stderr is not None
    address = next(
        found[0] for line in scheduler.stderr if (found := re.search(r"tcp://[\d.:]+", line))
    )
    worker = start("worker", address, "--no-nanny")
    try:
        tasks = [(number, tmp_path) for number in range(3)]
        found = run_tasks(work.no_state, work.beat, tasks, DaskCluster(address, timeout=LONG))
        assert next(found) == (0, 0)
        scheduler.kill()
        with pytest.raises(ClusterError, match=f"the Dask scheduler at {address} has ended"):
            next(found)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.communicate()
    assert "Traceback" not in capfd.readouterr().err
