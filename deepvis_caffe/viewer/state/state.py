"""The viewer's state: frozen values that know of no window or net.

Actions derive one state from another (`deepvis_caffe.viewer.state.actions`), panes draw it, and
the requests to the threads are derived from it.
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
# The attribution methods other than the backward modes.
OTHER_METHODS = tuple(name for name in METHODS if name not in BACKS)
DIFF_STYLES = ("raw", "gray", "norm", "blur", "positive", "signed", "heat")
# The Deep Visualization Toolbox's two boosts: an exponent, and how far each channel's own range
# replaces the layer's. The toolbox starts at 1 and 0, which leaves most of a first layer black.
GAMMAS = (0.7, 0.5, 0.3, 1.0)
INDIVIDUALS = (0.5, 0.8, 1.0, 0.0)
PAGE_UNITS = 4096  # more cells would be too small to see: larger layers are split into pages
COLORMAPS = ("gray", "inferno", "viridis", "magma", "cividis")

UnitRef = tuple[int, int]  # (index of a layer in the catalogue, unit)


@dataclass(frozen=True)
class State:
    """Everything the user can set or select.

    Attributes
    ----------
    layer, unit
        The selection: an index into the catalogue, and a unit of that layer.
    cursor
        Where the arrow keys move: in the list of layers, or in the grid of units.
    back, diff_style
        Backward mode or other attribution method, and the style in which its saliency map is shown.
    source
        The unit that the backward pass starts from, if it is frozen; None follows the selection.
    show_back
        Whether the grid shows diffs instead of activations.
    optimized
        Whether the grid shows each unit's optimized image instead.
    recipe
        The preferred recipe for units with optimized images of several recipes; empty shows the
        best available for each unit.
    weights
        Whether the grid shows each unit's weights instead.
    correlation
        Whether the grid shows the correlation of the layer's units, which overrides the above.
    drivers
        Whether the grid shows what drives the selected unit, which overrides the above.
    reach
        Where drivers are searched: in the stage below, or in the nearest layers.
    trail
        The units passed on the way down from driven to driving units, oldest first.
    by_number
        Whether the correlation matrix is ordered by unit number instead of similarity.
    order
        The selected layer's order by similarity, which the arrow keys follow; empty means by
        number.
    zoom, zoom_index
        What is enlarged to the whole window: the selected unit, the backward result, the input, or
        the unit's optimized images, top images or their deconv; and which of these, -1 for all.
    gamma, individual, colormap
        Indices into `GAMMAS`, `INDIVIDUALS` and `COLORMAPS`.
    labels, unit_images
        Whether class probabilities and the selected unit's images are shown.
    boxes
        Whether a detector's boxes are drawn on the input.
    synthesis
        Whether missing optimized images are made while the viewer is idle.
    frozen
        Whether the input is frozen.
    resize
        How a picture is fitted to the net's input: ``"crop"`` or ``"stretch"``.
    overlay
        Whether the selected unit's map is overlaid on the input.
    search, match
        The search query, None while the search is closed; and the index of the highlighted match.
    help, help_page
        Whether the help is open, and at which page.
    help_pages
        How many pages the help has at the current window size.
    timing
        Whether the status line shows timings.
    aspect
        Width divided by height of the grid's area; it determines the number of columns.
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
        """Whether the correlation is visible, not hidden by an enlarged picture."""
        return self.correlation and self.zoom == "off"

    @property
    def shows_drivers(self) -> bool:
        """Whether the drivers are visible, not hidden by an enlarged picture."""
        return self.drivers and self.zoom == "off"

    @property
    def sends_diffs(self) -> bool:
        """Whether a backward mode is set, which yields diffs in every layer below its source."""
        return self.back in BACKS[1:]

    @property
    def shows_heat(self) -> bool:
        """Whether the saliency map is shown as a heat map over the input."""
        return self.diff_style == "heat"

    @property
    def back_source(self) -> UnitRef:
        """The unit that the backward pass starts from."""
        return self.source or (self.layer, self.unit)


@dataclass(frozen=True)
class Scene:
    """The net on display; it does not change while the viewer runs.

    Attributes
    ----------
    entries
        The catalogue, with at least one entry.
    labels
        Class labels, in the net's order; may be empty.
    model
        The net's name, for the window's title.
    engine
        Engine and device: ``"torch, cpu"``.
    input_size
        (height, width) of the net's image input.
    box_score
        A detector's box is shown if its score is higher.
    finds_boxes
        Whether the net is a detector.
    opaque
        The blobs that cannot be shown; they are grayed out in the list of layers.
    methods
        Those of `OTHER_METHODS` that the engine can run.
    left_out
        Which it cannot run, and why; empty if it can run all.
    layer_names
        Display names in the list of layers, by entry name.
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
    """The units in the grid: all of the layer, or the page with the selected unit."""
    rows, columns = grid_shape(entry, state.aspect)
    page = rows * columns
    first = min(state.unit, max(entry.units - 1, 0)) // page * page
    return range(first, min(first + page, entry.units))


def grid_shape(entry: Entry, aspect: float) -> tuple[int, int]:
    """(rows, columns) of a layer's grid in an area `aspect` times as wide as high.

    They make the cells, which have the shape of the layer's maps, as large as possible. For a layer
    with more than `PAGE_UNITS` units this is the shape of one page.
    """
    height, width = (max(size, 1) for size in entry.map_size)
    if entry.is_vector or min(height, width) * 8 < max(height, width):
        height = width = 1  # numbers and very elongated maps get square cells
    count = min(max(entry.units, 1), PAGE_UNITS)
    ideal = math.sqrt(count * aspect * height / width)

    def size(columns: int) -> tuple[float, int, int]:
        """Sort key: (extent, number of cells, -columns)."""
        rows = math.ceil(count / columns)
        return max(rows * height, columns * width / aspect), rows * columns, -columns

    near = (1, math.floor(ideal), math.ceil(ideal))
    columns = min((min(max(one, 1), count) for one in near), key=size)
    return math.ceil(count / columns), columns
