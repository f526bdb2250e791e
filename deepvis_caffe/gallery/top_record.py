"""What is on record of a unit's strongest images: ``path -> TopRecord``.

`deepvis_caffe.gallery.top_pictures` writes it beside ``max_im/<layer>/<layer>_<unit:04d>.jpg``; the
Deep Visualization Toolbox's pictures have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepvis_caffe.gallery.record import read_record

DVT_COLUMNS = 3  # of the Deep Visualization Toolbox's montages


@dataclass(frozen=True)
class TopImage:
    """One of a unit's strongest images.

    Attributes
    ----------
    name
        In its source.
    value
        The activation.
    file
        The image file, whole; None where the image is a part of one, as of a video, or where the
        record does not say.
    class_name
        Of the image's class, where that is known.
    """

    name: str
    value: float
    file: Path | None = None
    class_name: str | None = None


@dataclass(frozen=True)
class TopRecord:
    """What a montage of strongest images shows.

    Attributes
    ----------
    layer
        Its true name.
    images
        Strongest first, row by row.
    columns
        How many are beside each other.
    """

    layer: str
    images: tuple[TopImage, ...]
    columns: int


class _Image(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    value: float
    file: str | None = Field(None, min_length=1)
    class_name: str | None = None


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)

    layer: str
    images: list[_Image]
    columns: int = Field(DVT_COLUMNS, ge=1)


def read_top_record(path: Path) -> TopRecord | None:
    """The record beside a montage of strongest images.

    Parameters
    ----------
    path
        The picture's, or the record's own.

    Returns
    -------
    TopRecord or None
        None where there is none, or none that can be understood.
    """
    try:
        record = _Record.model_validate(read_record(path.with_suffix(".json")))
    except ValidationError:
        return None
    images = tuple(
        TopImage(one.name, one.value, Path(one.file) if one.file else None, one.class_name)
        for one in record.images
    )
    return TopRecord(record.layer, images, record.columns)
