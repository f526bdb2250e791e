"""Add a scan's statistics and the net's structure to results: ``(Results, Model) -> Results``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from deepvis_caffe.attribution.weight_drivers import Means, WeightDrivers, drivers_by_weights
from deepvis_caffe.dataset.correlation import correlation_of
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_scan
from deepvis_caffe.dataset.statistics import unit_statistics
from deepvis_caffe.errors import DeepVisError, ResultsError
from deepvis_caffe.model.graph import RAW, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.resolution import stages
from deepvis_caffe.model.same_units import same_units
from deepvis_caffe.model.unit_sources import makes_or_sums_units
from deepvis_caffe.results import layout
from deepvis_caffe.results.index import LayerResults, Results, ShownAs, StageResults, UnitResults

MOST_DRIVERS = 6  # units that raise a unit, and units that lower it


def with_statistics(results: Results) -> Results:
    """Add the statistics of every unit in the folder's scan.

    Without a scan, the results are unchanged. A scan that cannot be read is listed in `skipped`.
    """
    path = layout.scan_path(results.folder)
    if not path.is_file():
        return results
    try:
        scan, _ = read_scan(path)
    except ResultsError as error:
        return replace(results, skipped=(*results.skipped, str(error)))
    return replace(results, layers=tuple(_with_scan(layer, scan) for layer in results.layers))


def _with_scan(layer: LayerResults, scan: Scan) -> LayerResults:
    found = scan.layers.get(layer.name)
    if found is None or layer.count not in (None, found.units):  # of another net
        return layer
    units = (
        replace(unit, statistics=unit_statistics(scan, layer.name, unit.unit))
        if unit.unit < found.units
        else unit
        for unit in layer.units
    )
    correlation = correlation_of(found.moments, scan.images)
    return replace(layer, units=tuple(units), correlation=correlation)


def with_net(
    results: Results, model: Model, pictures_from: Mapping[str, str] | None = None
) -> Results:
    """Sort the layers in the order of the net, and add its stages.

    Layers that the net does not have come last. Results of another net are unchanged.

    A unit of a concatenation that has no pictures gets those of the equivalent unit; see
    `deepvis_caffe.model.same_units`.

    Parameters
    ----------
    pictures_from
        More layers, each with the layer whose units' pictures its units get, in the same order.
    """
    graph = model.graph
    results = _with_same_units(results, model, pictures_from or {})
    named = {blob: graph.producer[Value(blob)] for blob in graph.blobs} | dict(graph.by_name)
    place = {layout.plain_name(name): layer.index for name, layer in named.items()}  # no record
    place |= {name: layer.index for name, layer in named.items()}

    def key(layer: LayerResults) -> float:
        of_net = layer.model in (None, graph.name)
        return place.get(layer.name.removesuffix(RAW), math.inf) if of_net else math.inf

    ordered = tuple(sorted(results.layers, key=key))  # a stable sort
    names: dict[float, list[str]] = {}  # names of results, by the place of their layer in the net
    for layer in ordered:
        names.setdefault(key(layer), []).append(layer.name)
    if names.keys() == {math.inf}:
        return results
    stages = tuple(_shown_stages(model, names))
    return replace(results, layers=ordered, stages=stages, net=graph.name)


def _with_same_units(results: Results, model: Model, pictures_from: Mapping[str, str]) -> Results:
    of_net = [layer for layer in results.layers if layer.model in (None, model.graph.name)]
    by_folder = {layer.folder: layer for layer in of_net}
    layers = {layer.folder: layer for layer in results.layers}
    added: dict[str, LayerResults] = {}  # by folder: layers with units of others added
    joins = [layer.tops[0].blob for layer in model.graph if layer.type == "Concat"]
    blobs = dict.fromkeys([*joins, *(blob for blob in pictures_from if blob in model.graph.blobs)])
    for blob in blobs:
        writer = model.graph.producer[Value(blob)].name
        folders = [layout.plain_name(name) for name in (writer, blob)]
        own = next((by_folder[folder] for folder in folders if folder in by_folder), None)
        if own is None and any(folder in layers or folder in added for folder in folders):
            continue  # of another net
        shape = model.shapes.get(model.graph.blobs[blob], ())
        own = own or LayerResults(writer, folders[0], (*shape, 1, 1)[1], (), None, ())
        units = {unit.unit: unit for unit in own.units}
        recipes = {recipe.name: recipe for recipe in own.recipes}
        for same in same_units(model, blob, pictures_from):
            named = (by_folder.get(layout.plain_name(name)) for name in same.names)
            for other in filter(None, named):
                within = {recipe.name: recipe.within for recipe in other.recipes}
                there = {unit.unit: unit for unit in other.units}
                for unit, number in same.units.items():
                    if unit in units or number not in there:
                        continue
                    shown_as = ShownAs(other.name, other.folder, number, within)
                    units[unit] = replace(there[number], unit=unit, shown_as=shown_as)
                    recipes = {recipe.name: recipe for recipe in other.recipes} | recipes
        if units.keys() == {unit.unit for unit in own.units}:
            continue
        added[own.folder] = replace(
            own,
            units=tuple(units[unit] for unit in sorted(units)),
            recipes=tuple(
                recipe if recipe in own.recipes else replace(recipe, whole_layer=False)
                for recipe in recipes.values()
            ),
        )
    return replace(results, layers=tuple((layers | added).values())) if added else results


def _shown_stages(model: Model, names: Mapping[float, list[str]]) -> Iterator[StageResults]:
    """The stages that have units or results; others are replaced by what they read."""
    places: dict[int, set[int]] = {}  # for each stage of the net, the shown ones that stand for it
    shown = 0
    for number, stage in enumerate(stages(model)):
        listed = [
            name
            for layer in stage.layers
            for name in names.get(layer.index, [layer.name] * makes_or_sums_units(model, layer))
        ]
        reads = {place for read in stage.reads for place in places.get(read, ())}
        places[number] = {shown} if listed else reads
        if listed:
            yield StageResults(stage.extent, tuple(listed), tuple(sorted(reads)))
            shown += 1


def with_drivers(results: Results, model: Model) -> Results:
    """Add to every unit its drivers by the net's weights.

    If the folder has a scan of the layers below, their mean activations are taken into account.
    Layers of another net and units without weights of their own are unchanged.

    Parameters
    ----------
    model
        The net, with its weights.
    """
    means: Means = {}
    path = layout.scan_path(results.folder)
    if path.is_file():
        try:
            means = read_scan(path)[0].means
        except ResultsError:  # `with_statistics` reports it
            means = {}
    layers = (_with_unit_drivers(layer, model, means) for layer in results.layers)
    return replace(results, layers=tuple(layers))


def _with_unit_drivers(layer: LayerResults, model: Model, means: Means) -> LayerResults:
    if layer.model not in (None, model.graph.name):
        return layer
    units = tuple(
        replace(unit, drivers=_drivers_of(layer, unit, model, means)) for unit in layer.units
    )
    return replace(layer, units=units)


def _drivers_of(
    layer: LayerResults, unit: UnitResults, model: Model, means: Means
) -> WeightDrivers | None:
    try:
        found = drivers_by_weights(model, layer.name, unit.unit, means, count=None)
    except DeepVisError:  # no such layer, or no weights
        return None
    return replace(found, drivers=(*found.raising[:MOST_DRIVERS], *found.lowering[:MOST_DRIVERS]))
