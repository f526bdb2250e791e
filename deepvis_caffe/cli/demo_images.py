"""``deepvis demo --real-images``: what excites some units most in photographs that are at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.cli.top_images import FOLDER, summary

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.labels import Labels

VIEWS = "views"  # the folder in the results that photographs are cut into
COUNT = 9  # shown of a unit
CANDIDATES = 64  # of which the shown are chosen, since views of one place are many
CELL = 260  # pixels of nine crops in the figure


class Part(NamedTuple):
    """Some units of a layer, and what a person sees in their crops."""

    layer: str
    units: dict[int, str]


# Units whose nine crops are alike, though there are few photographs.
PARTS = (
    Part("fire3/expand3x3", {41: "round lights", 56: "white", 11: "slopes", 33: "yellow spots"}),
    Part("fire5/expand3x3", {14: "round things", 48: "bows", 16: "rims"}),
    Part("fire8/expand3x3", {86: "discs in rows", 13: "pebbles", 22: "towers"}),
    Part("pool10", {967: "", 285: "", 665: ""}),  # classes have names
)


def demo_images(net: Net, results: Path, labels: Labels, photographs: tuple[str, ...] = ()) -> None:
    """Cut photographs into views, look through them, and show what excites some units.

    Parameters
    ----------
    photographs
        Of `deepvis_caffe.image.sample_images`; by default all of them.
    """
    from time import monotonic

    from deepvis_caffe.dataset.distinct import MOST, distinct
    from deepvis_caffe.dataset.run import scan_dataset, scan_recipe
    from deepvis_caffe.dataset.scan import ScanParams
    from deepvis_caffe.dataset.views import view_of, write_views
    from deepvis_caffe.gallery.top_pictures import make_top_pictures
    from deepvis_caffe.image import sample_image, sample_images

    names = photographs or sample_images(more=True)
    with progress_bar(f"cutting {len(names)} photographs", "views") as report:
        source = write_views({name: sample_image(name) for name in names}, results / VIEWS, report)
    params = ScanParams(tuple(part.layer for part in PARTS), CANDIDATES).for_net(net)
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
    for part in PARTS:
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


def write_figure(results: Path, part: Part, labels: Labels, count: int) -> Path:
    """One picture of a part: each unit's crops, and what in them excites it below."""
    from deepvis_caffe.gallery.figure import Cell, Row, figure
    from deepvis_caffe.gallery.store import folder_name
    from deepvis_caffe.gallery.top_pictures import IMAGES, picture_path
    from deepvis_caffe.image import read_image, write_image
    from deepvis_caffe.model.labels import label_of

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
