"""``deepvis sensitivity SOURCE``: which layers move when an input changes a little."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import DATASET, MODEL

if TYPE_CHECKING:
    from deepvis_caffe.dataset.source import Source

FOLDER = "sensitivity"  # of the results
NOISE, REPEATS = 4.0, 4


@with_settings(MODEL, DATASET, leave_out=("top",))
def sensitivity(
    settings: Settings,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="An image, a folder or list of images, an LMDB, an HDF5 file or a video.",
        ),
    ],
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the noise that is added, in gray levels of 255.",
            show_default=f"{NOISE:g}, but for a video",
        ),
    ] = None,
    frames: Annotated[
        bool | None,
        typer.Option(
            "--frames",
            help="Compare each image with the next, in place of noise.",
            show_default="for a video",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Noises a picture.", min=1)] = REPEATS,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    every: Annotated[int, typer.Option(help="Take one image, or frame, of so many.", min=1)] = 1,
    layers: Annotated[
        str, typer.Option(help="Layers: a,b,c, or all with weights and the outputs.")
    ] = "all",
    plots: Annotated[bool, typer.Option(help="Draw it, too.")] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for table and plot.", show_default="RESULTS"),
    ] = None,
) -> None:
    """Measure how far each layer moves when its input changes a little, against its own spread.

    The spread is taken over --images, or where none are named over SOURCE itself; 1 says that a
    layer moves as far as its values lie apart over those. The paper finds that upper layers jump at
    a camera's noise while convolutions hold still.
    """
    import numpy as np

    from deepvis_caffe.cluster.cores import usable_cores
    from deepvis_caffe.dataset import source as sources
    from deepvis_caffe.dataset.image_files import VIDEO_SUFFIXES
    from deepvis_caffe.dataset.open_source import open_source
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments import sensitivity as measure
    from deepvis_caffe.experiments.sensitivity import plot_movements, write_movements

    if frames and noise is not None:
        raise SettingsError("--noise and --frames exclude each other")
    follow = frames or (noise is None and source.suffix.lower() in VIDEO_SUFFIXES)
    inputs = sources.every(_open(source), every)
    net, threads = load_net(settings), usable_cores()
    asked = layers.strip().lower()
    names = [one.strip() for one in layers.split(",") if one.strip()]
    names = list(measure.sensitivity_layers(net)) if asked == "all" else names
    others = open_source(settings.images) if settings.images else inputs
    with progress_bar("spread", "images") as report:
        spread = measure.layers_spread(net, others, names, threads, report)
    if follow:
        count, what = len(inputs) - 1, "each frame to the next"
        pairs = measure.frame_pairs(net, inputs, threads)
    else:
        level = NOISE if noise is None else noise
        count, what = len(inputs) * repeats, f"noise of {level:g} gray levels"
        rng = np.random.default_rng(seed)
        pairs = measure.noisy_pairs(net, inputs, level, rng, repeats, threads)
    with progress_bar("movement", "pairs") as report:
        found = measure.measure_sensitivity(net, pairs, spread, progress=report, count=count)
    folder, total = out or settings.results / FOLDER, len(found[0].pairs)
    table = write_movements(folder / f"{source.stem}.csv", found)
    if plots:
        title = f"{source.name}, {what}: {total:,} pairs, spread over {spread.images:,} images"
        plot_movements(folder / f"{source.stem}.png", found, title)
    typer.echo(f"{'layer':24} {'type':14} {'units':>6} {'movement':>9} {'highest':>9}")
    for one in found:
        known = one.constant < one.units
        mean, high = (f"{v:9.4f}" if known else f"{'-':>9}" for v in (one.mean, one.pairs.max()))
        typer.echo(f"{one.layer:24} {one.type:14} {one.units:6,} {mean} {high}")
    typer.echo(
        f"{what}, {total:,} pairs; spread over {spread.images:,} images; written: {table}", err=True
    )
    if spread.images == 1 or (follow and not settings.images):
        typer.echo(
            "the spread is of SOURCE alone, which is no set of different images: name one with "
            "--images",
            err=True,
        )


def _open(path: Path) -> Source:
    """The images at a path, which may be a single one."""
    from deepvis_caffe.dataset.image_files import IMAGE_SUFFIXES, Files
    from deepvis_caffe.dataset.open_source import open_source

    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return Files(path.parent, {path.name: None})
    return open_source(path)
