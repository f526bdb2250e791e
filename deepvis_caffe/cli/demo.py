"""``deepvis demo``: fetch a real ImageNet model and make its first images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.top_images import FOLDER, summary

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.labels import Labels
    from deepvis_caffe.results.store import ResultStore


VIEWS = "views"  # the folder in the results that photographs are cut into
COUNT = 9  # shown of a unit
CANDIDATES = 64  # of which the shown are chosen, since views of one place are many
CELL = 260  # pixels of nine crops in the figure


class ImagePart(NamedTuple):
    """Some units of a layer, and what a person sees in their crops."""

    layer: str
    units: dict[int, str]


# Units whose nine crops are alike, though there are few photographs.
IMAGE_PARTS = (
    ImagePart(
        "fire3/expand3x3", {41: "round lights", 56: "white", 11: "slopes", 33: "yellow spots"}
    ),
    ImagePart("fire5/expand3x3", {14: "round things", 48: "bows", 16: "rims"}),
    ImagePart("fire8/expand3x3", {86: "discs in rows", 13: "pebbles", 22: "towers"}),
    ImagePart("pool10", {967: "", 285: "", 665: ""}),  # classes have names
)


def demo_images(net: Net, results: Path, labels: Labels, photographs: tuple[str, ...] = ()) -> None:
    """Cut photographs into views, look through them, and show what excites some units.

    Parameters
    ----------
    photographs
        Of `deepvis_caffe.image.sample_images`; by default all of them.
    """
    from time import monotonic

    from deepvis_caffe.dataset.scan import ScanParams
    from deepvis_caffe.dataset.tiles import view_of, write_views
    from deepvis_caffe.dataset.top_images import MOST, distinct
    from deepvis_caffe.image import sample_image, sample_images
    from deepvis_caffe.jobs.scan import scan_dataset, scan_recipe
    from deepvis_caffe.jobs.top_images import make_top_pictures

    names = photographs or sample_images(more=True)
    with progress_bar(f"cutting {len(names)} photographs", "views") as report:
        source = write_views({name: sample_image(name) for name in names}, results / VIEWS, report)
    params = ScanParams(tuple(part.layer for part in IMAGE_PARTS), CANDIDATES).for_net(net)
    begun = monotonic()
    with progress_bar(f"{len(params.layers)} layers", "images") as report:
        scan = scan_dataset(net, source, results / FOLDER, params, progress=report)
    for line in summary(scan, monotonic() - begun):
        typer.echo(line)
    tops = {name: distinct(net, scan, name, COUNT, view_of) for name in params.layers}
    scan = replace(
        scan, layers={name: replace(one, top=tops[name]) for name, one in scan.layers.items()}
    )
    recipe = {**scan_recipe(net, source, params), "count": COUNT, "overlap": MOST}
    made = []
    for part in IMAGE_PARTS:
        with progress_bar(f"pictures of {part.layer}", "units") as report:
            make_top_pictures(
                net,
                source,
                scan,
                recipe,
                results,
                part.layer,
                list(part.units),
                labels=labels,
                progress=report,
            )
        made.append(write_figure(results, part, labels, scan.layers[part.layer].units))
    typer.echo(f"crops and deconv of each unit: {results}/max_im and {results}/max_deconv")
    typer.echo("look at these first:")
    for path in made:
        typer.echo(f"  {path}")
    typer.echo("(there are few photographs: the last of a unit's nine are what comes nearest)")
    typer.echo(f"and at all of it: deepvis gallery {results}")


def write_figure(results: Path, part: ImagePart, labels: Labels, count: int) -> Path:
    """One picture of a part: each unit's crops, and what in them excites it below."""
    from deepvis_caffe.figures.figure import Cell, Row, figure
    from deepvis_caffe.image import read_image, write_image
    from deepvis_caffe.jobs.top_images import IMAGES, picture_path
    from deepvis_caffe.model.labels import label_of
    from deepvis_caffe.results.store import folder_name

    rows = []
    for tree, title in ((IMAGES, "crops"), ("max_deconv", "deconv")):
        cells = []
        for unit, seen in part.units.items():
            path = picture_path(results, tree, part.layer, unit)
            if path.is_file():  # not where a unit answers to none of the images
                said = (label_of(labels, unit, count) or seen).split(",")[0]
                text = (f"unit {unit}: {said}" if said else f"unit {unit}",)
                cells.append(Cell(read_image(path), text if tree == IMAGES else ()))
        rows.append(Row(cells, title))
    path = results / f"demo_images_{folder_name(part.layer)}.png"
    return write_image(path, figure(rows, CELL, part.layer))


MODEL = "squeezenet"


class Part(NamedTuple):
    """Some units of a layer."""

    layer: str
    units: tuple[int, ...]


# Classes that a person knows at a glance: flamingo, tiger, tabby cat, zebra, peacock, volcano. Then
# some convolution units: of a low layer, which see textures and spots; of a high one, parts.
PARTS = (
    Part("pool10", (130, 292, 281, 340, 84, 980)),
    Part("fire4/expand3x3", (8, 12, 60)),
    Part("fire7/expand3x3", (0, 26, 38)),
)


def demo(
    results: Annotated[
        Path, typer.Option("--results", "-o", help="Folder that the pictures go to.")
    ] = Path("results/demo"),
    engine: Annotated[str, typer.Option(help="auto, pycaffe or torch.")] = "auto",
    real_images: Annotated[
        bool,
        typer.Option("--real-images", help="Show what excites units in photographs instead."),
    ] = False,
) -> None:
    """Fetch a real model and make its first images, in minutes."""
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.fetch import fetch, known_models
    from deepvis_caffe.model.labels import read_labels
    from deepvis_caffe.results.store import ResultStore

    row = known_models()[MODEL]
    with progress_bar(f"fetching {MODEL}", "bytes") as report:
        weights = fetch(MODEL, progress=report)
    net = load_net(row.prototxt, weights, engine=engine, mean=row.mean)  # type: ignore[arg-type]
    store, labels = ResultStore(results), read_labels(row.labels)
    typer.echo(f"{row.title}, on {net.engine} ({net.device})")
    if real_images:
        demo_images(net, results, labels)
        return
    montages = [make_part(net, store, part, labels) for part in PARTS]
    typer.echo(f"every picture, with a record of how it was made: {store.folder}/regularized_opt")
    typer.echo("look at these first:")
    for path in montages:
        typer.echo(f"  {path}")
    typer.echo("and watch the net: deepvis fetch squeezenet --write-settings; deepvis view")


def make_part(net: Net, store: ResultStore, part: Part, labels: Labels) -> Path:
    """Make one part's pictures and their labelled montage; where the montage is."""
    from deepvis_caffe.figures.montage import captioned, montage
    from deepvis_caffe.image import write_image
    from deepvis_caffe.jobs.optimize import make_layer
    from deepvis_caffe.optimizer import ascent_params
    from deepvis_caffe.results.store import folder_name

    params = ascent_params("best")
    with progress_bar(f"{part.layer}, units {part.units}", "image steps") as report:
        made = make_layer(
            net, store, part.layer, part.units, [0], params, labels=labels, progress=report
        )
    cells = [
        captioned(
            store.cell(part.layer, unit.unit, 0),
            (unit.label or f"unit {unit.unit}").split(",")[0],
        )
        for unit in made
    ]
    path = store.folder / f"demo_{folder_name(part.layer)}.png"
    return write_image(path, montage(cells, columns=3, padding=6, fill=255))
