"""Views of photographs, and which are kept when several show the same place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, load_text, net_text

from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.dataset.tiles import parse_tile_name, tile_boxes, tile_name, write_tiles
from deepvis_caffe.dataset.top_images import distinct, overlap
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import sample_image


def slow_boxes(height: int, width: int) -> set[tuple[int, int, int, int]]:
    """Sides, then the fewest starts of an axis that are evenly spread and half a side apart."""
    found = set()
    for part in (1, 2, 3):
        side = min(height, width) // part
        if part > 1 and side < 96:
            continue
        axes = []
        for length in (height, width):
            count = 1
            while (length - side) > (count - 1) * max(1, side // 2):
                count += 1
            spread = [(length - side) * k / max(1, count - 1) for k in range(count)]
            axes.append([int(start + 1e-9) for start in spread])
        found |= {(y, x, y + side, x + side) for y in axes[0] for x in axes[1]}
    return found


@pytest.mark.parametrize(
    "size", [(300, 451), (512, 512), (640, 427), (100, 100), (95, 800), (1, 9)]
)
def test_where_tiles_are(size: tuple[int, int]) -> None:
    boxes = tile_boxes(*size)
    assert len(boxes) == len(set(boxes))
    assert set(boxes) == slow_boxes(*size)
    covered = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        assert bottom - top == right - left
        covered[top:bottom, left:right] = True
    assert covered.all()


def test_tiles_are_slices_of_the_photographs(tmp_path: Path) -> None:
    photographs = {name: sample_image(name) for name in ("chelsea", "text")}
    photographs["cat_2_x"] = photographs["chelsea"][:120, 40:300]
    told: list[tuple[int, int]] = []
    source = write_tiles(photographs, tmp_path, lambda done, total: told.append((done, total)))
    assert told[-1] == (len(source), len(source))
    assert sorted(path.name for path in tmp_path.iterdir()) == source.names
    for index, name in enumerate(source.names):
        photograph, top, left, side = name[:-4].rsplit("_", 3)
        y, x, n = int(top), int(left), int(side)
        whole = photographs[photograph]
        np.testing.assert_array_equal(source.read(index), whole[y : y + n, x : x + n])
        assert parse_tile_name(name) == (photograph, (y, x, y + n, x + n))
        assert tile_name(*parse_tile_name(name)) == name
    again = source.names[0]
    (tmp_path / again).write_bytes(b"kept")
    (tmp_path / "another.png").write_bytes(b"not ours")
    source = write_tiles(photographs, tmp_path)
    assert (tmp_path / again).read_bytes() == b"kept"
    assert "another.png" not in source.names
    with pytest.raises(ImageError, match=r"another.png is not a tile's name"):
        parse_tile_name("another.png")


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 10, 10), (3, 3, 5, 5), 1),  # one within the other
        ((0, 0, 4, 4), (2, 3, 6, 7), 2 / 16),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),
        ((0, 0, 4, 4), (9, 9, 12, 12), 0),
    ],
)
def test_overlap(one: tuple, other: tuple, share: float) -> None:
    assert overlap(one, other) == overlap(other, one) == share


@pytest.mark.slow
def test_of_what_overlaps_the_strongest_stays(tmp_path: Path) -> None:
    """Against a greedy loop that paints what each unit sees into a mask of the photograph."""
    text = net_text(conv("find", "data", 4, 3, "stride: 1"), data=(1, 3, 96, 96))
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.01, (4, 3, 3, 3))
    net = load_text("torch", tmp_path, text, arrays(find=(weights, np.ones(4))), mean=0)
    photographs = {
        name: np.kron(rng.integers(0, 256, (36, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        for name in ("one", "two")
    }
    source = write_tiles(photographs, tmp_path / "tiles")
    scan = scan_images(net, source, ScanParams(("find",), 30))
    top = scan.layers["find"].top
    best = distinct(net, scan, "find", 5, parse_tile_name)
    dropped = 0
    for unit in range(4):
        kept: list[tuple[int, str, np.ndarray]] = []
        for rank in range(30):
            name, y, x, side = scan.names[top.image[unit, rank]][:-4].split("_")
            row, column = divmod(int(top.position[unit, rank]), 94)
            scale = int(side) / 96
            rows = int(row * scale), math.ceil((row + 3) * scale)
            columns = int(column * scale), math.ceil((column + 3) * scale)
            mask = np.zeros((288, 320), bool)
            mask[int(y) :, int(x) :][slice(*rows), slice(*columns)] = True
            if all(
                (mask & other).sum() <= min(mask.sum(), other.sum()) / 4
                for _, photograph, other in kept
                if photograph == name
            ):
                kept.append((rank, name, mask))
        ranks = [rank for rank, _, _ in kept][:5]
        dropped += ranks != list(range(5))
        assert best.image[unit].tolist() == top.image[unit, ranks].tolist()
        assert best.value[unit].tolist() == top.value[unit, ranks].tolist()
        assert best.position[unit].tolist() == top.position[unit, ranks].tolist()
    assert dropped, "nothing overlapped, so nothing was tested"
    few = distinct(net, scan, "find", 30, parse_tile_name)
    assert (few.image[:, -1] == -1).all()
    assert (few.value[:, -1] == -np.inf).all()
