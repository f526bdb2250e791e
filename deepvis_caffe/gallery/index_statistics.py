"""What a pass over a dataset says of the units of a results folder: ``Results -> Results``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deepvis_caffe.dataset.correlation import correlation_of
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_scan
from deepvis_caffe.dataset.statistics import unit_statistics
from deepvis_caffe.errors import ImageError
from deepvis_caffe.gallery.results import LayerResults, Results

SCAN = Path("dataset", "scan.npz")  # in the results folder, where `deepvis top-images` has it


def with_statistics(results: Results) -> Results:
    """The same with the statistics of every unit that the folder's scan knows.

    A folder without a scan stays as it is; one that cannot be read is among what was left out.
    """
    path = results.folder / SCAN
    if not path.is_file():
        return results
    try:
        scan, _ = read_scan(path)
    except ImageError as error:
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
