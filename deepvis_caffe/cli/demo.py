"""``deepvis demo``: fetch a real ImageNet model and make its first images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from deepvis_caffe.cli.progress import progress_bar

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.gallery.store import ResultStore
    from deepvis_caffe.model.labels import Labels

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
    from deepvis_caffe.cli.demo_images import demo_images
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.fetch import fetch, known_models
    from deepvis_caffe.gallery.store import ResultStore
    from deepvis_caffe.model.labels import read_labels

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
    from deepvis_caffe.gallery.layer import make_layer
    from deepvis_caffe.gallery.montage import captioned, montage
    from deepvis_caffe.gallery.store import folder_name
    from deepvis_caffe.image import write_image
    from deepvis_caffe.optimizer import ascent_params

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
