"""The time from the start of a command until its user sees the first picture.

    python -m benchmarks.start [--rounds 5] [--only info,optimize,view,browser] [--layer ...]

Each command runs in its own process, as from a shell; all of them run once per round, in turn,
beside ``python -c pass`` and ``import torch``, which every command for a net has to pay:

- `info`: until it exits;
- `optimize` of one unit: until its first picture is on disk, and until it exits;
- `view` on a virtual screen (Xvfb, openbox): until a window appears, until it shows the input, and
  until the grid of activations is complete, pixel by pixel what ``view --headless`` writes;
- ``view --browser``: until it prints its address, and until a page that then connects has received
  the picture with the complete grid.

SqueezeNet has its real weights if ``deepvis fetch squeezenet`` or ``make demo`` has fetched them,
or else random ones, which take as long. The screen's memory is a file that is polled every few
milliseconds, which costs the viewer nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

import deepvis_caffe
from benchmarks.cases import MEAN
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import resource
from deepvis_caffe.viewer.panes.draw import Rect
from deepvis_caffe.viewer.panes.layout import layout
from deepvis_caffe.viewer.state.state import State

SIZE = (1280, 800)  # of the viewer's window, as by default
SCREEN = (1400, 1000)
STEP = 8  # every eighth row and column of the screen is compared
LOOK = 0.01  # seconds between two polls
LONGEST = 120.0  # seconds that a command may take
# Mean difference, in gray levels, up to which pictures are the same despite JPEG, which changes the
# sharp edges of bilinearly shrunk maps most.
ALIKE = 3.0
PHOTOGRAPH = 20.0  # gray levels of variation that tell a photograph from an empty pane
SOURCE = "astronaut"
RATIO_TO = "import torch"

Moments = dict[str, float]  # by event, seconds since the command was started
Clock = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="info,optimize,view,browser")
    parser.add_argument("--layer", default="fire5/expand3x3")
    parser.add_argument(
        "--weights", type=Path, help="SqueezeNet's, instead of those that are found"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net = _net(folder, options.weights)
        commands: dict[str, Callable[[], Moments]] = {
            "python -c pass": lambda: _until_end(["-c", "pass"], folder),
            RATIO_TO: lambda: _until_end(["-c", "import torch"], folder),
            "info": lambda: _until_end([*DEEPVIS, "info", *net], folder),
            "optimize": lambda: optimize(folder, options.layer, net),
        }
        only = options.only.split(",")
        with ExitStack() as stack:
            if {"view", "browser"} & set(only):
                expected = _expected(folder, net)
                commands["browser"] = lambda: browser(folder, net, expected)
            if "view" in only:
                screen = stack.enter_context(closing(Screen(folder)))
                commands["view"] = WindowTimes(screen, folder, net, expected)
            rounds = [
                {
                    f"{who}: {what}".removesuffix(": "): seconds
                    for who in ("python -c pass", RATIO_TO, *only)
                    for what, seconds in commands[who]().items()
                }
                for _ in range(options.rounds + 1)
            ][1:]  # the first one reads files from disk, which are cached for the others
    _print(rounds)


def _print(rounds: list[Moments]) -> None:
    table = Table(title=f"seconds from the start of the command, {len(rounds)} rounds")
    for column in ("until", "median", "best", "worst", "/ import torch"):
        table.add_column(column, justify="left" if column == "until" else "right")
    for what in rounds[0]:
        seconds = [one[what] for one in rounds]
        ratio = statistics.median(one[what] / one[RATIO_TO] for one in rounds)
        figures = statistics.median(seconds), min(seconds), max(seconds), ratio
        table.add_row(what, *(f"{figure:.2f}" for figure in figures))
    Console(width=100).print(table)


# -- the commands ----------------------------------------------------------------------------------


def _net(folder: Path, weights: Path | None) -> list[str]:
    """The flags that name SqueezeNet."""
    prototxt = resource("prototxt", "squeezenet_v1.1.prototxt")
    found = sorted(
        Path("~/.cache/deepvis_caffe").expanduser().glob("**/squeezenet_v1.1.caffemodel")
    )
    file = weights or (found[0] if found else folder / "squeezenet.caffemodel")
    if not file.exists():
        params = deploy(read_prototxt(prototxt)).net
        graph = Graph.from_layers(params.name, params.layer)
        blobs = random_weights(infer(graph), graph, np.random.default_rng(0))
        kinds = {layer.name: layer.type for layer in graph}
        write_caffemodel(file, "random", {name: (kinds[name], own) for name, own in blobs.items()})
    mean = ",".join(map(str, MEAN))
    return ["--prototxt", str(prototxt), "--weights", str(file), "--mean", mean]


@contextmanager
def _started(
    words: list[str], folder: Path, more: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], Clock]]:
    """A Python process, and a clock that starts with it; the process is interrupted at the end."""
    own = {**os.environ, "PYTHONPATH": str(PACKAGE), **(more or {})}
    own.pop("PYTHONDONTWRITEBYTECODE", None)  # or it compiles all of our modules each time
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, lambda: time.perf_counter() - begun
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


DEEPVIS = ("-m", "deepvis_caffe")
PACKAGE = Path(deepvis_caffe.__file__).parents[1]


def _until_end(words: list[str], folder: Path) -> Moments:
    with _started(words, folder) as (process, clock):
        _, said = process.communicate(timeout=LONGEST)
        took = clock()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {said}")
    return {"": took}


def _expected(folder: Path, net: list[str]) -> Picture:
    """The final picture of the viewer, from ``view --headless``."""
    out = folder / "expected"
    _until_end([*DEEPVIS, "view", SOURCE, *net, "--headless", "--out", str(out)], folder)
    return read_image(next(out.glob("*.png")))


def optimize(folder: Path, layer: str, net: list[str]) -> Moments:
    """One unit, one seed, preset best: until its picture exists, and until the end."""
    results = folder / "results"
    words = [*DEEPVIS, "optimize", layer, "--units", "3", "--seeds", "1", *net]
    with _started([*words, "--results", str(results)], folder) as (process, clock):
        while not any(results.glob("regularized_opt/*/*_best_X.png")):
            _check(process, clock)
        first = clock()
        process.communicate(timeout=LONGEST)
        ended = clock()
    shutil.rmtree(results)
    return {"first picture": first, "end": ended}


def _check(process: subprocess.Popen[str], clock: Clock) -> None:
    """Wait a little; raise if the process has exited or takes too long."""
    time.sleep(LOOK)
    if process.poll() is not None:
        raise RuntimeError(f"the command has ended: {process.communicate()[1]}")
    if clock() > LONGEST:
        raise TimeoutError("the command shows nothing")


# -- the viewer in a window ------------------------------------------------------------------------


class Screen:
    """A virtual screen with a window manager, and what it shows.

    Without a window manager, about one in twelve of OpenCV's windows is never painted.

    Parameters
    ----------
    folder
        The folder for the file with the screen's memory.
    """

    def __init__(self, folder: Path) -> None:
        read, write = os.pipe()
        width, height = SCREEN
        command = ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp", "-noreset", "-screen", "0"]
        self._server = subprocess.Popen(
            [*command, f"{width}x{height}x24", "-fbdir", str(folder)],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as number:
            self.name = f":{number.readline().strip()}"
        own = {**os.environ, "DISPLAY": self.name}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._manager = subprocess.Popen(["openbox", "--sm-disable"], env=own, **quiet)
        corner = ["xdotool", "mousemove", str(width - 2), str(height - 2)]  # outside all windows
        subprocess.run(corner, env=own, check=True)
        time.sleep(1)  # the window manager needs time to start
        self._pixels = _framebuffer(folder / "Xvfb_screen0")

    def look(self, step: int = 1) -> Picture:
        """The screen's pixels, every `step`th row and column, RGB."""
        return np.ascontiguousarray(self._pixels[::step, ::step, 2::-1])

    def close(self) -> None:
        """Stop the screen and the window manager."""
        for process in (self._manager, self._server):
            process.terminate()
            process.wait()


def _framebuffer(path: Path) -> Picture:
    """Xvfb's memory, (height, width, 4), in the format of xwd (X11/XWDFile.h)."""
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = struct.unpack(">25I", memory[:100])
    size, width, height, row, colors = (header[at] for at in (0, 4, 5, 12, 19))
    return np.ndarray((height, width, 4), np.uint8, memory, size + 12 * colors, (row, 4, 1))


class WindowTimes:
    """Times the viewer in a window.

    Parameters
    ----------
    expected
        Its final picture, apart from the status line and images in progress.
    """

    def __init__(self, screen: Screen, folder: Path, net: list[str], expected: Picture) -> None:
        self._screen, self._folder, self._expected = screen, folder, expected
        self._words = [*DEEPVIS, "view", SOURCE, *net, "--results", str(folder / "none")]
        self._panes = layout(*SIZE, State())
        with self._viewer() as (process, clock):
            while (found := self._corner()) is None:
                _check(process, clock)
        self._place = found  # where the window manager places every window
        whole = np.zeros((*SCREEN[::-1], 3), np.uint8)
        _window(whole, found, Rect(0, 0, *SIZE[::-1]))[:] = expected
        self._grid = self._pane(whole[::STEP, ::STEP], "grid")

    def __call__(self) -> Moments:
        """Start the viewer once, and time it."""
        empty, moments = self._screen.look(STEP), Moments()
        with self._viewer() as (process, clock):
            while "whole grid" not in moments:
                _check(process, clock)
                look, now = self._screen.look(STEP), clock()
                if np.array_equal(look, empty):
                    continue
                moments.setdefault("window", now)
                if self._pane(look, "input").std() > PHOTOGRAPH:
                    moments.setdefault("input", now)
                if np.array_equal(self._pane(look, "grid"), self._grid):
                    moments["whole grid"] = now
        while not np.array_equal(self._screen.look(STEP), empty):
            time.sleep(LOOK)
        return moments

    @contextmanager
    def _viewer(self) -> Iterator[tuple[subprocess.Popen[str], Clock]]:
        with _started(self._words, self._folder, {"DISPLAY": self._screen.name}) as started:
            yield started

    def _corner(self) -> tuple[int, int] | None:
        """The position (top, left) of the window with the expected grid; None if there is none."""
        grid, screen = self._panes["grid"], self._screen.look()
        own = self._expected[grid.top : grid.bottom, grid.left : grid.right]
        off = cv2.matchTemplate(screen, own, cv2.TM_SQDIFF)
        least, _, (left, top), _ = cv2.minMaxLoc(off)
        return (top - grid.top, left - grid.left) if least < own.size else None

    def _pane(self, look: Picture, name: str) -> Picture:
        """A pane, from every `STEP`th pixel of the screen."""
        return _window(look, self._place, self._panes[name], STEP)


def _window(screen: Picture, place: tuple[int, int], rect: Rect, step: int = 1) -> Picture:
    """A rectangle of the window at `place`, from every `step`th pixel of the screen."""
    top, left = place[0] + rect.top, place[1] + rect.left
    rows, columns = (
        slice(-(-first // step), (first + size - 1) // step + 1)
        for first, size in ((top, rect.height), (left, rect.width))
    )
    return screen[rows, columns]


# -- the viewer in a page --------------------------------------------------------------------------


def browser(folder: Path, net: list[str], expected: Picture) -> Moments:
    """The viewer in a page that connects as soon as the address is printed."""
    words = [*DEEPVIS, "view", SOURCE, *net, "--results", str(folder / "none"), "--browser"]
    with _started([*words, "--port", "0"], folder) as (process, clock):
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        said = next(line for line in lines if "http://" in line)
        moments = {"address": clock()}
        page = _page(said.split()[-1].rstrip("/"), expected, clock)
        moments |= asyncio.run(asyncio.wait_for(page, LONGEST))
    return moments


async def _page(address: str, expected: Picture, clock: Clock) -> Moments:
    from websockets.asyncio.client import connect

    grid = layout(*SIZE, State())["grid"]
    part = np.s_[grid.top : grid.bottom, grid.left : grid.right]
    moments: Moments = {}
    socket = connect(f"{address}/ws".replace("http", "ws"), max_size=None, origin=address)
    async with socket as page:
        width, height = SIZE
        await page.send(f'{{"type": "size", "width": {width}, "height": {height}}}')
        async for message in page:
            if isinstance(message, str):
                continue
            now = clock()
            moments.setdefault("any picture", now)
            await page.send('{"type": "ack"}')
            picture = read_image(message)
            if picture.shape == expected.shape:  # otherwise drawn before the page sent its size
                off = np.abs(picture[part].astype(float) - expected[part]).mean()
                if off < ALIKE:
                    return {**moments, "whole grid": now}
    raise RuntimeError("the page was sent away")


if __name__ == "__main__":
    main()
