"""The labels that the settings name, for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from deepvis_caffe.settings import Settings

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.labels import Labels


def labels_for(settings: Settings, net: Net) -> Labels:
    """Read them, and say where no layer of the net has as many units; none are named: none."""
    from deepvis_caffe.model.labels import labels_fit, read_labels

    if settings.labels is None:
        return ()
    labels = read_labels(settings.labels)
    if not labels_fit(labels, net.shapes.values()):
        typer.echo(
            f"no layer has as many units as {settings.labels} has names ({len(labels)}): they are "
            "left out",
            err=True,
        )
    return labels
