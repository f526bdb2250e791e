"""How many threads a command's process has, and how they wait, as reported by OpenMP itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import cluster_work as work

from deepvis_caffe.cluster import LocalProcesses, cores, run_tasks
from deepvis_caffe.cluster.cores import (
    BESIDE_OTHERS,
    ON_FREE_CORES,
    WAITING_CHOSEN,
    others_compute,
    threads_here,
    usable_cores,
    waiting,
)

COMMAND = ("backward", "astronaut", "--layer", "fc", "--unit", "0")


def display(folder: Path, *flags: str, **environment: str) -> dict[str, str]:
    """The settings that libgomp prints as it is loaded by a command."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "deepvis_caffe", *COMMAND, *flags],
        cwd=folder,
        env={**inherited, "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(re.findall(r"(?:\[host\])? (\w+) ?= ?'([^']*)'", done.stderr))
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("torch's OpenMP here is another one than libgomp")
    return found


@pytest.mark.process
@pytest.mark.slow
def test_threads_of_a_command_sleep_while_they_wait(folder: Path) -> None:
    said = display(folder, "--threads", "3")
    ours = {some["GOMP_SPINCOUNT"] for some in (ON_FREE_CORES, BESIDE_OTHERS)}
    assert said["GOMP_SPINCOUNT"] in ours
    assert said["OMP_NUM_THREADS"] == "3"
    said = display(folder, OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="2")
    assert said["GOMP_SPINCOUNT"] not in ours  # the user's choice
    assert said["OMP_NUM_THREADS"] == "2"


@pytest.mark.process
def test_threads_of_a_worker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING_CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "others_compute", lambda: True)
    before = dict(os.environ)
    names = tuple(BESIDE_OTHERS)
    ((_, seen),) = run_tasks(work.no_state, work.variables, [names], LocalProcesses(1))
    assert seen == BESIDE_OTHERS
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", WAITING_CHOSEN)
@pytest.mark.parametrize("busy", [False, True])
def test_who_has_chosen_how_they_wait_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, busy: bool
) -> None:
    monkeypatch.setattr(cores, "others_compute", lambda: busy)
    assert waiting({name: "1"}) == {}
    assert waiting({"PATH": "1"}) == (BESIDE_OTHERS if busy else ON_FREE_CORES)


@pytest.mark.parametrize(
    ("cores_in_all", "own", "running", "expected"),
    [
        (2, 2, 1, False),  # this process alone
        (2, 2, 2, True),
        (2, 2, 8, True),
        (8, 2, 7, False),  # six others on the six cores that are not ours
        (8, 2, 8, True),
        (2, 1, 2, False),
    ],
)
def test_others_compute_where_they_have_more_than_the_cores_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores_in_all: int,
    own: int,
    running: int,
    expected: bool,
) -> None:
    load = tmp_path / "loadavg"
    load.write_text(f"0.20 0.18 0.12 {running}/80 11206\n")  # as in proc(5)
    monkeypatch.setattr(os, "cpu_count", lambda: cores_in_all)
    monkeypatch.setattr(cores, "usable_cores", lambda: own)
    assert others_compute(load) is expected


@pytest.mark.parametrize("text", [None, "", "0.20 0.18 0.12", "a b c d/e f", "0.2 0.2 0.2 x"])
def test_where_nothing_tells_what_others_do_cores_count_as_free(
    tmp_path: Path, text: str | None
) -> None:
    load = tmp_path / "loadavg"
    if text is not None:
        load.write_text(text)
    assert others_compute(load) is False


def test_a_program_that_only_wakes_up_is_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = tmp_path / "loadavg"
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        """The other program runs until the second look."""
        load.write_text(f"0.20 0.18 0.12 {1 if pauses else 2}/80 11206\n")
        pauses.append(seconds)

    monkeypatch.setattr(cores.time, "sleep", sleep)
    assert others_compute(load) is False
    assert len(pauses) == 2


def test_threads_are_at_most_omp_num_threads() -> None:
    assert threads_here({"OMP_NUM_THREADS": "1"}) == 1
    assert threads_here({"OMP_NUM_THREADS": "100000"}) == usable_cores()
    assert threads_here({"OMP_NUM_THREADS": "4,2"}) == usable_cores()
    assert threads_here({}) == usable_cores()
