"""Still images: files, folders of files, the sample photographs, or a unit's top image."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deepvis_caffe.errors import DeepVisError, ImageError
from deepvis_caffe.image import IMAGE_SUFFIXES, is_image, sample_image, sample_images
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.results.records import TopImage
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

log = logging.getLogger(__name__)

Load = Callable[[int], NDArray[Any]]


class Images(Source):
    """Still images; unreadable ones are skipped with a message.

    Parameters
    ----------
    items
        At least one (name, function) pair; the function of `channels` returns the image.
    name
        Name of the whole source.
    """

    live = False

    def __init__(self, items: Sequence[tuple[str, Load]], name: str) -> None:
        self._items, self.name = items, name
        self._at, self._way = 0, 1
        self._bad: set[int] = set()

    def read(self, pause: Pause) -> Shot | None:
        """The current picture, or the next readable one in the direction of the last step."""
        for _ in range(len(self._items)):
            name, load = self._items[self._at]
            try:
                picture = load(self.channels)
            except DeepVisError as error:
                if self._at not in self._bad:
                    log.warning("%s", error)
                self._bad.add(self._at)
                self.trouble = f"skipped: {error}"
                self._at = (self._at + self._way) % len(self._items)
                continue
            if len(self._bad) == 0:
                self.trouble = ""
            place = f" ({self._at + 1} of {len(self._items)})" if len(self._items) > 1 else ""
            return Shot(picture, name + place)
        return None

    def step(self, count: int) -> None:
        """Move by `count` pictures, wrapping around."""
        self.trouble = ""
        self._at = (self._at + count) % len(self._items)
        self._way = 1 if count >= 0 else -1


def image_files(paths: Sequence[Path], name: str, megapixels: float = MEGAPIXELS) -> Images:
    """A source of these files."""
    return Images([(path.name, _reader(path, megapixels)) for path in paths], name)


def image_folder(folder: Path, megapixels: float = MEGAPIXELS) -> Images:
    """A source of all images below a folder, in natural sort order.

    Raises
    ------
    ImageError
        It holds no images.
    """
    found = [path for path in folder.rglob("*") if path.is_file() and is_image(path)]
    if not found:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ImageError(f"{folder} holds no images (files that end in {endings})")
    return image_files(sorted(found, key=_natural), folder.name, megapixels)


def samples() -> Images:
    """A source of the photographs that come with scikit-image."""
    return Images([(name, _sample(name)) for name in sample_images()], "sample photographs")


def one_sample(name: str) -> Images:
    """A source of one of the photographs that come with scikit-image."""
    return Images([(name, _sample(name))], name)


def given_image(picture: NDArray[Any], name: str) -> Images:
    """A source of one image, already read by `read_channels`."""
    return Images([(name, lambda channels: picture)], name)


def _reader(path: Path, megapixels: float) -> Load:
    return lambda channels: read_channels(path, channels, megapixels=megapixels)


def _sample(name: str) -> Load:
    return lambda channels: sample_image(name)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def top_source(images: Sequence[TopImage], index: int) -> Source:
    """The whole image that a cell of a montage was cut from.

    Parameters
    ----------
    images
        The montage's images according to its record, see `deepvis_caffe.results.records`; empty if
        there is no record.

    Raises
    ------
    ImageError
        The record does not name the image's file, or the file is gone.
    """
    if not images:
        raise ImageError(
            "this picture has no record of its images: `deepvis top-images` writes one"
        )
    if not 0 <= index < len(images):
        raise ImageError(f"there is no top image {index + 1}: the unit has {len(images)}")
    image = images[index]
    if image.file is None:
        raise ImageError(
            f"{image.name} was not an image file of its own (or the record does not name it), so "
            "it cannot be opened"
        )
    if not image.file.is_file():
        raise ImageError(f"{image.name} is gone: there is no {image.file}")
    return image_files([image.file], image.name)
