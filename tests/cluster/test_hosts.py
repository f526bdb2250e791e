"""A Dask cluster of several hosts with broken links and power failures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import small_model
from helpers.cluster_work import small_net
from helpers.hosts import Host, network, why_not
from helpers.results_folder import contents
from helpers.waiting import eventually

from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, make_layer
from deepvis_caffe.optimizer import AscentParams
from deepvis_caffe.optimizer.target_layer import TargetLayer

TESTS = Path(__file__).parents[1]
AT_MOST = 240.0  # seconds for anything to happen, after which the test has hung
PORT = 8786
PARAMS, UNITS, SEEDS = AscentParams(iterations=5), range(4), range(3)

# In place of 5 minutes until a silent worker counts as lost, and 30 s until a scheduler does.
IMPATIENT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "99",  # a slow machine may lose more
}

CLIENT = """
import sys
from functools import partial
from pathlib import Path

from helpers.cluster_work import held_net, small_net
from deepvis_caffe.cluster import DaskCluster
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, make_layer
from deepvis_caffe.optimizer import AscentParams
from deepvis_caffe.optimizer.target_layer import TargetLayer

model, results, address = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
net = small_net(model)
job = Job(net, results, DaskCluster(address, timeout=200), partial(held_net, model))
ascents = Ascents(AscentParams(iterations=5), range(3), batch_size=1)
make_layer(job, TargetLayer.of(net, "fc"), range(4), ascents)
"""


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    if missing := why_not():
        if os.environ.get("DEEPVIS_REQUIRE_HOSTS") == "1":
            pytest.fail(f"network namespaces are required here: {missing}", pytrace=False)
        pytest.skip(f"needs network namespaces: {missing}")
    with network("head", "a", "b") as made:
        yield made


def test_cut_links_and_lost_hosts_change_no_byte(hosts: list[Host], tmp_path: Path) -> None:
    head, a, b = hosts
    model, results, log = tmp_path / "model", tmp_path / "results", tmp_path / "scheduler.log"
    model.mkdir()
    small_model.write_model(model)
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**IMPATIENT, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    address = f"tcp://{head.address}:{PORT}"

    def join(host: Host) -> None:
        """Start a worker on a host that has nothing of the test's but the model."""
        options = ["--nthreads", "1", "--no-dashboard", "--host", host.address, "--no-nanny"]
        host.keep_running(
            ["-m", "distributed.cli.dask_worker", address, *options],
            tmp_path / f"{host.name}.log",
            environment={**environment, "DEEPVIS_TEST_HOST": host.name},
            empty=tmp_path,
            shared=model,
        )

    def hold(host: Host) -> None:
        """Let the host stop in its next pass, as in one that takes very long."""
        (model / f"at-{host.name}").unlink(missing_ok=True)
        (model / f"hold-{host.name}").touch()

    def release(host: Host) -> None:
        (model / f"hold-{host.name}").unlink()

    def is_held(host: Host) -> None:
        eventually((model / f"at-{host.name}").exists, AT_MOST)

    def is_lost(host: Host, times: int = 1) -> None:
        lost = f"Remove worker addr: tcp://{host.address}:"
        eventually(lambda: log.read_text().count(lost) >= times, AT_MOST)

    def finished() -> int:
        return len(list(results.rglob("fc_*_?.json")))

    head.start(
        [
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"),
            *("--host", head.address, "--port", str(PORT)),
        ],
        log,
        environment,
    )
    for host in (a, b):
        hold(host)
        join(host)
    client = head.start(
        [sys.executable, str(script), str(model), str(results), address],
        tmp_path / "client.log",
        environment,
    )
    is_held(a)
    is_held(b)

    a.cut()
    is_lost(a)
    b.power_off()
    is_lost(b)
    assert (client.poll(), finished()) == (None, 0)  # nobody is left, and it waits

    a.mend()
    release(a)
    eventually(lambda: finished() >= 2, AT_MOST)
    hold(a)
    is_held(a)

    b.mend()
    hold(b)
    join(b)
    is_held(b)  # it is back, and has its share
    release(a)
    release(b)
    assert client.wait(AT_MOST) == 0, (tmp_path / "client.log").read_text()

    net = small_net(model)
    job = Job(net, tmp_path / "serial")
    make_layer(job, TargetLayer.of(net, "fc"), UNITS, Ascents(PARAMS, SEEDS, batch_size=1))
    assert finished() == len(UNITS) * len(SEEDS)
    assert contents(results) == contents(tmp_path / "serial")


def test_hosts_share_only_the_shared_folder(hosts: list[Host], tmp_path: Path) -> None:
    _, a, b = hosts
    model, log = tmp_path / "model", tmp_path / "log"
    model.mkdir()
    (model / "weights").write_text("w")
    (tmp_path / "results").mkdir()
    look = f"import os; print(sorted(os.listdir({str(tmp_path)!r})), os.listdir({str(model)!r}))"
    told = a.start([sys.executable, "-c", look], log, {}, empty=tmp_path, shared=model)
    assert told.wait(AT_MOST) == 0
    assert log.read_text() == "['model'] ['weights']\n"

    def reaches_b() -> bool:
        call = f"import socket; socket.create_connection(('{b.address}', 1), 2)"
        tried = a.start([sys.executable, "-c", call], tmp_path / "call", {})
        tried.wait(AT_MOST)
        return "refused" in (tmp_path / "call").read_text().splitlines()[-1]

    assert reaches_b()
    b.cut()
    assert not reaches_b()
    b.mend()
    assert eventually(reaches_b, AT_MOST)
