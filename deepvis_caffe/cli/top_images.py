"""``deepvis top-images``: the maximally activating images of each unit in a dataset."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.flags import ALL_LAYERS, with_settings
from deepvis_caffe.cli.hints import command
from deepvis_caffe.cli.progress import duration, progress_bar
from deepvis_caffe.cli.values import chosen_units
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.files import bytes_in_words
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import DATASET, MODEL, RUNNING

if TYPE_CHECKING:
    from deepvis_caffe.dataset.scan import Scan
    from deepvis_caffe.dataset.source import Source
    from deepvis_caffe.jobs.forecast import Forecast
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.top_images import ScannedImages, TopUnit

MOST_LISTED = 5  # unusable images to list
MOST_UNITS_LISTED = 40  # with more, units get no line each


@with_settings(MODEL, DATASET, RUNNING)
def top_images(
    settings: Settings,
    layers: Annotated[str, typer.Option(help=f"Layers to scan: a,b,c, or {ALL_LAYERS}.")] = "all",
    pictures: Annotated[
        str | None,
        typer.Option(help="Layers to write images for: a,b,c, all of --layers, or none."),
    ] = None,
    units: Annotated[
        str,
        typer.Option(help="Units to write images for: 130,366 or 0-99 or all, or class names."),
    ] = "all",
    modes: Annotated[
        str,
        typer.Option(help="Saliency maps to write for each crop: deconv,gradient,guided, or none."),
    ] = "deconv",
    crops: Annotated[
        bool,
        typer.Option(
            "--crops",
            help="Also write each crop and saliency map as a separate PNG file: about twenty "
            "files per unit, and ten times the disk space.",
        ),
    ] = False,
    every: Annotated[int, typer.Option(help="Use every N-th image.", min=1)] = 1,
    unique: Annotated[
        bool, typer.Option("--unique", help="Use exact duplicates only once.")
    ] = False,
    class_folders: Annotated[
        bool, typer.Option("--class-folders", help="Treat the subfolders of --images as classes.")
    ] = False,
    correlation: Annotated[
        bool,
        typer.Option(
            "--correlation", help="Also compute the correlation between the units of each layer."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Results folder; overrides --results.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace results that were made from other images, nets or flags."
        ),
    ] = False,
) -> None:
    """Find the top images of each unit: those that activate it most in a dataset.

    One pass over the dataset covers all layers and collects statistics of every unit. Then each
    unit gets a montage of its top images, each cropped to the receptive field, and another of their
    saliency maps. Finished work is kept: run the same command again to resume after an
    interruption.
    """
    from deepvis_caffe.dataset.scan import ScanParams
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.engines.rules import check_mode
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.scan import run_scan, scan_recipe
    from deepvis_caffe.jobs.top_images import ScannedImages

    chosen_modes = _list(modes)
    for mode in chosen_modes:
        check_mode(mode)
    net = load_net(settings)
    asked = None if layers.strip().lower() == "all" else tuple(_list(layers))
    params = ScanParams(asked or (), settings.top, correlation).for_net(net)
    shown = _picture_layers(pictures, params.layers)
    source = read_source(settings, net.preprocessor.shape[0], every, unique, class_folders)
    job = Job.from_settings(settings, net, out, overwrite)
    begun = time.monotonic()
    with progress_bar(
        f"{len(params.layers)} layers, {net.engine}, {net.device}", "images"
    ) as report:
        works = False

        def report_work(done: int, total: int | None) -> None:
            nonlocal works
            works = True
            report(done, total)

        scan = run_scan(
            job.reporting(report_work), source, params, settings.batch_size, own_processes=True
        )
    for line in summary(scan, time.monotonic() - begun if works else None):
        typer.echo(line, err=True)
    scanned = ScannedImages(source, scan, scan_recipe(job, source, params))
    numbers = {layer: chosen_units(net, layer, units) for layer in shown}
    _make_pictures(job, scanned, numbers, chosen_modes, crops)


def read_source(
    settings: Settings, channels: int, every: int, unique: bool, class_folders: bool
) -> Source:
    """The images that the settings name, after all exclusions.

    Parameters
    ----------
    channels
        Channels of the net's input.
    """
    from deepvis_caffe.dataset import source as sources
    from deepvis_caffe.dataset.image_files import Files, in_words
    from deepvis_caffe.dataset.open_source import open_source

    if settings.images is None:
        raise SettingsError(
            "no images are named: give --images with a folder, a list, an LMDB, an HDF5 file or a "
            "video, or set `images` in settings_local.py"
        )
    found = open_source(
        settings.images,
        class_folders,
        settings.image_root,
        channels,
        settings.hdf5_dataset,
        settings.max_megapixels,
    )
    if isinstance(found, Files) and found.left_out:
        count = sum(found.left_out.values())
        typer.echo(
            f"left out {count:,} files that are not images: {in_words(found.left_out)}", err=True
        )
    source = sources.every(found, every)
    if unique:
        with progress_bar("looking for duplicates", "images") as report:
            source, dropped = sources.unique(source, report)
        typer.echo(f"left out {len(dropped):,} exact duplicates", err=True)
    return source


def summary(scan: Scan, seconds: float | None) -> list[str]:
    """A summary of a scan, as lines of text.

    Parameters
    ----------
    seconds
        How long it took; None if it was finished already.
    """
    units = sum(layer.units for layer in scan.layers.values())
    rate = "already finished" if seconds is None else f"in {seconds:.0f} s"
    lines = [f"{scan.images:,} images, {units:,} units of {len(scan.layers)} layers: {rate}"]
    if scan.skipped:
        counts = Counter(re.split(r"[:;]|, got ", why)[0] for _, why in scan.skipped)
        reasons = ", ".join(f"{count:,} {why}" for why, count in counts.most_common(MOST_LISTED))
        lines.append(f"{len(scan.skipped):,} images could not be used: {reasons}")
        lines += [f"  {name}: {why}" for name, why in scan.skipped[:MOST_LISTED]]
        more = len(scan.skipped) - MOST_LISTED
        lines += [f"  and {more:,} more; `deepvis stats` lists them all"] if more > 0 else []
    return lines


def _make_pictures(
    job: Job,
    scanned: ScannedImages,
    units: Mapping[str, Sequence[int]],
    modes: Sequence[str],
    crops: bool,
) -> None:
    """Make the pictures of all layers, and print a summary."""
    from deepvis_caffe.jobs.top_images import make_top_pictures

    if not units:
        return
    count = sum(map(len, units.values()))
    each = " and ".join(["the top images", *(f"their {mode} maps" for mode in modes)])
    alone = "; also each picture as a separate file" if crops else ""
    typer.echo(
        f"pictures of {count:,} units of {len(units)} layers: a montage of {each}{alone}", err=True
    )
    with progress_bar("pictures", "units") as report:
        made = make_top_pictures(
            job.reporting(report), scanned, units, modes, crops, announce=_announce
        )
    for layer, some in made.items():
        if count <= MOST_UNITS_LISTED:
            for unit in some:
                typer.echo(_describe(unit))
        silent = sum(unit.montage is None for unit in some)
        new = sum(unit.new for unit in some)
        left_out = f"; no image activates the other {silent}" if silent else ""
        typer.echo(
            f"{layer}: pictures of {len(some) - silent} units, {new} new{left_out}", err=True
        )
    typer.echo(f"to browse them: {command('gallery', job.results)}", err=True)


def _announce(ahead: Forecast) -> None:
    typer.echo(
        f"{ahead.tasks:,} more units: about {bytes_in_words(ahead.size)} on disk "
        f"({bytes_in_words(ahead.free)} free) and {duration(ahead.seconds)}",
        err=True,
    )


def _describe(unit: TopUnit) -> str:
    from deepvis_caffe.model.labels import short_label

    name = f"{unit.unit:>5}" + (f"  {short_label(unit.label)}" if unit.label else "")
    seen = unit.montage or "not activated by any image"
    return f"{name}: activation {unit.value:.5g}; {seen}"


def _picture_layers(text: str | None, layers: Sequence[str]) -> list[str]:
    """The layers to write pictures of."""
    word = (text or "all").strip().lower()
    if word in ("all", "none"):
        return list(layers) if word == "all" else []
    names = _list(text or "")
    for name in names:
        if name not in layers:
            raise SettingsError(
                f"--pictures: {name!r} is not among the scanned layers: {', '.join(layers)}"
            )
    return names


def _list(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return [] if names == ["none"] else names
