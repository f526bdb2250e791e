"""A thousand frames with keys all the while: memory stays, threads live. Longer runs are in
`benchmarks/endurance.py`."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.small_model import write_model
from helpers.waiting import LONG

import deepvis_caffe as dv
from deepvis_caffe.optimizer import ascent_params
from deepvis_caffe.settings import load_settings
from deepvis_caffe.viewer.compute.synthesis import SynthesisParams
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

pytestmark = pytest.mark.slow

FRAMES = 500  # of each half
KEYS = ("o", "down", "right", "b", "d", "u", "a", "o", "s", "m", "t", "z", "T", "g", "esc")
LEAK = 24.0  # MiB; a frame that stayed would be 0.9 MiB, 500 of them 450


class Noise(Source):
    """Pictures as fast as they are taken."""

    live = True
    name = "noise"

    def __init__(self) -> None:
        self._noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
        self._given = 0

    def read(self, pause: Pause) -> Shot:
        self._given += 1
        pause(0.002)
        return Shot(np.roll(self._noise, self._given, axis=1), self.name)


def resident() -> float:
    """MiB that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_memory_stays_and_threads_live(tmp_path: Path) -> None:
    net = dv.load_net(load_settings(write_model(tmp_path)))
    params = SynthesisParams(ascent_params(3, iterations=4), seeds=1)
    session = Session(Parts(net, [Noise()], tmp_path / "out", params), 640, 480)
    before = set(threading.enumerate())
    session.start()
    keys = itertools.cycle(KEYS)
    held = []
    for _ in range(2):
        seen: set[int | None] = set()
        while len(seen) < FRAMES:
            session.wake.wait(1)
            if len(seen) % 5 == 0:
                session.press(next(keys))
            session.draw()
            seen.add(session.shown)
        held.append(resident())
        assert session.trouble == ""
        own = set(threading.enumerate()) - before
        assert sorted(one.name for one in own) == [
            f"deepvis {name}" for name in ("correlation", "input", "library", "worker", "worker")
        ]
    assert session.close(LONG)
    assert not own & set(threading.enumerate())
    assert held[1] - held[0] < LEAK, held
