"""``deepvis view`` without a window: pictures into files, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model
from helpers.engine_nets import layer, net_text
from helpers.waiting import LONG, eventually
from typer.testing import CliRunner, Result

from deepvis_caffe.cli.main import app
from deepvis_caffe.cli.view import open_session
from deepvis_caffe.engines.torch_support import for_processors_only
from deepvis_caffe.image import write_image
from deepvis_caffe.settings import load_settings

STATUS = 40


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its settings and two images, as the current one."""
    small_model.write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    for number in (1, 2):
        picture = np.random.default_rng(number).integers(0, 256, (24, 32, 3)).astype(np.uint8)
        write_image(tmp_path / "photos" / f"{number}.png", picture)
    return tmp_path


def _view(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["view", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_headless_writes_what_a_session_with_the_same_keys_draws(folder: Path) -> None:
    flags = ("--headless", "--frames", "2", "--out", "shots", "--window", "900,700")
    result = _view("photos", *flags, "--press", "o,down,right*2,b", "--no-synthesis")
    assert "wrote 2 pictures to shots" in result.output
    session = open_session(load_settings(None, {"window": "900,700"}), "photos", synthesis=False)
    session.start()
    for key in ("o", "down", "right", "right", "b"):
        session.press(key)
    eventually(lambda: session.draw() and session.settled and not session.reading)
    expected = session.draw()[1]
    assert session.close(LONG)
    written = cv2.imread("shots/frame_0001.png")[..., ::-1]
    np.testing.assert_array_equal(written[:-STATUS], expected[:-STATUS])
    assert np.any(cv2.imread("shots/frame_0002.png")[..., ::-1] != written)


def test_the_settings_say_the_source_and_a_word_wins(folder: Path) -> None:
    settings = folder / "settings_local.py"
    settings.write_text(settings.read_text() + "source = 'photos'\nwindow = (640, 480)\n")
    _view("--headless", "--out", "a", "--no-synthesis")
    _view("photos/2.png", "--headless", "--out", "b", "--no-synthesis")
    a, b = (cv2.imread(f"{name}/frame_0001.png") for name in "ab")
    assert a.shape == b.shape == (480, 640, 3)
    assert np.any(a[:-STATUS] != b[:-STATUS])


SCREEN_FIRST = """
import sys
from deepvis_caffe.cli.view import open_session
from deepvis_caffe.settings import load_settings

session = open_session(load_settings(), "photos", synthesis=False)
_, picture = session.draw()
print("torch" in sys.modules, picture.std() > 1)
session.start()
while not (session.draw() and session.settled):
    session.wake.wait(1)
print("torch" in sys.modules, session.view.result.maps.shape)
assert session.close()
"""


@pytest.mark.process
@pytest.mark.skipif(not for_processors_only(), reason="whether there is a GPU, PyTorch says")
def test_the_screen_is_there_before_pytorch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCREEN_FIRST], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False True", "True (5, 5, 7)"]


def test_a_net_that_does_not_load_ends_the_viewer_with_its_error(folder: Path) -> None:
    path = folder / "net.prototxt"
    path.write_text(net_text(layer("best", "ArgMax", "data"), data=(1, 3, 4, 4)))
    given = ("--prototxt", str(path), "--weights", "none", "--mean", "0", "--engine", "torch")
    for where in (("--headless",), ("--browser", "--port", "0")):
        result = _view("photos", *where, "--precision", "bfloat16", *given, code=2)
        assert "layer 'best' (ArgMax) needs positions" in " ".join(result.output.split())


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=str)
def test_who_ends_the_process_loses_no_video(folder: Path, number: int) -> None:
    command = [sys.executable, "-c", "from deepvis_caffe.cli.main import main; main()", "view"]
    flags = ["photos", "--browser", "--port", "0", "--press", "r", "--no-synthesis"]
    with subprocess.Popen(
        [*command, *flags],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup's children ignore SIGHUP
    ) as viewer:
        assert viewer.stderr is not None
        said = viewer.stderr.readline()
        assert "the viewer is at" in said
        with urllib.request.urlopen(said.split()[-1]) as page:  # it runs
            assert page.status == 200
        viewer.send_signal(number)
        assert viewer.stderr.read() == "\ndeepvis: terminated; finished work is kept\n"
    assert viewer.returncode == 128 + signal.SIGTERM
    (video,) = (folder / "out" / "viewer").iterdir()
    assert video.name == "video_0001.mp4"
    there, picture = cv2.VideoCapture(str(video)).read()
    assert there
    assert picture.shape == (800, 1280, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.mp4", "--headless"), "there is no source 'nowhere.mp4'"),
        (("photos", "--headless", "--press", "rigth"), "did you mean 'right'"),
        (("photos", "--headless", "--browser"), "cannot be combined"),
        (("photos", "--headless", "--window", "12"), "--window"),
        (("photos", "--headless", "--frames", "0"), "--frames"),
        (("photos", "--headless", "--preset", "nice"), "nice"),
        (("photos", "--headless", "--out", "settings_local.py/x"), "cannot write"),
    ],
)
def test_impossible_settings_are_errors(arguments: tuple[str, ...], said: str) -> None:
    assert said in " ".join(_view(*arguments, code=2).output.split())
