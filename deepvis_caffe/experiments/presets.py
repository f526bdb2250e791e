"""Presets side by side: ``(variants of one unit, presets by name) -> figure and record``.

Like the figure of the gorilla unit in Yosinski et al. 2015: four regularizations complement each
other; some pictures show high frequencies, others low ones; some are dense, others sparse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepvis_caffe.experiments.variants import Variants
from deepvis_caffe.figures.figure import Cell, grid
from deepvis_caffe.figures.montage import montage
from deepvis_caffe.image import Picture, write_image
from deepvis_caffe.optimizer.params import AscentParams, in_words
from deepvis_caffe.results.layout import record_of
from deepvis_caffe.results.records import Record, write_record

Presets = Mapping[int | str, AscentParams]


def write_comparison(
    variants: Variants, presets: Presets, path: Path, columns: int, cell: int
) -> None:
    """Write the figure of finished runs by each preset, and a record beside it.

    Parameters
    ----------
    variants
        Of one unit; each seed gives one picture per preset.
    presets
        Parameters by the preset's number or name, in the order of the figure.
    path
        The figure, .png or .jpg.
    columns
        Presets per row.
    cell
        Size of a preset's block of pictures, in pixels.
    """
    (unit,) = variants.units
    cells = [
        Cell(
            block(variants, params),
            (f"preset {name}, a = {reached(variants, params)}", in_words(params)),
        )
        for name, params in presets.items()
    ]
    title = f"{variants.title(unit)}: {len(variants.seeds)} random starts by each preset"
    write_image(path, grid(cells, min(columns, len(cells)), cell, title, text=14))
    write_record(record_of(path), comparison_record(variants, presets))


def block(variants: Variants, params: AscentParams) -> Picture:
    """The pictures of one preset, in a square."""
    (unit,) = variants.units
    cells = [variants.cell(params, unit, seed) for seed in variants.seeds]
    return montage(cells, padding=3, fill=255)


def reached(variants: Variants, params: AscentParams) -> str:
    """The range of the activations that the seeds reached, as text."""
    (unit,) = variants.units
    records = (variants.record(params, unit, seed) for seed in variants.seeds)
    values = [record["best_value"] for record in records if record["best_value"] is not None]
    if not values:
        return "not finite"
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def comparison_record(variants: Variants, presets: Presets) -> Record:
    """The record beside the figure: every preset with its parameters and activations."""
    (unit,) = variants.units
    return {
        "layer": variants.layer,
        "unit": unit,
        "label": variants.label(unit),
        "seeds": list(variants.seeds),
        "presets": [
            {
                "preset": name,
                "params": params.record(),
                "activations": [
                    variants.record(params, unit, seed)["best_value"] for seed in variants.seeds
                ],
            }
            for name, params in presets.items()
        ],
    }
