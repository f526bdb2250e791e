"""How many threads a command's process has, and how they wait: what OpenMP itself says of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import cluster_work as work

from deepvis_caffe.cluster import LocalProcesses, run_tasks
from deepvis_caffe.cluster.cores import WAITING, WAITING_CHOSEN, threads_here, usable_cores, waiting

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
    assert said["GOMP_SPINCOUNT"] == WAITING["GOMP_SPINCOUNT"]
    assert said["OMP_NUM_THREADS"] == "3"
    said = display(folder, OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="2")
    assert said["GOMP_SPINCOUNT"] != WAITING["GOMP_SPINCOUNT"]  # the user's choice
    assert said["OMP_NUM_THREADS"] == "2"


@pytest.mark.process
def test_threads_of_a_worker_do_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING_CHOSEN:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    names = tuple(WAITING)
    ((_, seen),) = run_tasks(work.no_state, work.variables, [names], LocalProcesses(1))
    assert seen == WAITING
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", WAITING_CHOSEN)
def test_who_has_chosen_how_they_wait_is_left_alone(name: str) -> None:
    assert waiting({name: "1"}) == {}
    assert waiting({"PATH": "1"}) == WAITING


def test_threads_are_at_most_as_many_as_openmp_is_told() -> None:
    assert threads_here({"OMP_NUM_THREADS": "1"}) == 1
    assert threads_here({"OMP_NUM_THREADS": "100000"}) == usable_cores()
    assert threads_here({"OMP_NUM_THREADS": "4,2"}) == usable_cores()
    assert threads_here({}) == usable_cores()
