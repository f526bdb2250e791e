"""``deepvis sensitivity SOURCE``: how much each layer changes when its input changes a little."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.flags import ALL_LAYERS, with_settings
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import DATASET, MODEL

NOISE, REPEATS = 4.0, 4


@with_settings(MODEL, DATASET, leave_out=("top",))
def sensitivity(
    settings: Settings,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Image, folder or list of images, LMDB, HDF5 file, or video.",
        ),
    ],
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the noise to add, in gray levels (0 to 255). "
            f"Default: {NOISE:g}, except for a video.",
        ),
    ] = None,
    frames: Annotated[
        bool | None,
        typer.Option(
            "--frames",
            help="Compare each image with the next one instead of adding noise. "
            "Default: for a video.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Noise samples per image.", min=1)] = REPEATS,
    seed: Annotated[int, typer.Option(help="Random seed of the noise.", min=0)] = 0,
    every: Annotated[int, typer.Option(help="Use every N-th image or frame.", min=1)] = 1,
    layers: Annotated[
        str, typer.Option(help=f"Layers: a,b,c, or {ALL_LAYERS} and the outputs.")
    ] = "all",
    plots: Annotated[bool, typer.Option(help="Also draw a plot.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the table and the plot. Default: RESULTS/sensitivity.",
        ),
    ] = None,
) -> None:
    """Measure how much each layer changes when its input changes a little.

    The change is caused by noise or by going to the next video frame, and is given in standard
    deviations of the layer's activations over --images (or over SOURCE, without --images): 1 means
    that the layer changes as much as it varies between images. The paper reports that upper layers
    react strongly to camera noise, while convolution layers hardly do.
    """
    import numpy as np

    from deepvis_caffe.cluster.cores import threads_here
    from deepvis_caffe.dataset import source as sources
    from deepvis_caffe.dataset.image_files import VIDEO_SUFFIXES
    from deepvis_caffe.dataset.open_source import open_source
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.experiments import sensitivity as measure
    from deepvis_caffe.experiments.sensitivity import plot_movements, write_movements
    from deepvis_caffe.results.layout import sensitivity_folder

    if frames and noise is not None:
        raise SettingsError("--noise and --frames cannot be combined; give one of them")
    follow = frames or (noise is None and source.suffix.lower() in VIDEO_SUFFIXES)
    net, threads = load_net(settings), threads_here()
    opened = partial(
        open_source,
        root=settings.image_root,
        channels=net.preprocessor.shape[0],
        dataset=settings.hdf5_dataset,
    )
    inputs = sources.every(opened(source), every)
    asked = layers.strip().lower()
    names = [name.strip() for name in layers.split(",") if name.strip()]
    names = list(measure.sensitivity_layers(net)) if asked == "all" else names
    others = opened(settings.images) if settings.images else inputs
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
    folder, total = out or sensitivity_folder(settings.results), len(found[0].pairs)
    table = write_movements(folder / f"{source.stem}.csv", found)
    if plots:
        title = f"{source.name}, {what}: {total:,} pairs, spread over {spread.images:,} images"
        plot_movements(folder / f"{source.stem}.png", found, title)
    typer.echo(f"{'layer':24} {'type':14} {'units':>6} {'movement':>9} {'highest':>9}")
    for movement in found:
        known = movement.constant < movement.units
        mean, high = (
            f"{v:9.4f}" if known else f"{'-':>9}" for v in (movement.mean, movement.pairs.max())
        )
        typer.echo(f"{movement.layer:24} {movement.type:14} {movement.units:6,} {mean} {high}")
    typer.echo(
        f"{what}, {total:,} pairs; spread over {spread.images:,} images; written: {table}", err=True
    )
    if spread.images == 1 or (follow and not settings.images):
        typer.echo(
            "the spread is measured over SOURCE alone, which is not a set of different images: "
            "give one with --images",
            err=True,
        )
