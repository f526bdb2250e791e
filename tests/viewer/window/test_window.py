"""The viewer in a real window on a virtual screen: keys typed, mouse moved, pictures looked at.

The window must show, pixel by pixel, what a session of the same net with the same keys draws; what
that draws is tested elsewhere. Screenshots stay in ``$DEEPVIS_ARTEFACTS``, by default
``test-artefacts``, for people to look at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.screen import Window, artefacts, park_mouse, require_screen, xvfb
from helpers.small_model import write_model
from helpers.waiting import LONG, eventually

from deepvis_caffe.cli.view import open_session
from deepvis_caffe.image import read_image, write_image
from deepvis_caffe.settings import Settings, load_settings

SIZE = (1280, 800)
STATUS = 40  # rows at the bottom that say how long things took


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    require_screen()
    with xvfb() as name:
        yield name


class Viewer:
    """``deepvis view`` as its own process, its window, and a session that should look alike."""

    def __init__(self, display: str, settings: Settings, source: str, *flags: str) -> None:
        command = [sys.executable, "-c", "from deepvis_caffe.cli.main import main; main()", "view"]
        given = {
            "prototxt": settings.prototxt,
            "weights": settings.weights,
            "labels": settings.labels,
            "results": settings.results,
            "mean": ",".join(map(str, settings.mean or ())),  # type: ignore[arg-type]
            "engine": "torch",
        }
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        park_mouse(display)  # or it points at something from the start
        self.process = subprocess.Popen(
            [*command, source, *words, "--no-synthesis", *flags],
            env={**os.environ, "DISPLAY": display},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.twin = open_session(settings, source, synthesis=False)
        self.twin.start()
        self.window = Window(display, "deepvis")

    def press(self, *keys: str) -> None:
        """Press keys, by our names, in the window and on its twin, one after the other's effect.

        Each key must change what is shown, or nobody could tell when the window has handled it.
        """
        for key in keys:
            before = self.same()
            names = {"left": "Left", "right": "Right", "up": "Up", "down": "Down", "esc": "Escape"}
            self.window.press(names.get(key, key))
            self.twin.press(key)
            self.same(before)

    def same(self, before: np.ndarray | None = None) -> np.ndarray:
        """Wait until the window shows what its twin draws in the end; what it shows.

        Where that does not happen both stay with the screenshots.

        Parameters
        ----------
        before
            What was shown before something was done to both. The twin's picture must differ from
            it: two that still show the old source, say, look the same, too.
        """

        def alike() -> list[np.ndarray]:
            self.twin.draw()
            if not self.twin.settled or self.twin.reading:
                return []
            _, expected = self.twin.draw()
            if before is not None and shows(expected, before):
                return []
            seen = self.window.look()
            return [seen] if shows(seen, expected) else []

        try:
            return eventually(alike)[0]
        except AssertionError:
            write_image(artefacts() / "unlike_window.png", self.window.look())
            write_image(artefacts() / "unlike_twin.png", self.twin.draw()[1])
            raise

    def close(self) -> None:
        assert self.twin.close(LONG)
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.window.wait_until_gone()

    def ended(self) -> tuple[int, str]:
        """Wait for the process's end: its exit code, and what it said."""
        _, said = self.process.communicate(timeout=LONG)
        return self.process.returncode, said


def shows(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures are the same, but for the status line."""
    return np.array_equal(one[:-STATUS], other[:-STATUS])


@contextmanager
def viewing(display: str, settings: Settings, source: str) -> Iterator[Viewer]:
    viewer = Viewer(display, settings, source)
    try:
        yield viewer
    finally:
        viewer.close()


@pytest.fixture
def squeezenet(squeezenet_settings: Settings) -> Settings:
    """SqueezeNet, and optimised images of two units of its first layer."""
    rng = np.random.default_rng(0)
    for unit in (0, 5):
        name = f"regularized_opt/conv1/conv1_{unit:04d}_0_best_X.png"
        picture = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
        write_image(squeezenet_settings.results / name, picture)
    return squeezenet_settings


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    return load_settings(write_model(tmp_path))


def test_a_full_session(display: str, squeezenet: Settings) -> None:
    folder = artefacts()
    with viewing(display, squeezenet, "chelsea,coffee") as viewer:

        def keep(name: str) -> np.ndarray:
            seen = viewer.same()
            write_image(folder / f"window_{name}.png", seen)
            return seen

        first = keep("1_start")
        assert first.shape == (SIZE[1], SIZE[0], 3)
        viewer.press("right", "right", "o", "left", "down", "right", "down")
        assert viewer.twin.state.layer == 2
        assert viewer.twin.state.unit > 1
        assert np.any(keep("2_unit") != first)
        viewer.press("z")
        keep("3_zoom")
        viewer.press("z", "esc", "b")  # the next picture, back, and on
        keep("4_gradient")
        viewer.press("b", "b", "b", "a")
        keep("5_guided_diffs")
        viewer.press("a", "m", "m", "m", "m", "m", "t", "g")
        keep("6_heat")
        viewer.press("esc", "down", "s")
        assert viewer.twin.state.optimized
        keep("7_patterns")
        viewer.press("s", "h")
        keep("8_help")
        viewer.press("h", "c")
        keep("9_coffee")

        viewer.window.press("p")
        shot = squeezenet.results / "viewer" / "shot_0001.png"
        eventually(shot.exists)
        assert np.array_equal(read_image(shot)[:-STATUS], viewer.same()[:-STATUS])

        viewer.window.press("q")
        assert viewer.ended() == (0, "")


def test_the_mouse_and_capitals(display: str, small: Settings) -> None:
    with viewing(display, small, "chelsea") as viewer:
        before = viewer.same()
        place = next(
            (y, x)
            for y in range(0, SIZE[1], 5)
            for x in range(0, SIZE[0], 5)
            if (hit := viewer.twin.hit(y, x)) and (hit.kind, hit.index) == ("layer", 1)
        )
        viewer.window.click(place[1], place[0])
        for kind in ("move", "click"):
            viewer.twin.mouse(kind, *place)  # type: ignore[arg-type]
        before = viewer.same(before)
        assert viewer.twin.state.layer == 1
        with viewer.window.holding("shift"):
            viewer.window.press("t")  # OpenCV's Qt windows tell of "t"
            viewer.twin.press("T")
            viewer.same(before)
        assert viewer.twin.state.individual == 1


def test_another_size_is_drawn_for(display: str, small: Settings) -> None:
    with viewing(display, small, "chelsea") as viewer:
        viewer.same()
        viewer.window.resize(900, 640)
        viewer.twin.resize(900, 640)
        assert viewer.same().shape == (640, 900, 3)


def test_closing_the_window_ends_it(display: str, small: Settings) -> None:
    with viewing(display, small, "chelsea") as viewer:
        viewer.same()
        viewer.window.ask_to_close()
        assert viewer.ended() == (0, "")


def test_ctrl_c_ends_it(display: str, small: Settings) -> None:
    with viewing(display, small, "chelsea") as viewer:
        viewer.same()
        viewer.process.send_signal(signal.SIGINT)
        code, said = viewer.ended()
        assert code == 130
        assert "Traceback" not in said


def test_without_a_camera_it_says_so_and_shows_photographs(display: str, small: Settings) -> None:
    if Path("/dev/video0").exists():
        pytest.skip("there is a camera here")
    with viewing(display, small, "0") as viewer:
        viewer.same()
        status = viewer.twin.view.status
        assert status.message == "camera 0 does not open; instead: sample photographs"
        assert status.source.startswith("astronaut")


def test_without_a_screen_it_says_what_to_do(
    small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from deepvis_caffe.cli.main import app

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = CliRunner().invoke(app, ["view", "chelsea", "--prototxt", str(small.prototxt)])
    assert result.exit_code == 2
    assert "--browser" in result.output
