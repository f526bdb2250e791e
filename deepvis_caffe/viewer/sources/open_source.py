"""Sources from text: ``"0"``, ``"clip.mp4"``, ``"0,photos"`` -> [Source, ...]."""

from __future__ import annotations

import re
from pathlib import Path

from deepvis_caffe.errors import ImageError, boundary, shortened
from deepvis_caffe.files import exists
from deepvis_caffe.image import is_image, sample_images
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.viewer.sources.capture import Camera, Video
from deepvis_caffe.viewer.sources.images import (
    image_files,
    image_folder,
    one_sample,
    samples,
)
from deepvis_caffe.viewer.sources.source import Source

SAMPLES = "samples"


def parse_sources(text: str | None, megapixels: float = MEGAPIXELS) -> list[Source]:
    """Parse comma-separated sources.

    Parameters
    ----------
    text
        Each source is a camera's number or device (``/dev/video1``), a URL, the path of a video, of
        an image or of a folder of images, the name of a sample photograph, or ``"samples"`` for all
        of these. None is camera 0. If all sources are cameras, the sample photographs are appended,
        so that there is something to see without a camera.
    megapixels
        The largest image file that is read.

    Raises
    ------
    ImageError
        A source is none of these, or a folder holds no images.
    """
    whole = (text or "0").strip()
    parts = [whole] if exists(whole) else [part.strip() for part in whole.split(",")]
    sources = [open_source(part, megapixels) for part in parts if part]
    if all(isinstance(source, Camera) for source in sources):
        sources.append(samples())
    return sources


def open_source(text: str, megapixels: float = MEGAPIXELS) -> Source:
    """One source; see :func:`parse_sources`."""
    with boundary(ImageError, f"there is no source {shortened(text)!r}"):
        return _open(text, Path(text).expanduser(), megapixels)


def _open(text: str, path: Path, megapixels: float) -> Source:
    if re.fullmatch(r"\d+", text) and not path.exists():
        return Camera(int(text))
    if re.match(r"[a-z][a-z0-9+.-]+://", text) or text.startswith("/dev/"):
        return Camera(text)
    if path.is_dir():
        return image_folder(path, megapixels)
    if path.is_file():
        return image_files([path], path.name, megapixels) if is_image(path) else Video(path)
    if text == SAMPLES:
        return samples()
    if text in sample_images():
        return one_sample(text)
    raise ImageError(
        f"there is no source {text!r}: give a camera's number or device, a video, an image, "
        f"a folder of images, a URL, or one of {', '.join([SAMPLES, *sample_images()])}"
    )
