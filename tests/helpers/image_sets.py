"""Small datasets on disk, and the results of a slow loop over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import read_image, write_image


def write_folder(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (30, 40)) -> Path:
    """`count` noisy pictures of three colours, in two folders."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        small = rng.integers(0, 256, (5, 5, 3), np.uint8)
        picture = np.kron(small, np.ones((size[0] // 5, size[1] // 5, 1), np.uint8))
        write_image(folder / ("ab"[number % 2]) / f"{number:03d}.png", picture)
    return folder


def slow_pass(net: Net, folder: Path, blob: str) -> tuple[list[str], np.ndarray]:
    """Each image by itself through `forward`: names in order, and all values (N, C, P)."""
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.relative_to(folder).as_posix())
    values = []
    for path in paths:
        value = net.forward(net.preprocessor(read_image(path))[None], [blob])[blob]
        values.append(value.reshape(value.shape[1], -1))
    return [path.relative_to(folder).as_posix() for path in paths], np.stack(values)


def slow_top(
    names: list[str], values: np.ndarray, count: int
) -> list[list[tuple[float, str, int]]]:
    """Each unit's top images, (value, name, position), by plain sorting."""
    found = []
    for unit in range(values.shape[1]):
        rows = [
            (float(one[unit].max()), name, int(one[unit].argmax()))
            for name, one in zip(names, values, strict=True)
        ]
        found.append(sorted(rows, key=lambda row: (-row[0], row[1]))[:count])
    return found
