"""The result of `attribute`: a map of the image, and its pictures."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepvis_caffe.attribution.pictures import map_overlay, map_picture
from deepvis_caffe.errors import ImageError
from deepvis_caffe.files import whole_file
from deepvis_caffe.image import Floats, Picture, encode_png, legible, write_image
from deepvis_caffe.model.labels import unit_title
from deepvis_caffe.model.preprocess import Preprocessor


@dataclass(frozen=True, eq=False)
class Attribution:
    """The attribution of a unit's response to an image, by one method.

    Attributes
    ----------
    map
        float32: (C, H, W), a number for each value of the input, in the net's channel order; or
        (H, W), a number for each pixel, for methods without channels.
    activation
        The unit's activation: the largest on its map, or that at the position.
    score
        The score that was attributed, see `deepvis_caffe.attribution.score`.
    layer, unit, position
        The arguments of `attribute`.
    method, parameters
        The method, and the values of all its parameters.
    style
        The default style of the map.
    image
        (C, H, W), the net's input.
    preprocessor
        Turns image and map into pictures.
    label
        The unit's label, if it has one.
    """

    map: Floats = field(repr=False)
    activation: float
    score: float
    layer: str
    unit: int
    position: Literal["all", "center"] | tuple[int, ...]
    method: str
    parameters: Mapping[str, Any]
    style: str
    image: Floats = field(repr=False)
    preprocessor: Preprocessor = field(repr=False)
    label: str | None = None

    @property
    def title(self) -> str:
        """What was attributed and how, in words."""
        return f"{unit_title(self.layer, self.unit, self.label)}, {self.method}"

    def picture(self, style: str | None = None) -> Picture:
        """The map as a picture, (H, W, 3) RGB uint8.

        Colors saturate at the 99th percentile of the magnitudes.

        Parameters
        ----------
        style
            One of `deepvis_caffe.attribution.pictures.STYLES`; by default the method's own.

        Raises
        ------
        UnknownNameError
            There is no such style.
        """
        return map_picture(self.map, self.preprocessor, style or self.style)

    def overlay(self, image: Picture | None = None) -> Picture:
        """The image overlaid with the map as a heat map: hot where values or magnitudes are large.

        Parameters
        ----------
        image
            (H, W, 3) RGB uint8, of any size: the picture to overlay. By default the net's input.

        Raises
        ------
        ImageError
            It is not such a picture.
        """
        below = self.preprocessor.show(self.image) if image is None else np.asarray(image)
        return map_overlay(self.map, below)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the map, as a picture (``.png``, ``.jpg``) or with all its numbers (``.npy``).

        Raises
        ------
        ImageError
            The name has another extension, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npy":
            return write_image(path, self.picture())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, self.map)
        except OSError as error:
            raise ImageError(f"cannot write {path}: {error.strerror}") from error
        return path

    def _repr_png_(self) -> bytes:
        return encode_png(legible(self.picture()))

    def _repr_html_(self) -> str:
        pictures = "".join(
            f'<img src="data:image/png;base64,{base64.b64encode(encode_png(one)).decode()}">'
            for one in map(legible, (self.picture(), self.overlay()))
        )
        caption = f"{self.title}: activation {self.activation:.4g}"
        return f"<figure>{pictures}<figcaption>{escape(caption)}</figcaption></figure>"
