"""``deepvis view --browser`` whole: the command, a real net, Chromium and its fake webcam.

The canvas must show what a session with the same keys draws, but for what JPEG loses.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.browser_page import BrowserPage
from helpers.screen import artefacts
from helpers.waiting import LONG, eventually

from deepvis_caffe.cli.view import open_session
from deepvis_caffe.settings import Settings
from deepvis_caffe.viewer.session import Session

STATUS = 40  # rows at the bottom that say how long things took
WEBCAM = "document.getElementById('webcam').getAttribute('aria-pressed')"
CANVAS = "document.getElementById('screen')"


@pytest.fixture
def command(squeezenet_settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """The command, running; its first line says where the page is."""
    words = [sys.executable, "-c", "from deepvis_caffe.cli.main import main; main()", "view"]
    for name in ("prototxt", "weights", "labels", "results", "engine"):
        words += [f"--{name}", str(getattr(squeezenet_settings, name))]
    words += ["--mean", "104,117,123", "--no-synthesis", "--browser", "--port", "0"]
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    process = subprocess.Popen(
        [*words, "chelsea,coffee"], stderr=subprocess.PIPE, text=True, env=environment
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.fixture
def twin(squeezenet_settings: Settings) -> Iterator[Session]:
    session = open_session(squeezenet_settings, "chelsea,coffee", synthesis=False)
    session.start()
    yield session
    assert session.close(LONG)


def on_canvas(page: BrowserPage) -> np.ndarray:
    """What the page shows, (H, W, 3) RGB."""
    encoded = page.run(f"{CANVAS}.toDataURL('image/png')").partition(",")[2]
    png = np.frombuffer(base64.b64decode(encoded), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def same(page: BrowserPage, twin: Session, before: np.ndarray | None = None) -> None:
    """Wait until the page shows what its twin draws in the end; with `before`, no longer that."""

    def alike() -> bool:
        twin.resize(*page.run(f"[{CANVAS}.width, {CANVAS}.height]"))
        twin.draw()
        if not twin.settled or twin.reading:
            return False
        drawn = twin.draw()[1]
        if before is not None and np.array_equal(drawn[:-STATUS], before[:-STATUS]):
            return False
        picture, seen = drawn.astype(int), on_canvas(page)
        if seen.shape != picture.shape:
            return False
        lost = np.abs(seen - picture)[:-STATUS]
        return lost.mean() < 3 and np.percentile(lost, 99) < 30

    eventually(alike)


def test_a_full_session(driver: Any, command: subprocess.Popen[str], twin: Session) -> None:
    assert command.stderr is not None
    url = command.stderr.readline().split()[-1]
    assert url.startswith("http://127.0.0.1:")
    page = BrowserPage(driver)
    page.load(url)
    page.until("up", "document.getElementById('dot').dataset.link")
    folder = artefacts()

    def press(*keys: str) -> None:
        ours = {"ARROW_RIGHT": "right", "ARROW_DOWN": "down", "ESCAPE": "esc"}
        for key in keys:
            before = twin.draw()[1]
            page.press(key)
            twin.press(ours.get(key, key))
            same(page, twin, before)

    def keep(name: str) -> None:
        driver.save_screenshot(str(folder / f"browser_{name}.png"))

    same(page, twin)
    keep("1_start")
    press("o", "o", "ARROW_DOWN", "ARROW_RIGHT", "b", "T", "g")
    assert (twin.state.layer, twin.state.unit, twin.state.individual) == (2, 1, 1)
    keep("2_unit")
    press("z", "z", "z", "z", "s", "s", "h")  # the unit, the pass, the input, and back
    keep("3_help")
    press("h", "c")
    keep("4_coffee")
    before = on_canvas(page)
    page.click("#webcam")  # Chromium's own moving picture
    page.until("true", WEBCAM)

    def moves() -> bool:
        one, two = on_canvas(page), on_canvas(page)
        return bool(np.abs(one - before).mean() > 3) and bool(np.any(one != two))

    eventually(moves)
    keep("5_webcam")
    page.click("#webcam")
    page.until("false", WEBCAM)
    same(page, twin)
    page.press("q")
    page.until(True, "document.getElementById('quit').open")
    page.click("#quit-yes")
    _, said = command.communicate(timeout=LONG)
    assert command.returncode == 0, said
    assert "Traceback" not in said
    page.until(True, "!document.getElementById('veil').hidden")
    driver.get("about:blank")
