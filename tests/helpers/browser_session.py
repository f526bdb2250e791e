"""A session that records its calls and draws four colours, and a server that shows it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.viewer.browser.serve import serve
from helpers.waiting import LONG, eventually

# RGB of the quarters: upper left, upper right, lower left, lower right. None is like its BGR.
QUARTERS = np.array([[(230, 40, 20), (20, 200, 60)], [(30, 60, 220), (240, 220, 30)]], np.uint8)

DIGITS, BLOCK = 4, 16  # of a drawing's number, in gray squares of so many pixels a side


def number_in(picture: Picture) -> int:
    """Which drawing of a `FakeSession` a picture is, whatever JPEG made of it."""
    middle = picture[BLOCK // 2, BLOCK // 2 : DIGITS * BLOCK : BLOCK].mean(axis=-1)
    return sum(int(gray) // 16 * 16**place for place, gray in enumerate(middle))


class FakeSession:
    """What `Surface` asks for; `told` is what it was told, in order."""

    def __init__(self) -> None:
        self.running = True
        self.title = "a <net> & more"
        self.told: list[tuple[Any, ...]] = []
        self.pushed: list[Picture] = []
        self.opened: list[Picture] = []
        self.saved: list[Path] = []
        self.threads: set[int] = set()
        self.number = 0
        self.size = (640, 480)
        self.moving = False  # whether each drawing is another
        self.broken: Exception | None = None
        self.draws = 0

    def _tell(self, *what: Any) -> None:
        self.threads.add(threading.get_ident())
        self.told.append(what)
        self.number += 1

    def press(self, key: str) -> None:
        self._tell("press", key)
        self.running = self.running and key != "q"

    def mouse(self, kind: str, y: int, x: int, steps: int = 0) -> None:
        self._tell("mouse", kind, y, x, steps)

    def resize(self, width: int, height: int) -> None:
        self.size = (width, height)
        self._tell("resize", width, height)

    def push(self, picture: Picture, name: str) -> None:
        self.pushed.append(picture)
        self._tell("push", name)

    def end_push(self) -> None:
        self._tell("end_push")

    def read_image(self, content: bytes) -> Picture:
        return read_image(content, megapixels=1)

    def open_image(self, picture: Picture, name: str) -> None:
        self.opened.append(picture)
        self._tell("open", name)

    def would_quit(self, key: str) -> bool:
        return key == "q"

    def set_visitors(self, count: int) -> None:
        self._tell("visitors", count)

    def draw(self) -> tuple[int, Picture]:
        self.threads.add(threading.get_ident())
        self.draws += 1
        if self.broken is not None:
            raise self.broken
        self.number += self.moving
        number = self.number  # first: whoever changes something sets this last
        width, height = self.size
        rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
        picture = QUARTERS[rows[:, None], columns]
        digits = [number // 16**place % 16 for place in range(DIGITS)]
        row = np.repeat(np.array(digits, np.uint8) * 16 + 8, BLOCK)
        picture[:BLOCK, : len(row)] = row[None, :, None]
        return number, picture

    def said(self, kind: str) -> list[tuple[Any, ...]]:
        """What it was told of one kind."""
        return [what[1:] for what in self.told if what[0] == kind]


@dataclass
class Running:
    """A server in a thread."""

    lines: list[str]
    thread: threading.Thread
    errors: list[Exception]

    @property
    def url(self) -> str:
        return self.lines[0].split()[-1]

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def join(self) -> None:
        self.thread.join(LONG)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def served(session: FakeSession, **options: Any) -> Iterator[Running]:
    """The session in a web page, at a free port, until the block ends."""
    lines: list[str] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            serve(session, say=lines.append, **{"host": "127.0.0.1", "port": 0, **options})
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    running = Running(lines, thread, errors)
    module = sys.modules[serve.__module__]
    patience, module.FAREWELL = module.FAREWELL, LONG  # however slow a page hears of the end
    thread.start()
    try:
        eventually(lambda: (lines and session.draws > 0) or errors)
        yield running
    finally:
        session.running = False
        running.join()
        module.FAREWELL = patience
        assert len(session.threads) == 1, "it may be called from one thread alone"


@contextlib.contextmanager
def in_child(options: str = "", before: str = "") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Another process that serves a session of its own: its address, and the process.

    It runs a line of Python before, and prints ``whole`` when `serve` has returned.
    """
    program = (
        f"from helpers.browser_session import FakeSession, serve\nhost = '127.0.0.1'\n{before}\n"
        f"serve(FakeSession(), host, 0, say=lambda line: print(line, flush=True), {options})\n"
        "print('whole')"
    )
    tests = Path(__file__).parents[1]
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tests), str(tests.parent)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().split()[-1], child
        finally:
            child.kill()
