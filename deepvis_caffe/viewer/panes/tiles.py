"""Packing: the largest size of pictures that share a rectangle, in stacked groups."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from deepvis_caffe.viewer.panes.draw import Rect

GAP = 3  # pixels between pictures


@dataclass(frozen=True)
class Group:
    """Pictures of one shape.

    Attributes
    ----------
    count
        The number of pictures, at least one.
    ratio
        Height of a picture divided by its width.
    head
        Pixels above them, for a caption.
    """

    count: int
    ratio: float = 1.0
    head: int = 0


@dataclass(frozen=True)
class Tiles:
    """Equal cells, row by row; `height` and `width` are the size of one in pixels."""

    count: int
    columns: int
    height: int
    width: int

    @property
    def rows(self) -> int:
        """The number of rows; the last may be incomplete."""
        return math.ceil(self.count / self.columns)

    @property
    def high(self) -> int:
        """Height of all rows."""
        return self.rows * (self.height + GAP) - GAP

    @property
    def wide(self) -> int:
        """Width of a full row."""
        return self.columns * (self.width + GAP) - GAP

    def rects(self, top: int, left: int, width: int) -> list[Rect]:
        """The cells' rectangles, from `top` down, horizontally centered in a width."""
        left += max(0, (width - self.wide) // 2)
        return [
            Rect(
                top + place // self.columns * (self.height + GAP),
                left + place % self.columns * (self.width + GAP),
                self.height,
                self.width,
            )
            for place in range(self.count)
        ]


def largest_tiles(group: Group, height: int, width: int) -> Tiles:
    """The largest cells for which a group's pictures fit into a rectangle."""
    return max(
        (_with_columns(group, columns, height, width) for columns in range(1, group.count + 1)),
        key=lambda tiles: (tiles.width * tiles.height, tiles.columns),
    )


@lru_cache(maxsize=64)
def stacked(groups: tuple[Group, ...], height: int, width: int) -> tuple[Tiles, ...]:
    """The cells of stacked groups, each below its head.

    The height is split so as to maximize the product of the cells' areas, each raised to the square
    root of the group's count: a single picture gets larger than one of nine, but not at the expense
    of the nine. Equal groups get equal cells.
    """
    room = max(len(groups), height - sum(group.head + GAP for group in groups))
    kinds = Counter(replace(group, head=0) for group in groups)
    shares = [{kind: largest_tiles(kind, room // len(groups), width) for kind in kinds}]
    shares += _shares(kinds, room, width)

    def worth(share: dict[Group, Tiles]) -> float:
        return sum(
            kinds[kind] * math.sqrt(kind.count) * math.log(one.height * one.width)
            for kind, one in share.items()
        )

    best = max(shares, key=worth)
    return tuple(best[replace(group, head=0)] for group in groups)


def _shares(kinds: Counter[Group], room: int, width: int) -> Iterator[dict[Group, Tiles]]:
    """Candidates: all but one kind of group use the full width; it gets the remaining height."""
    for last, count in kinds.items():
        others = [kind for kind in kinds if kind is not last]
        full = [
            [_with_columns(kind, columns, 10**6, width) for columns in range(1, kind.count + 1)]
            for kind in others
        ]
        for some in itertools.product(*full):
            taken = dict(zip(others, some, strict=True))
            rest = room - sum(kinds[kind] * one.high for kind, one in taken.items())
            if rest >= count:
                yield {**taken, last: largest_tiles(last, rest // count, width)}


def _with_columns(group: Group, columns: int, height: int, width: int) -> Tiles:
    rows = math.ceil(group.count / columns)
    wide = (width - (columns - 1) * GAP) // columns
    high = (height - (rows - 1) * GAP) // rows
    wide = max(1, min(wide, math.floor(high / group.ratio)))
    return Tiles(group.count, columns, max(1, min(high, round(wide * group.ratio))), wide)
