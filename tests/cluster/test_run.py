"""One contract wherever tasks run: the same results and the same errors."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import cluster_work as work
from helpers import small_model
from helpers.waiting import LONG, eventually

import deepvis_caffe as dv
from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Serial, Where, run_tasks
from deepvis_caffe.errors import ClusterError, SettingsError, UnknownNameError
from deepvis_caffe.settings.fields import BadSettingError


@pytest.fixture(params=["local", "dask"])
def elsewhere(request: pytest.FixtureRequest) -> Where:
    if request.param == "local":
        return LocalProcesses(2, tries=2)
    return DaskCluster(request.getfixturevalue("address"), in_flight=3, timeout=LONG)


@pytest.fixture(params=["serial", "local", "dask"])
def anywhere(request: pytest.FixtureRequest) -> Where:
    if request.param == "serial":
        return Serial()
    if request.param == "local":
        return LocalProcesses(2)
    return DaskCluster(request.getfixturevalue("address"), timeout=LONG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    small_model.write_model(path)
    return path


def test_ascents_are_the_serial_ones_bit_for_bit_though_a_worker_is_killed(
    folder: Path, tmp_path: Path, elsewhere: Where
) -> None:
    tasks = [(unit, seed, None) for unit in (3, 1) for seed in (0, 5)]
    tasks[2] = (1, 0, tmp_path / "killed")
    found = dict(run_tasks(partial(work.small_net, folder), work.ascend, tasks, elsewhere))
    assert (tmp_path / "killed").exists()
    assert sorted(found) == [0, 1, 2, 3]
    net = work.small_net(folder)
    for index, (unit, seed, _) in enumerate(tasks):
        (run,) = dv.optimize(net, "fc", unit, [seed], iterations=8)
        image, objective, best, picture = found[index]
        assert image.tobytes() == run.image.tobytes()
        assert objective.tobytes() == run.activations.tobytes()
        assert best == run.best_iteration
        np.testing.assert_array_equal(picture, run.picture())


def test_every_task_runs_once_and_comes_with_its_place(anywhere: Where) -> None:
    found = list(run_tasks(work.no_state, work.square, iter(range(20)), anywhere))
    assert sorted(found) == [(i, i * i) for i in range(20)]
    assert list(run_tasks(work.no_state, work.square, [], anywhere)) == []


def test_functions_of_a_script_are_sent_whole(anywhere: Where) -> None:
    factor, halved = 3, lambda number: number / 2
    found = run_tasks(
        lambda: factor, lambda state, task, report: (state * task(8), task), [halved], anywhere
    )
    ((index, (value, again)),) = found
    assert (index, value, again(2)) == (0, 12, 1)


def test_a_process_makes_its_state_once_and_works_on_one_thread(
    anywhere: Where, tmp_path: Path
) -> None:
    count = 1 if isinstance(anywhere, Serial) else 2
    tasks = [(tmp_path, count)] * 12
    found = [it for _, it in run_tasks(work.new_state, work.meet, tasks, anywhere)]
    processes = {process for process, _, _ in found}
    assert len(set(found)) == len(processes) == count
    assert (os.getpid() in processes) == isinstance(anywhere, Serial)


def test_what_tasks_tell_is_heard(anywhere: Where) -> None:
    heard: list[tuple[int, int]] = []
    list(
        run_tasks(
            work.no_state, work.square, [5, 6], anywhere, lambda i, said: heard.append((i, said))
        )
    )
    assert sorted(heard) == ([] if isinstance(anywhere, DaskCluster) else [(0, -5), (1, -6)])


@pytest.mark.parametrize(
    ("how", "type_", "attributes"),
    [
        ("plain", ValueError, {"args": ("no such thing",)}),
        (
            "unknown name",
            UnknownNameError,
            {"kind": "layer", "name": "fcc", "known": ("fc", "prob"), "where": "the net"},
        ),
        ("bad setting", BadSettingError, {"name": "seeds", "args": ("seeds cannot be 0",)}),
    ],
)
def test_an_exception_arrives_unchanged_and_names_its_task(
    anywhere: Where, how: str, type_: type[Exception], attributes: dict[str, Any]
) -> None:
    found = run_tasks(work.no_state, work.fail, ((i, how) for i in range(1000)), anywhere)
    with pytest.raises(type_) as caught:
        list(found)
    assert type(caught.value) is type_
    assert str(caught.value) == str(work.ERRORS[how]())
    for name, value in attributes.items():
        assert getattr(caught.value, name) == value
    (note,) = caught.value.__notes__
    assert f"in the task (1, '{how}')" in note
    assert _own_workers() == []


def test_an_exception_that_cannot_be_pickled_arrives_as_text(elsewhere: Where) -> None:
    with pytest.raises(ClusterError, match="AwkwardError: 3 and 4") as caught:
        list(run_tasks(work.no_state, work.fail, [(1, "awkward")], elsewhere))
    assert "in fail" in str(caught.value.__cause__)  # the traceback, from the worker
    assert "in the task (1, 'awkward'), on " in caught.value.__notes__[0]


def test_a_state_that_cannot_be_made(anywhere: Where) -> None:
    with pytest.raises(UnknownNameError, match="no layer named 'fcc' in the net"):
        list(run_tasks(work.broken_state, work.square, [1, 2], anywhere))


def test_a_task_that_kills_every_worker_is_given_up_and_named(elsewhere: Where) -> None:
    died = r"the task 1 cannot be done: 2 .*orker.* in turn died of it"
    with pytest.raises(ClusterError, match=died) as caught:
        list(run_tasks(work.no_state, work.die, [1], elsewhere))
    assert "memory" in str(caught.value)


def test_few_tasks_are_taken_ahead_of_the_results(elsewhere: Where) -> None:
    taken, ahead = 0, []

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    for got, _ in enumerate(run_tasks(work.no_state, work.square, tasks(), elsewhere), 1):
        ahead.append(taken - got)
    # Local: one at work in each of two processes; Dask: as many as it was told.
    assert max(ahead) == (2 if isinstance(elsewhere, LocalProcesses) else 3)


def test_closing_stops_what_runs(elsewhere: Where, tmp_path: Path) -> None:
    signs, meeting = tmp_path / "signs", tmp_path / "meeting"
    signs.mkdir()
    meeting.mkdir()
    tasks = [(number, signs) for number in range(3)]
    with closing(run_tasks(work.no_state, work.beat, tasks, elsewhere)) as found:
        assert next(found) == (0, 0)
        eventually(lambda: any(signs.iterdir()))
    assert _own_workers() == []
    if isinstance(elsewhere, LocalProcesses):
        assert not any(Path("/proc", sign.name).exists() for sign in signs.iterdir())
    else:  # each of its workers is free again, long before their tasks would have ended
        found = run_tasks(work.no_state, work.meet, [(meeting, 2)] * 4, elsewhere)
        assert len({process for _, (process, _, _) in found}) == 2


def test_numbers_of_workers_and_tasks_are_at_least_one() -> None:
    for wrong in (
        lambda: LocalProcesses(0),
        lambda: LocalProcesses(1, threads=0),
        lambda: DaskCluster("tcp://127.0.0.1:1", in_flight=0),
    ):
        with pytest.raises(SettingsError, match="must be at least 1; got 0"):
            wrong()


def _own_workers() -> list[str]:
    """Processes of ours, beside the cluster's."""
    names = [process.name for process in multiprocessing.active_children()]
    return [name for name in names if name.startswith("deepvis")]
