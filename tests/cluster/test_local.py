"""Worker processes on this machine: their share of it, and that none outlives its parent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import cluster_work as work
from helpers.own_group import group_size, start_script
from helpers.waiting import eventually

from deepvis_caffe.cluster import LocalProcesses, run_tasks
from deepvis_caffe.cluster.cores import find_gpus, share, threads_each
from deepvis_caffe.errors import ClusterError


@pytest.mark.parametrize(
    ("workers", "cores", "each"), [(1, 2, 2), (2, 2, 1), (4, 2, 1), (2, 16, 8), (3, 16, 5)]
)
def test_cores_are_shared_out(workers: int, cores: int, each: int) -> None:
    assert threads_each(workers, cores) == each


def test_each_worker_gets_one_gpu_in_turn() -> None:
    dealt = [share(worker, 2, ("0", "GPU-7f", "3")) for worker in range(5)]
    assert [it["CUDA_VISIBLE_DEVICES"] for it in dealt] == ["0", "GPU-7f", "3", "0", "GPU-7f"]
    assert {it["OMP_NUM_THREADS"] for it in dealt} == {"2"}
    assert "CUDA_VISIBLE_DEVICES" not in share(0, 2)


@pytest.mark.parametrize(
    ("listed", "gpus"),
    [
        ("0,1", ("0", "1")),
        ("2, GPU-8932f937,MIG-41", ("2", "GPU-8932f937", "MIG-41")),
        ("0,-1,1", ("0",)),  # CUDA's own reading: nothing after what is invalid
        ("", ()),
        ("-1", ()),
    ],
)
def test_the_gpus_that_the_environment_leaves(listed: str, gpus: tuple[str, ...]) -> None:
    assert find_gpus({"CUDA_VISIBLE_DEVICES": listed}) == gpus


def test_the_gpus_that_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho '  MIG x'\necho 'GPU 1: B'\n")
    tool.chmod(0o755)
    assert find_gpus({}) == ("0", "1")
    tool.write_text("#!/bin/sh\necho 'couldn'\\''t communicate with the driver'\nexit 9\n")
    assert find_gpus({}) == ()
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus({}) == ()


def test_workers_have_their_shares_before_their_first_import() -> None:
    before = dict(os.environ)
    where = LocalProcesses(2, threads=1, gpus=("5", "7"))
    found = [it for _, it in run_tasks(work.no_state, work.surroundings, range(6), where)]
    assert dict(os.environ) == before
    assert {seen.pop("CUDA_VISIBLE_DEVICES") for seen, _, _ in found} == {"5", "7"}
    for seen, threads, deaf_to_interrupts in found:
        assert set(seen.values()) == {"1"}
        assert threads == 1
        assert deaf_to_interrupts
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_how_a_worker_died_is_reported() -> None:
    with pytest.raises(ClusterError, match=r"died of it, the last one with exit code 7$"):
        list(run_tasks(work.no_state, work.leave, [0], LocalProcesses(1)))


SCRIPT = """
import sys
from pathlib import Path
from helpers import cluster_work as work
from deepvis_caffe.cluster import LocalProcesses, run_tasks

if __name__ == "__main__":
    first = int(sys.argv[3])  # 0 is a short one
    tasks = [(number, Path(sys.argv[1])) for number in range(first, first + 4)]
    try:
        beat = getattr(work, sys.argv[2])
        for index, result in run_tasks(work.no_state, beat, tasks, LocalProcesses(3)):
            print("got", result, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-c early", "kill the parent"])
def test_nothing_is_left_running_and_no_worker_prints(tmp_path: Path, how: str) -> None:
    """Ctrl-C goes to the whole group, as from a terminal; a kill to the parent alone."""
    script, signs = tmp_path / "script.py", tmp_path / "signs"
    script.write_text(SCRIPT)
    signs.mkdir()
    beat = "beat_in_silence" if how == "kill the parent" else "beat"
    process = start_script(script, signs, beat, 1 if how == "ctrl-c early" else 0)
    assert process.stdout is not None
    if how == "ctrl-c early":  # while the workers' interpreters start
        eventually(lambda: group_size(process.pid) > 3, 60)
    else:
        assert process.stdout.readline() == "got 0\n"
        eventually(lambda: any(signs.iterdir()), 60)
    if how == "kill the parent":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    eventually(lambda: group_size(process.pid) == 0, 60)
    assert out == ("" if how == "kill the parent" else "interrupted\n")
    assert err == ""


LEFT_OPEN = """
from helpers import cluster_work as work
from deepvis_caffe.cluster import LocalProcesses, run_tasks

if __name__ == "__main__":
    run = run_tasks(work.no_state, work.square, range(9), LocalProcesses(2))
    print("got", next(run)[1], flush=True)
"""


def test_a_run_that_is_left_open_does_not_keep_python_from_ending(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LEFT_OPEN)
    process = start_script(script)
    out, err = process.communicate(timeout=60)
    assert (out.split()[0], err, process.returncode) == ("got", "", 0)
    eventually(lambda: group_size(process.pid) == 0, 60)
