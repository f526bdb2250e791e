"""What the viewer is set to: frozen values, without a window or a net.

Actions turn one state into another (`deepvis_caffe.viewer.state.actions`), panes draw it, and the
threads are asked for what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.attribution.drivers import Reach
from deepvis_caffe.model.labels import Labels
from deepvis_caffe.viewer.state.catalogue import Entry, Opaque

Cursor = Literal["layers", "units"]
Back = str  # one of `BACKS` or of `OTHER_METHODS`
Zoom = Literal["off", "unit", "back", "optimized", "top", "deconv", "input"]

BACKS: tuple[Back, ...] = ("off", "gradient", "deconv", "guided")
# The methods of attribution beside the backward modes, which are methods, too.
OTHER_METHODS = tuple(name for name in METHODS if name not in BACKS)
DIFF_STYLES = ("raw", "gray", "norm", "blur", "positive", "signed", "heat")
# Steps of the Deep Visualization Toolbox's two boosts: an exponent, and how far the range of each
# channel replaces that of the layer. Its first ones, 1 and 0, leave most of a first layer black.
GAMMAS = (0.7, 0.5, 0.3, 1.0)
INDIVIDUALS = (0.5, 0.8, 1.0, 0.0)
PAGE_UNITS = 4096  # more cells are too small to see: a larger layer is shown page by page
COLORMAPS = ("gray", "inferno", "viridis", "magma", "cividis")

UnitRef = tuple[int, int]  # index of a layer in the catalogue, and a unit of it


@dataclass(frozen=True)
class State:
    """What the viewer is set to.

    Attributes
    ----------
    layer, unit
        The selection: an index into the catalogue, and a unit of that layer.
    cursor
        What the arrow keys move in: the list of layers, or the grid of units.
    back, diff_style
        Mode of the backward pass, or another method of attribution; and the style in which its
        result at the input is shown.
    source
        The unit that the backward pass starts from, where it is frozen; None follows the selection.
    show_back
        Whether the grid shows diffs instead of activations.
    optimized
        Whether the grid shows each unit's optimized image instead.
    recipe
        The recipe whose optimized images are shown of units that have some of several; empty shows
        the best there is of each.
    weights
        Whether the grid shows each unit's weights instead.
    correlation
        Whether it shows the correlation of the layer's units, whatever else it is set to.
    drivers
        Whether it shows what drives the selected unit, whatever else it is set to.
    reach
        Where that is looked for: in the stage below, or in the nearest layers.
    trail
        The units that were left for one that drives them, the last one last.
    by_number
        Whether the units of the correlation are in order of their numbers, not of their similarity.
    order
        The order by similarity of the selected layer, which the arrow keys follow; empty is by
        number.
    zoom, zoom_index
        What fills the window: the selected unit, the backward result, the input, or the unit's
        optimized images, top images or their deconv; and which one of these, -1 for all.
    gamma, individual, colormap
        Indices into `GAMMAS`, `INDIVIDUALS` and `COLORMAPS`.
    labels, unit_images
        Whether class probabilities and the selected unit's images are shown.
    boxes
        Whether the boxes that a detector finds are drawn on the input.
    synthesis
        Whether a unit without optimized images gets some while the viewer is idle.
    frozen
        Whether the input is frozen.
    resize
        How a picture is brought to the input's size: ``"crop"`` or ``"stretch"``.
    overlay
        Whether the selected unit's map lies over the input.
    search, match
        What was typed to find a unit, None where none is searched for; and which of the matches is
        marked.
    help, help_page
        Whether the list of keys lies over everything, and which page of it.
    help_pages
        How many pages that has in the window.
    timing
        Whether the status line shows where the time goes.
    aspect
        Width divided by height of the room for the grid; it decides the grid's columns.
    scroll
        How many rows the list of layers is scrolled; None keeps the selection in view.
    """

    layer: int = 0
    unit: int = 0
    cursor: Cursor = "layers"
    back: Back = "off"
    diff_style: str = "raw"
    source: UnitRef | None = None
    show_back: bool = False
    optimized: bool = False
    recipe: str = ""
    weights: bool = False
    correlation: bool = False
    drivers: bool = False
    reach: Reach = "stage"
    trail: tuple[UnitRef, ...] = ()
    by_number: bool = False
    order: tuple[int, ...] = ()
    zoom: Zoom = "off"
    zoom_index: int = -1
    gamma: int = 0
    individual: int = 0
    colormap: int = 0
    labels: bool = True
    boxes: bool = True
    unit_images: bool = True
    synthesis: bool = True
    frozen: bool = False
    resize: Literal["crop", "stretch"] = "crop"
    overlay: bool = False
    search: str | None = None
    match: int = 0
    help: bool = False
    help_page: int = 0
    help_pages: int = 1
    timing: bool = False
    aspect: float = 1.0
    scroll: int | None = None

    @property
    def shows_correlation(self) -> bool:
        """Whether the grid's pane shows the correlation now, and nothing enlarged."""
        return self.correlation and self.zoom == "off"

    @property
    def shows_drivers(self) -> bool:
        """Whether the grid's pane shows what drives the unit now, and nothing enlarged."""
        return self.drivers and self.zoom == "off"

    @property
    def sends_diffs(self) -> bool:
        """Whether a backward pass is set, which leaves diffs in every layer below its source."""
        return self.back in BACKS[1:]

    @property
    def shows_heat(self) -> bool:
        """Whether the style of the diff is the one that lies over the input, as a heat map."""
        return self.diff_style == "heat"

    @property
    def back_source(self) -> UnitRef:
        """The unit that a backward pass starts from."""
        return self.source or (self.layer, self.unit)


@dataclass(frozen=True)
class Scene:
    """The net that is looked at: fixed while the viewer runs.

    Attributes
    ----------
    entries
        The catalogue, at least one.
    labels
        Class labels, in the net's order; may be empty.
    model
        The net's name, for the window's title.
    engine
        Engine and device: ``"torch, cpu"``.
    input_size
        (height, width) of the net's image input.
    box_score
        A box that a detector finds is shown if it scores higher.
    finds_boxes
        Whether the net is a detector.
    opaque
        The blobs that cannot be looked at; they are shown in gray among the layers.
    methods
        Those of `OTHER_METHODS` that the engine can run.
    left_out
        Which it cannot, and why; empty where it can run all.
    layer_names
        By the name of an entry what the list of layers calls it instead.
    """

    entries: tuple[Entry, ...]
    labels: Labels = ()
    model: str = ""
    engine: str = ""
    input_size: tuple[int, int] = (1, 1)
    box_score: float = 0.3
    finds_boxes: bool = False
    opaque: tuple[Opaque, ...] = ()
    methods: tuple[str, ...] = OTHER_METHODS
    left_out: str = ""
    layer_names: Mapping[str, str] = field(default_factory=dict)


def visible_units(entry: Entry, state: State) -> range:
    """The units whose cells the grid shows: all, or the page of the selected unit."""
    rows, columns = grid_shape(entry, state.aspect)
    page = rows * columns
    first = min(state.unit, max(entry.units - 1, 0)) // page * page
    return range(first, min(first + page, entry.units))


def grid_shape(entry: Entry, aspect: float) -> tuple[int, int]:
    """(rows, columns) of a layer's grid in a room `aspect` times as wide as high.

    They make the cells, which have the shape of the layer's maps, as large as possible. For a layer
    with more than `PAGE_UNITS` units this is the shape of a page.
    """
    height, width = (max(size, 1) for size in entry.map_size)
    if entry.is_vector or min(height, width) * 8 < max(height, width):
        height = width = 1  # a number, or a line of them, is a square
    count = min(max(entry.units, 1), PAGE_UNITS)
    ideal = math.sqrt(count * aspect * height / width)

    def size(columns: int) -> tuple[float, int, int]:
        """Sort key: (extent, number of cells, -columns)."""
        rows = math.ceil(count / columns)
        return max(rows * height, columns * width / aspect), rows * columns, -columns

    near = (1, math.floor(ideal), math.ceil(ideal))
    columns = min((min(max(one, 1), count) for one in near), key=size)
    return math.ceil(count / columns), columns
