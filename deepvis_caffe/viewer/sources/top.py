"""One of a unit's strongest images as the input: ``(images on record, index) -> Source``."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.errors import ImageError
from deepvis_caffe.gallery.top_record import TopImage
from deepvis_caffe.viewer.sources.images import image_files
from deepvis_caffe.viewer.sources.source import Source


def top_source(images: Sequence[TopImage], index: int) -> Source:
    """The whole image that a cell of a montage was cut from.

    Parameters
    ----------
    images
        What the montage's record says, see `deepvis_caffe.gallery.top_record`; empty where there
        is no record.

    Raises
    ------
    ImageError
        The record does not say where the image is, or it is gone.
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
            f"{image.name} is no file of its own, or its record does not say which: pictures that "
            "`deepvis top-images` makes of image files can be opened"
        )
    if not image.file.is_file():
        raise ImageError(f"{image.name} is gone: there is no {image.file}")
    return image_files([image.file], image.name)
