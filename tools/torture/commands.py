"""The commands that write files, each small enough to run in a fraction of a second.

They work on the digits' LeNet that we ship, in a folder that `prepare` fills: settings, pictures,
the weights.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepvis_caffe.resources import resource

SCHEDULER = "SCHEDULER"  # stands for the address of a Dask scheduler


@dataclass(frozen=True)
class Command:
    """A command to kill.

    Attributes
    ----------
    name
        Its name in the table.
    arguments
        Arguments of ``deepvis``.
    before
        Commands that must run first, because it needs their files.
    varies
        Suffixes of files that only have to be complete, because even undisturbed runs differ: a
        viewer shows its speed.
    processes
        Whether worker processes do its work.
    """

    name: str
    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    varies: tuple[str, ...] = ()
    processes: bool = False


def _command(
    name: str,
    line: str,
    *before: str,
    varies: tuple[str, ...] = (),
    processes: bool = False,
) -> Command:
    return Command(
        name, tuple(line.split()), tuple(tuple(one.split()) for one in before), varies, processes
    )


OPTIMIZE = "optimize ip2 --units 0-1 --seeds 2 --iterations 4 --batch-size 1"
TOP_IMAGES = "top-images --images photos --layers conv2,ip2 --units 0,1 --top 4"
SEARCH = "search ip2 --units 3 --trials 4 --iterations 2"
VIEW = "view photos --headless --frames 3 --out frames --press p,r --no-synthesis"
STATS = "stats --layers conv2"


def _of_engine(engine: str) -> list[Command]:
    """The commands that compute, on one engine."""
    on = f" --engine {engine}"
    return [
        _command(f"optimize, {engine}", OPTIMIZE + on),
        _command(f"top-images, {engine}", TOP_IMAGES + " --modes deconv,guided" + on),
        _command(f"sweep, {engine}", "sweep ip2 --unit 3 --columns 2 --iterations 2" + on),
        _command(f"search, {engine}", SEARCH + on),
        _command(f"presets, {engine}", "presets ip2 --unit 3 --seeds 1 --iterations 2" + on),
        _command(f"sensitivity, {engine}", "sensitivity photos --plots --repeats 1" + on),
        _command(f"backward, {engine}", "backward photos/0.png --layer conv2 --unit 1" + on),
        _command(
            f"attribute, {engine}",
            "attribute photos/0.png --layer ip2 --unit 1 --method smooth_grad "
            f"--overlay over.png --out map.npy{on}",
        ),
        _command(
            f"drivers, {engine}",
            "drivers photos/0.png --layer ip2 --unit 1 --out drivers.png" + on,
        ),
        _command(f"view --headless, {engine}", VIEW + on, varies=(".mp4", ".png")),
    ]


COMMANDS = (
    *_of_engine("torch"),
    *_of_engine("pycaffe"),
    _command("optimize, batches", OPTIMIZE.replace("size 1", "size 3"), varies=(".json", "g")),
    _command(
        "optimize --overwrite",
        OPTIMIZE + " --overwrite",
        OPTIMIZE.replace("--iterations 4", "--iterations 3"),
    ),
    _command(
        "top-images --overwrite",
        TOP_IMAGES + " --modes deconv --overwrite",
        TOP_IMAGES.replace("--top 4", "--top 3") + " --modes deconv",
    ),
    _command(
        "gallery",
        "gallery results",
        OPTIMIZE,
        TOP_IMAGES + " --correlation",
        "weights conv1 --gallery",
    ),
    _command("gallery, again", "gallery results", OPTIMIZE, "gallery results", TOP_IMAGES),
    _command("stats", STATS, TOP_IMAGES),
    _command("weights --gallery", "weights conv2 --units 0-9 --gallery --out weights.png"),
    _command("filters", "filters --images photos --count 3 --plot --out filters.csv"),
    _command("layer-figure", "layer-figure ip2", OPTIMIZE.replace("0-1", "0-9"), TOP_IMAGES),
    _command("search --keep", SEARCH + " --keep 2 --name crisp", SEARCH),
    _command("optimize --workers", OPTIMIZE + " --workers 2", processes=True),
    _command("top-images --workers", TOP_IMAGES + " --modes deconv --workers 2", processes=True),
    _command("optimize --scheduler", f"{OPTIMIZE} --scheduler {SCHEDULER}", processes=True),
    _command(
        "top-images --scheduler",
        f"{TOP_IMAGES} --modes deconv --scheduler {SCHEDULER}",
        processes=True,
    ),
)


def prepare(folder: Path) -> None:
    """Write the settings and twelve pictures."""
    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        picture = cv2.GaussianBlur(rng.uniform(0, 255, (28, 28)).astype(np.float32), (5, 5), 0)
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), picture.astype(np.uint8))
    shutil.copy(resource("weights", "lenet_digits.caffemodel"), folder)
    (folder / "settings_local.py").write_text(
        f"prototxt = {str(resource('prototxt', 'lenet_digits.prototxt'))!r}\n"
        "weights = 'lenet_digits.caffemodel'\n"
        "raw_scale = 255\n"
        "results = 'results'\n"
        "engine = 'torch'\n"
    )
