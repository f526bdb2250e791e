"""A virtual screen for tests of windows: Xvfb, a window manager, key presses and screenshots.

Without a window manager, about one in twelve of OpenCV's windows is mapped but never painted.
Debian: ``apt-get install xvfb xdotool openbox``. With ``DEEPVIS_REQUIRE_SCREEN=1``, tests fail if
these are missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.waiting import eventually

WIDTH, HEIGHT = 1400, 1000


def require_screen() -> None:
    """Skip where a program for it is missing; fail there if a screen is required."""
    missing = [name for name in ("Xvfb", "xdotool", "openbox") if shutil.which(name) is None]
    if not missing:
        return
    if os.environ.get("DEEPVIS_REQUIRE_SCREEN") == "1":
        pytest.fail(f"a screen is required here and there is no {missing}", pytrace=False)
    pytest.skip(f"needs {' and '.join(missing)}: apt-get install xvfb xdotool openbox")


@contextmanager
def xvfb() -> Iterator[str]:
    """Start a virtual screen that no network reaches; its name, such as ``":5"``."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(
        [*command, "-screen", "0", f"{WIDTH}x{HEIGHT}x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(write)
        try:
            with os.fdopen(read) as number:
                display = f":{number.readline().strip()}"
            with subprocess.Popen(
                ["openbox", "--sm-disable"],
                env={**os.environ, "DISPLAY": display},
                stderr=subprocess.DEVNULL,
            ) as manager:
                try:
                    yield display
                finally:
                    manager.terminate()
        finally:
            server.terminate()


def park_mouse(display: str) -> None:
    """Move the mouse to the screen's corner, off every window."""
    command = ["xdotool", "mousemove", str(WIDTH - 2), str(HEIGHT - 2)]
    subprocess.run(command, env={**os.environ, "DISPLAY": display}, check=True)


class Window:
    """A program's window on a virtual screen.

    Parameters
    ----------
    display
        The screen's name.
    name
        Part of the window's title.
    """

    def __init__(self, display: str, name: str) -> None:
        self._display = display
        found = eventually(
            lambda: self._do("search", "--onlyvisible", "--name", name, check=False), 90
        )
        self.id = int(found.split()[0])
        eventually(self._focused)

    def wait_until_gone(self) -> None:
        """Wait until the screen has no such window: the next program's may get the same number."""
        eventually(
            lambda: str(self.id) not in self._do("search", "--name", "", check=False).split()
        )

    def press(self, *keys: str) -> None:
        """Type keys by their X names, as a person would."""
        self._do("key", "--delay", "30", *keys)

    @contextmanager
    def holding(self, modifier: str) -> Iterator[None]:
        """Hold a key down until the block ends."""
        self._do("keydown", modifier)
        try:
            yield
        finally:
            self._do("keyup", modifier)

    def move(self, x: int, y: int) -> None:
        """Move the mouse to a pixel of the window."""
        self._do("mousemove", "--window", str(self.id), str(x), str(y))

    def click(self, x: int, y: int, button: int = 1) -> None:
        """Click at a pixel of the window; buttons 4 and 5 are the wheel."""
        self.move(x, y)
        self._do("click", str(button))

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self._do("windowsize", str(self.id), str(width), str(height))

    def look(self) -> np.ndarray:
        """What the window shows, (H, W, 3) RGB uint8."""
        from PIL import ImageGrab

        screen = np.asarray(ImageGrab.grab(xdisplay=self._display).convert("RGB"))
        left, top, width, height = self.rectangle()
        return screen[top : top + height, left : left + width]

    def rectangle(self) -> tuple[int, int, int, int]:
        """Left, top, width and height on the screen, without what a window manager lays around."""
        with self._window() as (display, window):
            size = window.get_geometry()
            corner = window.translate_coords(display.screen().root, 0, 0)
        return -corner.x, -corner.y, size.width, size.height

    def ask_to_close(self) -> None:
        """Do what the cross in a window's corner does."""
        from Xlib import X
        from Xlib.protocol.event import ClientMessage

        with self._window() as (display, window):
            atoms = [display.intern_atom(name) for name in ("WM_DELETE_WINDOW", "WM_PROTOCOLS")]
            message = ClientMessage(
                window=window, client_type=atoms[1], data=(32, [atoms[0], X.CurrentTime, 0, 0, 0])
            )
            window.send_event(message)
            display.sync()  # or it may be lost with the connection

    def _focused(self) -> bool:
        """Ask for the keys; whether they go to this window."""
        self._do("windowfocus", str(self.id), check=False)
        return self._do("getwindowfocus", "-f", check=False).strip() == str(self.id)

    @contextmanager
    def _window(self) -> Iterator[tuple[Any, Any]]:
        """A connection to the screen, and the window by it."""
        from Xlib.display import Display

        display = Display(self._display)
        try:
            yield display, display.create_resource_object("window", self.id)
        finally:
            display.close()

    def _do(self, *words: str, check: bool = True) -> str:
        environment = {**os.environ, "DISPLAY": self._display}
        done = subprocess.run(
            ["xdotool", *words], env=environment, capture_output=True, text=True, check=check
        )
        return done.stdout


def artefacts() -> Path:
    """Where tests leave pictures for people."""
    folder = Path(os.environ.get("DEEPVIS_ARTEFACTS", "test-artefacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
