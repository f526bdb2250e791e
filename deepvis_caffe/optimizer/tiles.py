"""Tiled passes, for an image too large to process at once.

Objectives over a whole map, such as a channel's sum or DeepDream's whole layer, need all positions.
But each position sees only its receptive field. So the map is split into blocks, each block is
computed on the part of the image that it sees, and the gradients of the parts are added up. This is
the exact gradient for the whole image, at the cost of a second forward pass.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.memory import in_gib
from deepvis_caffe.model.input_window import Box, InputWindow, window_of_block
from deepvis_caffe.optimizer.batching import bytes_per_image

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.preprocess import Preprocessor

log = logging.getLogger(__name__)

SHARE = 0.8  # of the free memory; passes that need more are tiled

Index = tuple[Any, ...]


@dataclass(frozen=True)
class Tile:
    """A block of a layer's map, and the part of the image that it sees.

    Attributes
    ----------
    block
        (top, left, bottom, right) in the map; bottom and right are excluded.
    window
        The part of the image, and the block's place in the map of that part.
    """

    block: Box
    window: InputWindow

    @property
    def in_image(self) -> Index:
        """The part's index into the image (N, C, H, W)."""
        return ..., self.window.rows, self.window.columns

    @property
    def in_map(self) -> Index:
        """The block's index into the whole map (N, C, H, W)."""
        top, left, bottom, right = self.block
        return ..., slice(top, bottom), slice(left, right)

    @property
    def in_part(self) -> Index:
        """The block's index into the map of the part."""
        top, left, bottom, right = self.block
        y, x = self.window.index
        return ..., slice(y, y + bottom - top), slice(x, x + right - left)


class TiledNet:
    """The methods of a net that an ascent needs, computed tile by tile.

    Parameters
    ----------
    net
        The net.
    extent
        Height and width of the layer's map for the whole image.
    tiles
        Tiles whose blocks cover the map.

    Attributes
    ----------
    ops, preprocessor
        The net's.
    """

    def __init__(self, net: Net, extent: tuple[int, int], tiles: list[Tile]) -> None:
        self._net, self._extent, self._tiles = net, extent, tiles
        self.ops: ArrayOps = net.ops
        self.preprocessor: Preprocessor = net.preprocessor
        self._last: tuple[Any, str, tuple[int, ...] | None] | None = None

    def saves_channels(self, name: str) -> bool:
        """As `Net.saves_channels`."""
        return self._net.saves_channels(name)

    def evaluate(self, x: Any, name: str, channels: tuple[int, ...] | None = None) -> Any:
        """As `Net.evaluate`."""
        whole: Any = None
        for tile in self._tiles:
            part = self._net.evaluate(x[tile.in_image], name, channels)
            if whole is None:
                whole = self.ops.asarray(np.zeros((*part.shape[:2], *self._extent)))
            whole[tile.in_map] = part[tile.in_part]
        self._last = x, name, channels
        return whole

    def input_gradient(self, diff: Any, mode: str = "gradient") -> Any:
        """As `Net.input_gradient`."""
        assert self._last is not None
        (x, name, channels), self._last = self._last, None
        total = self.ops.xp.zeros_like(x)
        for tile in self._tiles:
            part = self._net.evaluate(x[tile.in_image], name, channels)
            on_part = self.ops.xp.zeros_like(part)
            on_part[tile.in_part] = diff[tile.in_map]
            total[tile.in_image] += self._net.input_gradient(on_part, mode)
        return total


def tiled_where_needed(net: Net, layer: str, shape: tuple[int, ...], images: int) -> Net | TiledNet:
    """The net, or a tiled one if a pass over whole images would not fit into memory.

    Parameters
    ----------
    net, layer
        As for `optimize`.
    shape
        The layer's, without the batch axis.
    images
        The batch size.
    """
    free, needed = net.ops.free_memory(), images * bytes_per_image(net, layer)
    if free is None or needed <= SHARE * free or len(shape) != 3:
        return net
    extent = shape[1], shape[2]
    for blocks in _finer_and_finer(extent):
        tiles = list(_tiles(net, layer, blocks))
        if len(tiles) < len(blocks):
            break  # such a block would see the whole image
        largest = max(bytes_per_image(net, layer, tile.window.size) for tile in tiles)
        if images * largest <= SHARE * free:
            log.info(
                "layer %r runs in %d tiles: a pass over the whole image would need %s, and %s is "
                "free",
                layer,
                len(tiles),
                in_gib(needed),
                in_gib(free),
            )
            return TiledNet(net, extent, tiles)
    log.warning(
        "a pass up to layer %r needs about %s, and %s is free; it cannot be tiled, because its "
        "receptive fields cover too much of the image: if it fails, use a smaller input_shape",
        layer,
        in_gib(needed),
        in_gib(free),
    )
    return net


def _finer_and_finer(extent: tuple[int, int]) -> Iterator[list[Box]]:
    """The map split into 4 blocks, then 9, and so on, until a block is a single position."""
    count = 2
    while count <= max(extent):
        rows, columns = (_edges(size, min(count, size)) for size in extent)
        yield [
            (top, left, bottom, right)
            for top, bottom in pairwise(rows)
            for left, right in pairwise(columns)
        ]
        count += max(1, count // 2)


def _edges(size: int, count: int) -> list[int]:
    return [size * i // count for i in range(count + 1)]


def _tiles(net: Net, layer: str, blocks: list[Box]) -> Iterator[Tile]:
    value = net.model.graph.gradient_start(layer)
    for block in blocks:
        window = window_of_block(net.model, value, block)
        if window is not None:
            yield Tile(block, window)
