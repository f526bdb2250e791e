"""Preset 3 and preset best side by side: ``docs/images/best_vs_preset3.png``.

    python -m benchmarks.contact_sheet

It shows the first six of the judge's test classes and the demo's convolution units. Below each row
of preset 3 (with the automatic rate) is one of preset best. Existing pictures, including the
judge's, are reused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import deepvis_caffe as dv
from benchmarks.judge import CONTESTANTS, class_sets, pictures_of, squeezenet
from deepvis_caffe.figures.montage import captioned, montage
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.model.labels import read_labels
from deepvis_caffe.resources import resource

OUT, FOLDER = Path("docs/images/best_vs_preset3.png"), Path("results/judge")
SIDE, COLUMNS = 150, 6
UNITS = (("fire7/expand3x3", (0, 26, 38)), ("fire4/expand3x3", (8, 12, 60)))


def main() -> None:
    """Make the sheet."""
    net, names = squeezenet(), read_labels(resource("weights", "imagenet_labels.txt"))
    classes = class_sets()["test"][:COLUMNS]
    cells: list[Picture] = []
    for who, title in (("auto", "preset 3"), ("best", "best")):
        made, _ = pictures_of(net, classes, CONTESTANTS[who][1], FOLDER / "test" / who)
        cells += [
            cell(picture, f"{title}: {names[unit].split(',')[0]}")
            for picture, unit in zip(made, classes, strict=True)
        ]
    for who, title in (("auto", "preset 3"), ("best", "best")):
        for layer, units in UNITS:
            folder = FOLDER / layer.replace("/", "_") / who
            whole = {**CONTESTANTS[who][1], "crop": "off"}
            made, _ = pictures_of(net, units, whole, folder, layer)
            cells += [
                cell(picture, f"{title}: {layer[:5]} {unit}")
                for picture, unit in zip(made, units, strict=True)
            ]
    dv.write_image(OUT, montage(cells, columns=COLUMNS, padding=4, fill=255))


def cell(picture: Picture, text: str) -> Picture:
    """One picture with its name."""
    small = resize_image(picture.astype(np.float32) / 255, SIDE, SIDE)
    return captioned(np.rint(small.clip(0, 1) * 255).astype(np.uint8), text)


if __name__ == "__main__":
    main()
