"""Pictures that somebody else pushes in, such as the webcam of who looks on from afar."""

from __future__ import annotations

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.frame import Newest
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

LOOK = 0.1  # seconds between two looks whether something else is asked for


class Pushed(Source):
    """Gives what was pushed last, each picture once."""

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._newest: Newest[Picture] = Newest()

    def push(self, picture: Picture) -> None:
        """Let this be the next picture, (H, W, 3) RGB uint8; from any thread."""
        self._newest.put(picture)

    def read(self, pause: Pause) -> Shot | None:
        """The picture that was pushed last, if nobody had it yet."""
        picture = self._newest.take(LOOK)
        return None if picture is None else Shot(picture, self.name)
