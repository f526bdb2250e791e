"""Scenes for tests: a catalogue made by hand, without a net."""

from __future__ import annotations

from deepvis_caffe.viewer.state.catalogue import Entry, layout_of
from deepvis_caffe.viewer.state.state import Scene


def entry(name: str, *shape: int, type_: str = "Convolution", layer: str = "") -> Entry:
    """An entry whose blob has this shape for one image, and whose units can be classes."""
    units, map_size = layout_of(shape)
    return Entry(name, layer or name, type_, shape, units, map_size, classes=True)


def scene(*entries: Entry, labels: tuple[str, ...] = ()) -> Scene:
    """A scene of these entries, by default of three layers of 12, 5 and 4 units."""
    default = (
        entry("conv1", 1, 12, 6, 6),
        entry("pool1", 1, 5, 3, 3, type_="Pooling"),
        entry("fc", 1, 4, type_="InnerProduct"),
    )
    return Scene(entries or default, labels, "Hand", "torch, cpu", (16, 16))
