"""Screenshots and videos: read back by OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from helpers.waiting import LONG, eventually

from deepvis_caffe.viewer.disk.recorder import Recorder

VideoWriter = cv2.VideoWriter


class Watched:
    """OpenCV's writer of videos; `written` is what it has been given, (H, W, 3) BGR."""

    fourcc = VideoWriter.fourcc
    written: ClassVar[list[np.ndarray]] = []

    def __init__(self, *arguments: Any) -> None:
        self._writer = VideoWriter(*arguments)
        self.isOpened, self.release = self._writer.isOpened, self._writer.release

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(frame)
        self.written.append(frame.copy())


class Said:
    """What a recorder says, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bool]] = []
        self._news = threading.Semaphore(0)

    def __call__(self, text: str, trouble: bool) -> None:
        self.lines.append((text, trouble))
        self._news.release()

    def wait(self) -> tuple[str, bool]:
        assert self._news.acquire(timeout=LONG)
        return self.lines[-1]


def plain(red: int, green: int, blue: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def test_screenshots_are_numbered_and_whole(tmp_path: Path) -> None:
    said = Said()
    recorder = Recorder(tmp_path / "new", said)
    for red in (10, 200):
        recorder.screenshot(plain(red, 20, 30))
        assert said.wait()[1] is False
    recorder.close()
    assert [path.name for path in recorder.saved] == ["shot_0001.png", "shot_0002.png"]
    for number, red in ((1, 10), (2, 200)):
        found = cv2.imread(str(tmp_path / "new" / f"shot_{number:04d}.png"))
        np.testing.assert_array_equal(found[..., ::-1], plain(red, 20, 30))


def test_screenshots_at_once_are_all_kept(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, lambda text, trouble: None)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (300, 400, 3)).astype(np.uint8) for _ in range(8)]
    for picture in pictures:
        recorder.screenshot(picture)
    recorder.close()
    found = {cv2.imread(str(path))[..., ::-1].tobytes() for path in tmp_path.glob("shot_*.png")}
    assert found == {picture.tobytes() for picture in pictures}


def test_after_a_video_that_was_lost_the_key_starts_another(tmp_path: Path) -> None:
    said = Said()
    recorder = Recorder(tmp_path / "videos", said)
    recorder.toggle(plain(1, 2, 3))
    assert said.wait() == ("recording video_0001.mp4", False)
    recorder.show(np.zeros((3,), np.uint8))  # no picture: the writer fails on it
    text, trouble = said.wait()
    assert trouble
    assert "video_0001.mp4 is lost" in text
    eventually(lambda: not recorder.recording)
    assert not list((tmp_path / "videos").iterdir())
    recorder.toggle(plain(1, 2, 3))
    assert said.wait() == ("recording video_0001.mp4", False)
    assert recorder.recording
    assert recorder.saved == (), "what is not finished is not there"
    recorder.close()
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["video_0001.mp4"]
    assert recorder.saved == (tmp_path / "videos" / "video_0001.mp4",)


def test_a_video_shows_what_was_shown_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", Watched)
    monkeypatch.setattr(Watched, "written", written := [])
    said = Said()
    recorder = Recorder(tmp_path, said)
    recorder.toggle(plain(255, 0, 0, 49, 65))  # odd sizes lose a line
    assert recorder.recording
    assert said.wait() == ("recording video_0001.mp4", False)
    path = tmp_path / "video_0001.mp4"
    part = tmp_path / ".video_0001.part.mp4"
    eventually(lambda: len(written) > 2)
    assert part.exists()
    assert not path.exists()
    recorder.show(plain(0, 0, 255, 96, 128))  # another size is fitted in
    eventually(lambda: written[-1][0, 0, 0] == 255)  # the first one in blue
    recorder.toggle(plain(0, 0, 0))
    assert not recorder.recording
    assert said.wait() == (f"saved {path}", False)
    assert not part.exists()
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert len(frames) == len(written)
    colors = np.array([frame[..., ::-1].mean(axis=(0, 1)) for frame in frames])
    red = np.abs(colors - (255, 0, 0)).max(axis=1) < 30
    blue = np.abs(colors - (0, 0, 255)).max(axis=1) < 30
    assert (red | blue).all()
    assert red[0]
    assert blue[-1]
    assert np.count_nonzero(np.diff(red.astype(int))) == 1


def test_a_video_that_ends_before_its_thread_runs_has_its_first_picture(tmp_path: Path) -> None:
    begun = threading.Event()

    def clock() -> float:
        assert begun.wait(LONG)
        eventually(lambda: not recorder.recording)
        return 0.0

    recorder = Recorder(tmp_path, lambda text, trouble: None, clock)
    recorder.toggle(plain(250, 2, 3))
    assert recorder.recording
    begun.set()
    recorder.close()
    there, picture = cv2.VideoCapture(str(tmp_path / "video_0001.mp4")).read()
    assert there
    assert np.abs(picture.mean(axis=(0, 1)) - (3, 2, 250)).max() < 30


def test_closing_ends_a_video(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, lambda text, trouble: None)
    recorder.toggle(plain(1, 2, 3))
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["video_0001.mp4"]


@pytest.mark.parametrize("what", ["screenshot", "toggle"])
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("in the way")
    said = Said()
    recorder = Recorder(tmp_path / "file" / "below", said)
    getattr(recorder, what)(plain(1, 2, 3))
    text, trouble = said.wait()
    assert trouble
    assert text.startswith("cannot ")
    assert str(tmp_path / "file") in text
    assert not recorder.recording
    recorder.close()
