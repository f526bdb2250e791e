"""``deepvis gallery DIR``: a static web page over a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepvis_caffe.cli.progress import progress_bar

MOST_SKIPPED = 5  # lines


def gallery(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="<file>", help="HTML file to write. Default: DIR/index.html."
        ),
    ] = None,
) -> None:
    """Write a web page for browsing a results folder.

    The page opens from disk: no server, no network. It shows the results of `deepvis optimize` and
    `deepvis top-images`, and those of the Deep Visualization Toolbox. It links to the images where
    they are; run the command again when there are new ones.
    """
    from deepvis_caffe.page.page import write_page
    from deepvis_caffe.results.index import read_results, with_statistics

    with progress_bar(f"reading {folder}", "files") as report:
        results = read_results(folder, report)
    results = with_statistics(results)
    path = write_page(results, out)
    for line in results.skipped[:MOST_SKIPPED]:
        typer.echo(f"left out: {line}", err=True)
    more = len(results.skipped) - MOST_SKIPPED
    if more > 0:
        typer.echo(f"left out: {more:,} more; the page lists them all", err=True)
    units = sum(len(layer.units) for layer in results.layers)
    typer.echo(f"{units:,} units of {len(results.layers):,} layers; open the page:", err=True)
    typer.echo(path)
