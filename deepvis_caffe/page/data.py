"""The data of a page, in JSON's types: ``Results -> index, parts``.

The index is embedded in the page. It holds what the lists and the search need: about ten bytes per
unit, and its label. Details of how the pictures were made are in parts, one file for
`UNITS_PER_PART` units each, which the page loads when it shows one of these units. A part is a
script that calls `deepvisPart`, because a page opened from disk may load scripts but not read
files.

A layer's correlation matrix is a part, too. The page draws it from the values, so that it can show
the r of the pair under the mouse; it could not read the pixels of a picture on disk. Half of the
matrix is stored, one byte per pair (`deepvis_caffe.figures.correlation_colors`): 0.7 MB for a layer
of a thousand units, loaded on demand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Any

import numpy as np

from deepvis_caffe.attribution.weight_drivers import WeightDriver, WeightDrivers
from deepvis_caffe.dataset.correlation import Correlation, Pairs
from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.figures.correlation_colors import NONE, STEPS, ZERO, colors, levels_of
from deepvis_caffe.results.index import LayerResults, Results, Run, UnitResults
from deepvis_caffe.results.layout import KINDS, MONTAGE, TREES
from deepvis_caffe.results.records import TopImage

Json = dict[str, Any]

UNITS_PER_PART = 128
HEIGHT = 999  # a history's points are integers from 0, its lowest value, to this
LONGEST_LABEL = 300  # characters

# Which pictures a unit has, as bits of one number.
BITS = {kind: 1 << bit for bit, kind in enumerate((MONTAGE, *KINDS, *TREES[1:]))}


def index_json(
    results: Results,
    base: str,
    parts: Sequence[Sequence[str]],
    matrices: Mapping[int, str] = MappingProxyType({}),
) -> Json:
    """The index, which is embedded in the page.

    Parameters
    ----------
    base
        The relative URL of the results folder; empty, or ends in a slash.
    parts
        The relative URLs of each layer's parts.
    matrices
        The relative URL of the correlation of each layer that has one, by the layer's index.
    """
    layers = zip(results.layers, parts, strict=True)
    return {
        "base": base,
        "bits": BITS,
        "unitsPerPart": UNITS_PER_PART,
        "height": HEIGHT,
        "layers": [
            {**_layer_json(layer, addresses), "correlation": matrices.get(number)}
            for number, (layer, addresses) in enumerate(layers)
        ],
        "stages": [
            {"extent": list(stage.extent), "layers": list(stage.layers), "reads": list(stage.reads)}
            for stage in results.stages
        ],
        "skipped": list(results.skipped),
    }


def part_texts(layer: LayerResults, number: int) -> Iterator[str]:
    """The text of each part of a layer; none if the layer has nothing but pictures.

    Parameters
    ----------
    number
        The layer's position in the index.
    """
    if not any(
        _has_runs(unit) or unit.top or unit.statistics or unit.drivers for unit in layer.units
    ):
        return
    for place, first in enumerate(range(0, len(layer.units), UNITS_PER_PART)):
        recipes = [recipe.name for recipe in layer.recipes]
        content = dumps(_part_json(layer.units[first : first + UNITS_PER_PART], recipes))
        yield f'deepvisPart("{number}.{place}", {content});\n'


def dumps(value: Any) -> str:
    """Compact ASCII JSON, without characters that are special in HTML."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _layer_json(layer: LayerResults, parts: Sequence[str]) -> Json:
    labels = [(unit.label or "")[:LONGEST_LABEL] for unit in layer.units]
    names = [recipe.name for recipe in layer.recipes]
    return {
        "name": layer.name,
        "folder": layer.folder,
        "count": layer.count,
        "recipes": [
            {"name": recipe.name, "within": recipe.within, "whole": recipe.whole_layer}
            for recipe in layer.recipes
        ],
        "units": [unit.unit for unit in layer.units],
        "labels": labels if any(labels) else None,
        # All pictures of a unit, and those by each recipe if there are several.
        "has": [_bits([*unit.pictures, *_kinds(unit, names)]) for unit in layer.units],
        "made": [[_bits(_kinds(unit, [name])) for unit in layer.units] for name in names]
        if len(names) > 1
        else None,
        "parts": list(parts),
        # Where the pictures belong to equivalent units of another layer.
        **(
            {"shownAs": [_shown_as_json(unit) for unit in layer.units]}
            if any(unit.shown_as for unit in layer.units)
            else {}
        ),
    }


def _shown_as_json(unit: UnitResults) -> Json | None:
    if unit.shown_as is None:
        return None
    own = unit.shown_as
    return {
        "layer": own.layer,
        "folder": own.folder,
        "unit": own.unit,
        "within": dict(own.within),
    }


def _has_runs(unit: UnitResults) -> bool:
    return any(made.runs for made in unit.optimized)


def _kinds(unit: UnitResults, recipes: Sequence[str]) -> set[str]:
    """The kinds of optimized pictures that a unit has by these recipes."""
    some = [made for made in unit.optimized if made.recipe in recipes]
    montage = {MONTAGE} if any(made.montage for made in some) else set()
    return montage | {kind for made in some for run in made.runs for kind in run.pictures}


def _bits(kinds: Iterable[str]) -> int:
    present = set(kinds)
    return sum(bit for kind, bit in BITS.items() if kind in present)


def _part_json(units: Sequence[UnitResults], recipes: Sequence[str]) -> Json:
    made: dict[Any, int] = {}  # parameters, written once for all runs that share them

    def run_json(run: Run, recipe: int) -> Json:
        record = run.record
        pictured = {"recipe": recipe, "seed": run.seed, "pictures": dict(run.pictures)}
        if record is None:
            return pictured
        return {
            **pictured,
            "down": record.push < 0,
            "made": made.setdefault(record.facts(), len(made)),
            "best": [record.best_iteration, _rounded(record.best_value)],
            "top": record.met_top_iteration,
            "stop": record.stop,
            "window": record.receptive_field_in_picture,
            "history": history_json(run),
        }

    runs = [
        [run_json(run, recipes.index(made.recipe)) for made in unit.optimized for run in made.runs]
        for unit in units
    ]
    part: Json = {"runs": runs, "made": [[list(fact) for fact in facts] for facts in made]}
    if any(unit.top for unit in units):
        part["top"] = [top_json(unit.top) for unit in units]
    if any(unit.statistics for unit in units):
        part["statistics"] = [statistics_json(unit.statistics) for unit in units]
    if any(unit.drivers for unit in units):
        part["drivers"] = [drivers_json(unit.drivers) for unit in units]
    return part


def top_json(images: Sequence[TopImage]) -> list[list[str | float | None]]:
    """[name, activation, class] of each top image, strongest first."""
    return [
        [
            image.name[:LONGEST_LABEL],
            _rounded(image.value),
            (image.class_name or "")[:LONGEST_LABEL],
        ]
        for image in images
    ]


def statistics_json(known: UnitStatistics | None) -> Json | None:
    """A unit's statistics over a dataset; an infinite edge of a histogram bin is null."""
    if known is None:
        return None
    return {
        "images": known.images,
        "mean": _rounded(known.mean),
        "deviation": _rounded(known.deviation),
        "zeros": _rounded(known.zeros),
        "active": _rounded(known.active),
        "highest": _rounded(known.highest),
        "dead": known.dead,
        "counts": list(known.bars.counts),
        "edges": [_rounded(edge) if isfinite(edge) else None for edge in known.bars.edges],
        "alike": _pairs_json(known.alike),
        "together": _pairs_json(known.together),
        "apart": _pairs_json(known.apart),
    }


def drivers_json(known: WeightDrivers | None) -> Json | None:
    """A unit's drivers by weight: [layer, unit, contribution] of each, strongest first."""
    if known is None:
        return None

    def listed(some: Sequence[WeightDriver]) -> list[list[str | int | float | None]]:
        return [[driver.layer, driver.unit, _rounded(driver.contribution)] for driver in some]

    return {
        "means": known.has_means,
        "raising": listed(known.raising),
        "lowering": listed(known.lowering),
    }


def _pairs_json(pairs: Pairs) -> list[list[float | None]]:
    return [[unit, _rounded(value)] for unit, value in pairs]


def history_json(run: Run) -> Json | None:
    """A run's history, its points scaled to integers from 0 to `HEIGHT`."""
    record = run.record
    if record is None or not record.activations:
        return None
    finite = [value for value in (*record.activations, record.best_value) if value is not None]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def point(value: float | None) -> int | None:
        if value is None:
            return None
        return round((value - low) / (high - low) * HEIGHT) if high > low else 0

    return {
        "length": run.length,
        "low": _rounded(low),
        "high": _rounded(high),
        "every": run.every,
        "points": [point(value) for value in record.activations],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def correlation_text(found: Correlation, number: int) -> str:
    """The text of the part with a layer's correlation.

    Parameters
    ----------
    number
        The layer's position in the index.
    """
    levels = levels_of(found.values[np.tril_indices(len(found.values))])  # row by row
    content = dumps(
        {
            "images": found.images,
            "order": list(found.order),
            "levels": base64.b64encode(levels.tobytes()).decode(),
            "none": NONE,
            "zero": ZERO,
            "steps": STEPS,
            "colors": colors().tolist(),
        }
    )
    return f'deepvisPart("{number}.correlation", {content});\n'
