"""The weights of a layer's units, as pictures for the grid: ``(net, entry) -> UnitWeights``."""

from __future__ import annotations

import math

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import DeepVisError, in_words
from deepvis_caffe.figures.weights import layer_weights
from deepvis_caffe.image import resize_image
from deepvis_caffe.model.graph import Value
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.units import UnitWeights

MOST = 8_000_000  # pixels of all units together
LARGEST = 160  # pixels; the longer side of one picture


def unit_weights(net: Net, entry: Entry) -> UnitWeights:
    """The weights of the layer that writes an entry's blob first, or why it has none."""
    writer = net.model.graph.producer[Value(entry.name)]
    try:
        found = layer_weights(net, writer.name)
    except DeepVisError as error:
        return UnitWeights(why_not=in_words(error))
    side = min(LARGEST, max(1, math.isqrt(MOST // len(found.values))))
    pictures = []
    for unit in range(len(found.values)):
        picture = found.picture(unit, zoom=1)
        zoom = side // max(picture.shape[:2])
        if zoom > 1:  # a whole number of pixels per weight, and visible grid lines
            picture = found.picture(unit, zoom=zoom)
        height, width = picture.shape[:2]
        factor = min(1.0, side / max(height, width))
        rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
        pictures.append(np.ascontiguousarray(resize_image(picture, rows, columns)))
    return UnitWeights(found, tuple(pictures))
