"""The live viewer on a camera-sized stream: frames per second, and the latency of a key press.

    python -m benchmarks.viewer [--seconds 10] [--rounds 3] [--nets squeezenet_v1.1,vgg16] [--ours]

It runs the real loop without OpenCV's window: a synthetic 640x480 stream of 60 frames per second,
the session, and as in the window, waits of 4 ms for keys and checks for keys between panes. "Next
layer" is pressed at random moments; a key is answered when the first picture that shows its effect
is drawn. The toolbox's way (DVT) is the same session on pycaffe with the whole net forward, and
with the net and the drawing under one lock.

The net's own rate is measured just before, with the same passes that read the same blobs, one layer
after the other, and nothing beside them; frames cannot come faster than that, nor than the stream.
Each contestant runs in its own process, in turn, once per round. Weights are random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cases import load
from deepvis_caffe.cluster.cores import waiting
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import opencv_threads
from deepvis_caffe.memory import keep_freed_memory
from deepvis_caffe.model.labels import class_blob
from deepvis_caffe.viewer.compute import worker as worker_module
from deepvis_caffe.viewer.panes import grid
from deepvis_caffe.viewer.parts import Parts, scene_of
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

STREAM = 60.0  # frames per second
LOOK = 0.004  # seconds between two checks for keys, as in the window
KEY_EVERY = (0.25, 0.6)  # the range of random seconds between two keys
Draw = Callable[..., Any]  # session.draw, or its replacement
OURS, ITS = "ours", "DVT's way"


class Stream(Source):
    """A picture that moves sideways, at a fixed frame rate."""

    live = True
    name = "stream"

    def __init__(self) -> None:
        self._noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
        self._number, self._begun = 0, time.perf_counter()

    def read(self, pause: Pause) -> Shot:
        """The next frame when it is due; late ones are dropped."""
        now = time.perf_counter() - self._begun
        pause(max(0.0, self._number / STREAM - now))
        self._number = max(self._number, int(now * STREAM)) + 1
        return Shot(np.roll(self._noise, self._number, axis=1), self.name)


@dataclass(frozen=True)
class Figures:
    """Of one run: rates a second, and seconds."""

    own: float
    results: float
    drawn: float
    answers: list[float]
    grid: float

    @property
    def share(self) -> float:
        """The frames that were shown of those that there can be."""
        return self.results / min(self.own, STREAM)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nets", default="squeezenet_v1.1,vgg16")
    parser.add_argument("--ours", action="store_true", help="leave the toolbox's way out")
    options = parser.parse_args()
    console = Console(width=120)
    table = Table(title=f"the viewer's loop on a 640x480 stream of {STREAM:g} frames a second")
    columns = (
        *("net", "who", "net alone/s", "frames/s", "share", "drawn/s"),
        *("key to screen, ms", "worst", "grid, ms"),
    )
    for column in columns:
        table.add_column(column, justify="left" if column in ("net", "who") else "right")
    os.environ.update(waiting(os.environ))  # as in `deepvis view`
    spawn = multiprocessing.get_context("spawn")
    for net in options.nets.split(","):
        found: dict[str, list[Figures]] = {who: [] for who in (OURS, *[ITS][options.ours :])}
        for _ in range(options.rounds):
            for who, runs in found.items():
                with ProcessPoolExecutor(1, spawn) as process:
                    runs.append(process.submit(run, net, who, options.seconds).result())
        for who, runs in found.items():
            answers = [1000 * answer for one in runs for answer in one.answers]
            table.add_row(
                net,
                who,
                f"{statistics.median(one.own for one in runs):.1f}",
                f"{statistics.median(one.results for one in runs):.1f}",
                f"{statistics.median(one.share for one in runs):.2f}",
                f"{statistics.median(one.drawn for one in runs):.1f}",
                f"{statistics.median(answers):.0f}",
                f"{max(answers):.0f}",
                f"{1000 * statistics.median(one.grid for one in runs):.1f}",
            )
    console.print(table)


def run(name: str, who: str, seconds: float, device: str = "cpu") -> Figures:
    """Run one contestant for some seconds."""
    if who == OURS:
        keep_freed_memory()  # as in `deepvis view`
    with ThreadPoolExecutor(1) as alone:
        # OpenMP's threads end with the one that they serve. Left behind, they would count as more
        # threads than there are cores, and the viewer's would sleep sooner than a user's do.
        net = alone.submit(load, name, "torch" if who == OURS else "pycaffe", device).result()[0]
        own = alone.submit(own_rate, net, seconds / 4).result()
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(net, [Stream()], Path(folder))
        session = Session(parts)
        draw: Draw = session.draw
        threads: AbstractContextManager[None] = nullcontext()
        if who == OURS:
            threads = opencv_threads(1)  # as in `deepvis view`
        else:
            draw = _under_one_lock(parts, session)
        with threads, closing(session):
            session.start()
            _until(lambda: draw() and session.settled, 60)
            figures = _drive(session, draw, seconds, own)
    return figures


def own_rate(net: Net, seconds: float) -> float:
    """Passes per second of the net alone on the machine.

    Each reads the scores and one of the layers that the key presses reach.
    """
    scene = scene_of(net)
    shapes = {entry.name: entry.shape for entry in scene.entries}
    scores = class_blob({name: shapes[name] for name in net.outputs if name in shapes}, ())
    x = net.preprocessor(Stream().read(lambda seconds: None).picture)[np.newaxis]
    layers = [entry.name for entry in scene.entries][: round(4 * seconds / KEY_EVERY[1])]

    def run_pass(layer: str) -> None:
        wanted = dict.fromkeys([layer, *([scores] if scores else [])])
        net.reduce(x, wanted, lambda name, value: net.ops.numpy(value))

    for layer in layers:  # each has a plan of its own
        run_pass(layer)
    passes, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds:
        run_pass(layers[passes % len(layers)])
        passes += 1
    return passes / took


def _drive(session: Session, draw: Draw, seconds: float, own: float) -> Figures:
    typed: list[float] = []
    over, awake = threading.Event(), threading.Event()
    typist = threading.Thread(target=_type, args=(typed, over, awake))
    typist.start()
    begun, shown, first = time.perf_counter(), 0, session.drawn
    seen: set[int | None] = set()
    answers: list[float] = []
    layers, layer = len(session.scene.entries), 0
    waiting: list[float] = []  # keys that the session has taken but not shown yet
    interrupted = False

    def interrupts() -> bool:
        nonlocal interrupted
        first, interrupted = bool(typed) and not interrupted, interrupted or bool(typed)
        return first

    while time.perf_counter() - begun < seconds:
        awake.clear()
        while typed:
            waiting.append(typed.pop(0))
            layer = (layer + 1) % layers
            session.press("home" if layer == 0 else "o")
        number, picture = draw(interrupts)
        if number != shown:
            shown, interrupted = number, False
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)  # as a window does
            now = time.perf_counter()
            answers += [now - moment for moment in waiting]
            waiting.clear()
        seen.add(session.shown)
        if not typed and not session.wake.is_set():
            awake.wait(LOOK)
    took = time.perf_counter() - begun
    over.set()
    typist.join()
    drawn = (session.drawn - first) / took
    return Figures(own, len(seen) / took, drawn, answers, _grid_seconds(session))


def _type(typed: list[float], over: threading.Event, awake: threading.Event) -> None:
    rng = np.random.default_rng(1)
    while not over.wait(rng.uniform(*KEY_EVERY)):
        typed.append(time.perf_counter())
        awake.set()


def _under_one_lock(parts: Parts, session: Session) -> Draw:
    """Let the net and the drawing exclude each other; the classes are shown, so all of it runs."""
    lock = threading.Lock()
    worker_module.NICE = 0  # the toolbox's threads had equal priority
    worker: Any = parts.worker
    compute = worker._compute

    def whole(frame: Any, request: Any) -> Any:
        with lock:
            return compute(frame, request)

    def draw(stop: Callable[[], bool] = lambda: False) -> Any:
        with lock:
            return session.draw()

    worker._compute = whole
    return draw


def _grid_seconds(session: Session) -> float:
    """Seconds to draw the grid of the largest layer without any cache."""
    widest = max(range(len(session.scene.entries)), key=lambda i: session.scene.entries[i].units)
    session.press("home")
    for _ in range(widest):
        session.press("o")
    _until(lambda: session.draw() and session.settled, 60)
    view = session.view
    taken = []
    for _ in range(20):
        begun = time.perf_counter()
        grid.draw(view, 680, 720)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def _until(what: Callable[[], Any], seconds: float) -> None:
    end = time.perf_counter() + seconds
    while not what():
        if time.perf_counter() > end:
            raise TimeoutError("the viewer gave no picture")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
