"""Decoding processes: the same batches as without them, even if one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import decoder_work
from helpers.decoder_work import PREPROCESSOR, Drawn, picture
from helpers.engine_nets import conv, load_text, net_text
from helpers.own_group import start_script
from helpers.waiting import eventually

from deepvis_caffe.cluster import LocalProcesses, run_tasks
from deepvis_caffe.dataset.decoders import CHUNK, FEWEST, TRIES, Decoders, processes_pay_off
from deepvis_caffe.dataset.loader import Batch
from deepvis_caffe.dataset.source import Selection
from deepvis_caffe.errors import ClusterError

pytestmark = pytest.mark.process


def copied(decoders: Decoders, indices: range) -> list[Batch]:
    """The batches of some indices, with copies of the images."""
    return [
        Batch(one.indices, one.labels, [image.copy() for image in one.images], one.skipped)
        for one in decoders.batches(indices)
    ]


def check(batches: list[Batch], indices: range, size: int, damaged: tuple[int, ...] = ()) -> None:
    """That these are the images, their labels, and no others, as they are drawn."""
    good = [index for index in indices if index not in damaged]
    assert [index for one in batches for index in one.indices] == good
    assert [one for batch in batches for one in batch.labels] == [
        k if k % 3 else None for k in good
    ]
    sizes = [size] * (len(good) // size) + [len(good) % size] * (len(good) % size > 0)
    assert [len(one.indices) for one in batches] == sizes
    skipped = [one for batch in batches for one in batch.skipped]
    assert skipped == [(index, "damaged") for index in indices if index in damaged]
    images = [image for one in batches for image in one.images]
    np.testing.assert_array_equal(np.stack(images), PREPROCESSOR([picture(k) for k in good]))


@pytest.mark.parametrize(("count", "size"), [(1, 4), (2, 5), (2, 20)])
def test_batches_are_those_of_the_images(tmp_path: Path, count: int, size: int) -> None:
    """Twice, for processes stay; there is room where the images of a batch lie far apart, too."""
    damaged = (0, 3, *(k for k in range(8, 64) if k % CHUNK))
    with Decoders(Drawn(75, tmp_path, damaged), PREPROCESSOR, count, size) as decoders:
        check(copied(decoders, range(75)), range(75), size, damaged)
        check(copied(decoders, range(1, 70)), range(1, 70), size, damaged)


def test_a_batch_that_was_not_taken_to_its_end_leaves_its_room(tmp_path: Path) -> None:
    with Decoders(Drawn(64, tmp_path), PREPROCESSOR, 1, 6) as decoders:
        for start in range(20):
            batches = decoders.batches(range(start, 64))
            assert next(batches).indices == list(range(start, start + 6))
            batches.close()
        check(copied(decoders, range(64)), range(64), 6)


def test_what_comes_next_is_begun_with_and_read_once(tmp_path: Path) -> None:
    following = {16: range(24, 40)}
    with Decoders(Drawn(40, tmp_path), PREPROCESSOR, 1, 8, following) as decoders:
        check(copied(decoders, range(16)), range(16), 8)
        eventually(lambda: (tmp_path / "31").exists())
        check(copied(decoders, range(24, 40)), range(24, 40), 8)
    read = {int(path.name): len(path.read_text().split()) for path in tmp_path.iterdir()}
    assert read == dict.fromkeys([*range(16), *range(24, 40)], 1)


def test_one_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    """Image 21 is the last of its process; the batches before and after it are as ever."""
    marker, read = tmp_path / "killed", tmp_path / "read"
    read.mkdir()
    source = Drawn(60, read, damaged=(22,), deadly=(21, marker))
    with Decoders(source, PREPROCESSOR, 2, 7) as decoders:
        check(copied(decoders, range(60)), range(60), 7, (22,))
    killed = int(marker.read_text())
    assert not Path(f"/proc/{killed}").exists()
    assert str(killed) not in (read / "21").read_text()


def test_images_that_always_kill_are_named(tmp_path: Path) -> None:
    source = Drawn(60, tmp_path, deadly=(2 * CHUNK + 3, None))
    with Decoders(source, PREPROCESSOR, 2, 4) as decoders:
        check(copied(decoders, range(2)), range(2), 4)
        named = rf"^{TRIES} processes in a row died .* from 00\d\d on"
        with pytest.raises(ClusterError, match=named):
            copied(decoders, range(60))


@pytest.mark.parametrize("how", ["ctrl-c", "kill the parent"])
def test_nothing_is_left_running_and_no_process_prints(tmp_path: Path, how: str) -> None:
    """Ctrl-C goes to the whole group, as from a terminal; a kill to the parent alone."""
    process = start_script(decoder_work.__file__, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "got 0\n"
    if how == "kill the parent":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if how == "kill the parent":  # Python's own process tidies up, and says so
        assert all("resource_tracker" in line for line in err.splitlines()[::2])
    else:
        assert err == ""
    assert out.endswith("interrupted\n") == (how == "ctrl-c")
    readers = {int(pid) for one in tmp_path.iterdir() for pid in one.read_text().split()}
    assert readers - {process.pid} == readers
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in readers))


def test_a_local_worker_has_processes_of_its_own(tmp_path: Path) -> None:
    make_state, where = partial(Path, tmp_path), LocalProcesses(1)
    found = list(run_tasks(make_state, decoder_work.use_a_process, [0], where))
    assert found == [(0, [0, 1, 2])]


def test_where_they_are_worth_it(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load_text(engine, tmp_path, net_text(conv("one", "data", 2, 1), data=(1, 3, 6, 8)))
    many = Drawn(FEWEST, tmp_path)
    assert processes_pay_off(net, many, 2) == (engine == "pycaffe")
    net.reentrant = False  # as on a GPU
    assert processes_pay_off(net, many, 2)
    assert not processes_pay_off(net, many, 1)
    assert not processes_pay_off(net, Drawn(FEWEST - 1, tmp_path), 2)
    many.in_one_stream = True
    assert not processes_pay_off(net, Selection(many, range(FEWEST)), 2)
    many.in_one_stream = False
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True))
    assert not processes_pay_off(net, many, 2)
