"""``deepvis demo``: download an ImageNet model and visualize some of its units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from deepvis_caffe.cli.hints import command
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.top_images import summary

if TYPE_CHECKING:
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.jobs.top_images import ScannedImages

COUNT = 9  # images shown per unit
CANDIDATES = 64  # images to choose these from, because many are views of the same place
CELL = 260  # pixels; the size of a block of nine crops in the figure


class ImagePart(NamedTuple):
    """Some units of a layer, and what their crops show."""

    layer: str
    units: dict[int, str]


# Units whose nine crops look alike, although there are few photographs.
IMAGE_PARTS = (
    ImagePart(
        "fire3/expand3x3", {41: "round lights", 56: "white", 11: "slopes", 33: "yellow spots"}
    ),
    ImagePart("fire5/expand3x3", {14: "round things", 48: "bows", 16: "rims"}),
    ImagePart("fire8/expand3x3", {86: "discs in rows", 13: "pebbles", 22: "towers"}),
    ImagePart("pool10", {967: "", 285: "", 665: ""}),  # classes have names
)


def demo_images(job: Job, photographs: tuple[str, ...] = ()) -> None:
    """Cut photographs into views, scan them, and show the top images of some units.

    Parameters
    ----------
    photographs
        Names from `deepvis_caffe.image.sample_images`; by default all of them.
    """
    from time import monotonic

    from deepvis_caffe.dataset.scan import ScanParams
    from deepvis_caffe.dataset.tiles import parse_tile_name, write_tiles
    from deepvis_caffe.dataset.top_images import MAX_OVERLAP, distinct
    from deepvis_caffe.image import sample_image, sample_images
    from deepvis_caffe.jobs.scan import run_scan, scan_recipe
    from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
    from deepvis_caffe.results import layout

    net, results = job.net, job.results
    names = photographs or sample_images(more=True)
    with progress_bar(f"cutting {len(names)} photographs", "tiles") as report:
        pictures = {name: sample_image(name) for name in names}
        source = write_tiles(pictures, layout.demo_views(results), report)
    params = ScanParams(tuple(part.layer for part in IMAGE_PARTS), CANDIDATES).for_net(net)
    begun = monotonic()
    with progress_bar(f"{len(params.layers)} layers", "images") as report:
        scan = run_scan(job.reporting(report), source, params)
    for line in summary(scan, monotonic() - begun):
        typer.echo(line)
    tops = {name: distinct(net, scan, name, COUNT, parse_tile_name) for name in params.layers}
    scan = replace(
        scan, layers={name: replace(layer, top=tops[name]) for name, layer in scan.layers.items()}
    )
    recipe = {**scan_recipe(job, source, params), "count": COUNT, "overlap": MAX_OVERLAP}
    scanned = ScannedImages(source, scan, recipe)
    units = {part.layer: list(part.units) for part in IMAGE_PARTS}
    with progress_bar("pictures", "units") as report:
        make_top_pictures(job.reporting(report), scanned, units)
    made = [write_figure(job, scanned, part) for part in IMAGE_PARTS]
    trees = " and ".join(f"{results}/{tree}" for tree in (layout.TOP_IMAGES, layout.DECONV))
    typer.echo(f"top images and deconv maps of each unit: {trees}")
    typer.echo("look at these first:")
    for path in made:
        typer.echo(f"  {path}")
    typer.echo("(there are few photographs, so the last of a unit's nine crops fit less well)")
    typer.echo(f"to browse all of it: {command('gallery', results)}")


def write_figure(job: Job, scanned: ScannedImages, part: ImagePart) -> Path:
    """Draw one part: each unit's crops, with their saliency maps below."""
    from deepvis_caffe.figures.figure import Cell, Row, figure
    from deepvis_caffe.image import read_image, write_image
    from deepvis_caffe.model.labels import label_of, short_label
    from deepvis_caffe.results.layout import DECONV, TOP_IMAGES, demo_figure
    from deepvis_caffe.results.top_store import TopImageStore

    store, count = TopImageStore(job.results, job.folders), scanned.scan.layers[part.layer].units
    labels = job.net.labels_of(part.layer)
    rows = []
    for tree, title in ((TOP_IMAGES, "crops"), (DECONV, "deconv")):
        cells = []
        for unit, seen in part.units.items():
            path = store.montage(tree, part.layer, unit)
            if path.is_file():  # missing if no image activates the unit
                named = short_label(label_of(labels, unit, count)) or seen
                text = (f"unit {unit}: {named}" if named else f"unit {unit}",)
                cells.append(Cell(read_image(path), text if tree == TOP_IMAGES else ()))
        rows.append(Row(cells, title))
    return write_image(
        demo_figure(job.results, part.layer, job.folders), figure(rows, CELL, part.layer)
    )


MODEL = "squeezenet"


class Part(NamedTuple):
    """Some units of a layer."""

    layer: str
    units: tuple[int, ...]


# Classes that people recognize at a glance: flamingo, tiger, tabby cat, zebra, peacock, volcano.
# Then some convolution units: of a low layer, for textures and spots, and of a high one, for parts.
PARTS = (
    Part("pool10", (130, 292, 281, 340, 84, 980)),
    Part("fire4/expand3x3", (8, 12, 60)),
    Part("fire7/expand3x3", (0, 26, 38)),
)


def demo(
    results: Annotated[Path, typer.Option("--results", "-o", help="Results folder.")] = Path(
        "results/demo"
    ),
    engine: Annotated[str, typer.Option(help="Engine: auto, pycaffe or torch.")] = "auto",
    real_images: Annotated[
        bool,
        typer.Option(
            "--real-images", help="Find the top images of some units in photographs instead."
        ),
    ] = False,
) -> None:
    """Download SqueezeNet and visualize some of its units, in minutes."""
    from deepvis_caffe.fetch import known_models
    from deepvis_caffe.fetch.zoo import zoo
    from deepvis_caffe.jobs.job import Job
    from deepvis_caffe.results.layout import OPTIMIZED

    row = known_models()[MODEL]
    with progress_bar(f"fetching {MODEL}", "bytes") as report:
        net = zoo(MODEL, engine, progress=report)  # type: ignore[arg-type]
    job = Job(net, results)
    typer.echo(f"{row.title}, on {net.engine} ({net.device})")
    if real_images:
        demo_images(job)
        return
    montages = [make_part(job, part) for part in PARTS]
    typer.echo(f"every picture, with a record of how it was made: {results}/{OPTIMIZED}")
    typer.echo("look at these first:")
    for path in montages:
        typer.echo(f"  {path}")
    ready, view = command("fetch", MODEL, "--write-settings"), command("view")
    typer.echo(f"to watch the net live: {ready} && {view}")


def make_part(job: Job, part: Part) -> Path:
    """Make one part's pictures and their labelled montage; returns the montage's path."""
    from deepvis_caffe.figures.montage import captioned, montage
    from deepvis_caffe.image import write_image
    from deepvis_caffe.jobs.optimize import Ascents, make_layer, store_of
    from deepvis_caffe.model.labels import short_label
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.optimizer.target_layer import TargetLayer
    from deepvis_caffe.results.layout import demo_montage

    layer, ascents = TargetLayer.of(job.net, part.layer), Ascents(ascent_params())
    with progress_bar(f"{part.layer}, units {part.units}", "image steps") as report:
        made = make_layer(job.reporting(report), layer, part.units, ascents)
    store = store_of(job, layer, ascents)
    cells = [
        captioned(
            store.cell(part.layer, unit.unit, 0),
            short_label(unit.label) or f"unit {unit.unit}",
        )
        for unit in made
    ]
    path = demo_montage(job.results, part.layer, job.folders)
    return write_image(path, montage(cells, columns=3, padding=6, fill=255))
