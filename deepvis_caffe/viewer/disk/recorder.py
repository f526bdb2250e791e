"""Screenshots (PNG) and videos (MP4) of the viewer, written without blocking it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepvis_caffe.errors import DeepVisError, ImageError
from deepvis_caffe.image import Picture, resize_image, write_image

FRAMES_A_SECOND = 20
LONGEST_LAG = 2.0  # seconds; a video does not make up for longer stalls

Notify = Callable[[str, bool], None]


class Recorder:
    """Saves screenshots and videos of the pictures that it is given.

    Parameters
    ----------
    folder
        The folder for files; created with the first one.
    notify
        Called with a message and whether it is an error, from any thread.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self, folder: Path, notify: Notify, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._notify, self._clock = folder, notify, clock
        self._video: _Video | None = None
        self._savers: list[threading.Thread] = []
        self._naming = threading.Lock()  # a name is taken only once its file exists
        self._saved: list[Path] = []

    @property
    def saved(self) -> tuple[Path, ...]:
        """The finished files, in that order; may be called from any thread."""
        return tuple(self._saved)

    @property
    def recording(self) -> bool:
        """Whether a video is being recorded."""
        return self._video is not None and self._video.recording

    def screenshot(self, picture: Picture) -> None:
        """Save a picture, (H, W, 3) RGB uint8, in the background."""
        saver = threading.Thread(target=self._save, args=(picture,), name="deepvis screenshot")
        self._savers = [one for one in self._savers if one.is_alive()] + [saver]
        saver.start()

    def toggle(self, picture: Picture) -> None:
        """Start a video with the size of this picture, or end the one being recorded."""
        was_recording = self.recording
        if self._video is not None:
            self._stop()
        if was_recording:
            return
        try:
            path = _free(self._folder, "video", ".mp4")
            self._video = _Video(path, picture, self._finished, self._notify, self._clock)
        except (DeepVisError, OSError) as error:
            self._notify(f"cannot record a video in {self._folder}: {error}", True)
        else:
            self._notify(f"recording {path.name}", False)

    def show(self, picture: Picture) -> None:
        """Set the video's current picture, which may have another size."""
        if self._video is not None:
            self._video.picture = picture

    def close(self) -> None:
        """End the video, if any, and wait until everything is on disk."""
        if self._video is not None:
            self._stop()
        for saver in self._savers:
            saver.join()

    def _stop(self) -> None:
        assert self._video is not None
        self._video.close()
        self._video = None

    def _save(self, picture: Picture) -> None:
        try:
            with self._naming:
                path = write_image(_free(self._folder, "shot", ".png"), picture)
        except (DeepVisError, OSError) as error:
            self._notify(f"cannot save a screenshot in {self._folder}: {error}", True)
        else:
            self._finished(path)

    def _finished(self, path: Path) -> None:
        self._saved.append(path)
        self._notify(f"saved {path}", False)


class _Video:
    """A video file, written at a constant frame rate on a thread of its own.

    It has a temporary name until it is complete: a truncated video has no index and does not play.
    """

    def __init__(
        self,
        path: Path,
        first: Picture,
        finished: Callable[[Path], None],
        notify: Notify,
        clock: Callable[[], float],
    ) -> None:
        import cv2

        height, width = (size // 2 * 2 for size in first.shape[:2])  # the codec requires even sizes
        self.picture = first
        self._path, self._size, self._clock = path, (height, width), clock
        self._finished, self._notify = finished, notify
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer: Any = cv2.VideoWriter(
            str(self._part), codec, FRAMES_A_SECOND, (width, height)
        )
        if not self._writer.isOpened():
            raise ImageError("OpenCV cannot write MP4 files there")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deepvis video", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> bool:
        return self._thread.is_alive() and not self._ended.is_set()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            try:
                self._write()
            finally:
                self._writer.release()
            if not self._part.stat().st_size:
                raise ImageError("the video could not be finished; the disk may be full")
            self._part.replace(self._path)
            self._finished(self._path)
        except Exception as error:
            self._part.unlink(missing_ok=True)
            self._notify(f"the video {self._path} is lost: {error}", True)

    def _write(self) -> None:
        import cv2

        begun, written, last = self._clock(), 0, None
        frame: Any = self.picture
        while True:  # at least one picture, or the file would be invalid
            behind = self._clock() - begun - written / FRAMES_A_SECOND
            if behind > LONGEST_LAG:
                begun += behind
            if last is not self.picture:
                last = self.picture
                frame = cv2.cvtColor(resize_image(last, *self._size), cv2.COLOR_RGB2BGR)
            self._writer.write(frame)
            written += 1
            if self._ended.wait(max(0.0, begun + written / FRAMES_A_SECOND - self._clock())):
                return


def _free(folder: Path, kind: str, suffix: str) -> Path:
    """The first path that does not exist: ``shot_0001.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / f"{kind}_{number:04d}{suffix}" for number in itertools.count(1))
    return next(path for path in names if not path.exists())
