"""Sources: files that the test wrote, and cameras that fail when they are told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import sample_image, sample_images, write_image
from deepvis_caffe.viewer.sources import capture as capture_module
from deepvis_caffe.viewer.sources.capture import Camera, Video
from deepvis_caffe.viewer.sources.images import Images, image_folder
from deepvis_caffe.viewer.sources.open_source import parse_sources
from deepvis_caffe.viewer.sources.source import Pushed, Shot

RATE, FRAMES = 10.0, 60


def shade(number: int) -> int:
    """The gray level of a frame of the test's video."""
    return 4 * number


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (32, 16))
    for number in range(FRAMES):
        writer.write(np.full((16, 32, 3), shade(number), np.uint8))
    writer.release()
    return path


class Clock:
    """Time that passes only while somebody waits, and when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def number_of(shot: Shot | None) -> int:
    assert shot is not None
    return round(float(shot.picture.mean()) / shade(1))


def read(source: Any, times: int, pause: Callable[[float], None]) -> list[int]:
    return [number_of(source.read(pause)) for _ in range(times)]


# -- videos --------------------------------------------------------------------------------------


def test_a_video_plays_at_its_own_pace_and_over_and_over(clip: Path) -> None:
    clock = Clock()
    video = Video(clip, clock)
    assert read(video, FRAMES, clock.wait) == list(range(FRAMES))
    assert clock.now == pytest.approx(100 + (FRAMES - 1) / RATE)
    assert read(video, 2, clock.wait) == [0, 1]


def test_late_frames_are_left_out_and_after_a_long_wait_it_goes_on_from_where_it_is(
    clip: Path,
) -> None:
    clock = Clock()
    video = Video(clip, clock)
    assert read(video, 1, clock.wait) == [0]
    clock.now += 0.35  # frame 1 was due at 0.1, 3 at 0.3
    assert read(video, 2, clock.wait) == [3, 4]
    clock.now += 100
    assert read(video, 2, clock.wait) == [5, 6]


def test_a_step_leaps_five_seconds_around_the_ends(clip: Path) -> None:
    clock = Clock()
    video = Video(clip, clock)
    read(video, 2, clock.wait)
    video.step(1)
    assert read(video, 1, clock.wait) == [52]
    video.step(1)
    assert read(video, 1, clock.wait) == [(53 + 50) % FRAMES]
    video.step(-1)
    assert read(video, 1, clock.wait) == [(44 - 50) % FRAMES]


def test_a_video_says_where_it_is(clip: Path) -> None:
    clock = Clock()
    video = Video(clip, clock)
    names = [shot.name for _ in range(21) if (shot := video.read(clock.wait))]
    assert names[0] == "clip.avi 0:00"
    assert names[20] == "clip.avi 0:02"


def test_what_is_no_video_is_said_and_tried_again(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "late.avi"
    path.write_bytes(b"not a video")
    clock = Clock()
    video = Video(path, clock)
    assert video.read(clock.wait) is None
    assert str(path) in video.trouble
    path.write_bytes(clip.read_bytes())
    assert read(video, 1, clock.wait) == [0]
    assert video.trouble == ""


# -- cameras -------------------------------------------------------------------------------------


class FakeCapture:
    """``cv2.VideoCapture`` of a camera that can be pulled out."""

    plugged = True
    opened: ClassVar[list[Any]] = []
    released = 0

    def __init__(self, what: Any) -> None:
        FakeCapture.opened.append(what)
        self._open = FakeCapture.plugged
        self._frames = 0

    def isOpened(self) -> bool:
        return self._open

    def read(self) -> tuple[bool, np.ndarray | None]:
        if not FakeCapture.plugged:
            return False, None
        self._frames += 1
        return True, np.full((4, 4, 3), (self._frames, 20, 30), np.uint8)  # BGR

    def set(self, what: int, value: float) -> bool:
        return True

    def release(self) -> None:
        FakeCapture.released += 1


@pytest.fixture
def fake_camera(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    FakeCapture.plugged, FakeCapture.opened, FakeCapture.released = True, [], 0
    return FakeCapture


def test_a_camera_gives_rgb(fake_camera: type[FakeCapture]) -> None:
    shot = Camera(2).read(lambda seconds: None)
    assert shot is not None
    assert shot.name == "camera 2"
    assert shot.picture[0, 0].tolist() == [30, 20, 1]
    assert fake_camera.opened == [2]


def test_a_camera_that_is_pulled_out_comes_back(fake_camera: type[FakeCapture]) -> None:
    waits: list[float] = []
    camera = Camera(0)
    assert camera.read(waits.append)
    fake_camera.plugged = False
    assert camera.read(waits.append) is None
    assert fake_camera.released == 1  # or nobody could open it again
    assert camera.read(waits.append) is None
    assert camera.trouble == "camera 0 is gone; trying again"
    assert waits == [1.0, 1.0]
    fake_camera.plugged = True
    assert camera.read(waits.append)
    assert camera.trouble == ""
    assert len(waits) == 2


def test_a_camera_that_is_not_there_says_so(fake_camera: type[FakeCapture]) -> None:
    fake_camera.plugged = False
    camera = Camera("/dev/video7")
    assert camera.read(lambda seconds: None) is None
    assert camera.trouble == "/dev/video7 does not open; trying again"


def test_a_camera_without_a_picture_is_not_said_to_be_gone(
    fake_camera: type[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_camera, "read", lambda self: (False, None))
    camera = Camera(0)
    assert camera.read(lambda seconds: None) is None
    assert camera.trouble == "camera 0 opens, but gives no picture; trying again"
    assert fake_camera.released == 1


def test_gray_and_four_channel_frames_become_rgb() -> None:
    class Two:
        def __init__(self, frame: np.ndarray) -> None:
            self._frame = frame

        def read(self) -> tuple[bool, np.ndarray]:
            return True, self._frame

    gray = capture_module.read_picture(Two(np.array([[7, 8]], np.uint8)))
    assert gray is not None
    np.testing.assert_array_equal(gray, [[[7] * 3, [8] * 3]])
    bgra = capture_module.read_picture(Two(np.array([[[1, 2, 3, 4]]], np.uint8)))
    np.testing.assert_array_equal(bgra, [[[3, 2, 1]]])


# -- images --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, level in (("2.png", 2), ("10.png", 10), ("sub/1.png", 30)):
        write_image(tmp_path / "shots" / name, np.full((3, 4, 3), level, np.uint8))
    (tmp_path / "shots" / "3.jpg").write_bytes(b"\xff\xd8 broken")
    (tmp_path / "shots" / "notes.txt").write_text("no image")
    return tmp_path / "shots"


def test_a_folder_goes_by_number_and_passes_over_what_is_broken(folder: Path) -> None:
    source = image_folder(folder)
    seen, troubles = [], []
    for _ in range(4):
        shot = source.read(lambda seconds: None)
        assert shot is not None
        seen.append((int(shot.picture[0, 0, 0]), shot.name))
        troubles.append("3.jpg" in source.trouble)
        source.step(1)
    assert seen == [
        (2, "2.png (1 of 4)"),
        (10, "10.png (3 of 4)"),
        (30, "1.png (4 of 4)"),
        (2, "2.png (1 of 4)"),
    ]
    assert troubles == [False, True, False, False]


def test_backward_over_a_broken_one(folder: Path) -> None:
    source = image_folder(folder)
    source.step(-1)
    source.step(-1)
    source.read(lambda seconds: None)
    source.step(-1)  # onto the broken one
    shot = source.read(lambda seconds: None)
    assert shot is not None
    assert shot.name == "2.png (1 of 4)"


def test_where_nothing_can_be_read_it_says_why() -> None:
    def broken(channels: int) -> np.ndarray:
        raise ImageError("x.png is empty")

    source = Images([("x.png", broken)], "all")
    assert source.read(lambda seconds: None) is None
    assert source.trouble == "skipped: x.png is empty"


# -- pushed --------------------------------------------------------------------------------------


def test_pushed_pictures_are_given_once_and_the_newest_only() -> None:
    source = Pushed("webcam")
    for level in (1, 2):
        source.push(np.full((2, 2, 3), level, np.uint8))
    shot = source.read(lambda seconds: None)
    assert shot is not None
    assert (shot.name, shot.picture[0, 0, 0]) == ("webcam", 2)
    assert source.read(lambda seconds: None) is None


# -- how people write them -----------------------------------------------------------------------


def test_texts_become_sources(clip: Path, folder: Path) -> None:
    image = folder / "2.png"
    sources = parse_sources(f"1, {clip},{folder},{image}, http://cam/mjpeg,/dev/video3,chelsea")
    assert [(type(one).__name__, one.name) for one in sources] == [
        ("Camera", "camera 1"),
        ("Video", "clip.avi"),
        ("Images", "shots"),
        ("Images", "2.png"),
        ("Camera", "http://cam/mjpeg"),
        ("Camera", "/dev/video3"),
        ("Images", "chelsea"),
    ]


@pytest.mark.parametrize("text", [None, "0", "0,1"])
def test_behind_cameras_alone_come_the_photographs_at_hand(text: str | None) -> None:
    *cameras, last = parse_sources(text)
    assert all(isinstance(camera, Camera) for camera in cameras)
    shot = last.read(lambda seconds: None)
    assert shot is not None
    np.testing.assert_array_equal(shot.picture, sample_image(sample_images()[0]))


def test_a_file_with_a_comma_in_its_name_is_one(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a,b.png", np.zeros((2, 2, 3), np.uint8))
    assert [one.name for one in parse_sources(str(path))] == ["a,b.png"]


def test_what_is_nothing_is_said_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"'chelsae'.*folder.*chelsea"):
        parse_sources("chelsae")
    with pytest.raises(ImageError, match="holds no images"):
        parse_sources(str(tmp_path))


def test_opencv_says_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert Camera(97).read(lambda seconds: None) is None
    assert capfd.readouterr() == ("", "")


def test_a_file_on_a_server_plays_at_its_own_rate_and_over_and_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class File(FakeCapture):
        """Three frames, ten a second."""

        def get(self, what: int) -> float:
            return {cv2.CAP_PROP_FRAME_COUNT: 3.0, cv2.CAP_PROP_FPS: 10.0}[what]

        def read(self) -> tuple[bool, np.ndarray | None]:
            return super().read() if self._frames < 3 else (False, None)

    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: File(arguments[0]))
    FakeCapture.plugged = True
    now = [50.0]

    def pause(seconds: float) -> None:
        now[0] += max(0.0, seconds)

    camera = Camera("http://there/a.mp4", lambda: now[0])
    seen = []
    while len(seen) < 5:
        shot = camera.read(pause)
        assert camera.trouble == ""
        if shot is not None:
            seen.append((int(shot.picture[0, 0, 2]), round(now[0] - 50, 3)))
    assert seen == [(1, 0.0), (2, 0.1), (3, 0.2), (1, 0.3), (2, 0.4)]


def test_a_password_in_a_url_is_shown_to_nobody(fake_camera: type[FakeCapture]) -> None:
    fake_camera.plugged = False
    camera = Camera("rtsp://me:secret@there:554/a?key=secret")
    assert camera.name == "rtsp://there:554/a"
