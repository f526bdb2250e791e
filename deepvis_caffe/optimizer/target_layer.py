"""What is maximized, in a net: ``(net, layer and position, or objective) -> TargetLayer``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.input_window import (
    Box,
    InputWindow,
    common_window,
    keeps_shapes,
    window_of,
)
from deepvis_caffe.optimizer.batching import resolve_batch_size
from deepvis_caffe.optimizer.objective import Objective
from deepvis_caffe.optimizer.shapes import unit_shape
from deepvis_caffe.optimizer.targets import (
    Position,
    Target,
    check_targets,
    numbered,
    plain_position,
    resolve_position,
)

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

Crop = Literal["auto", "off"]


@dataclass(frozen=True)
class TargetLayer:
    """A layer whose units are maximized, or an objective, which may read several.

    Attributes
    ----------
    name
        As for `optimize`; for an objective, the first layer that it names, whose folder gets its
        results.
    shape
        Without the batch axis.
    position
        As for `optimize`: ``"center"``, ``"all"`` or one index per axis.
    index
        The position in this layer: one index per axis, or None for all positions.
    receptive_field
        The receptive field of a unit at this position, (top, left, bottom, right) in pixels; None
        if unknown.
    objective
        The objective to maximize instead of units; None for units.
    """

    name: str
    shape: tuple[int, ...]
    position: Literal["center", "all"] | tuple[int, ...]
    index: tuple[int, ...] | None
    receptive_field: Box | None
    objective: Objective | None = None

    @classmethod
    def of(cls, net: Net, name: str, position: Position = "center") -> TargetLayer:
        """Resolve a layer of a net, and a position in it.

        Raises
        ------
        EngineError, SettingsError
            The layer cannot run, has no gradient, no units, or not this position.
        """
        net.check_gradient(name)
        shape = unit_shape(net, name)
        index = resolve_position(position, shape, name)
        field = net.model.receptive_fields.get(net.model.graph.gradient_start(name))
        seen = None
        if field is not None and index is not None and len(index) == 2:
            rows, columns = field.window(*index)
            seen = rows.start, columns.start, rows.stop, columns.stop
        return cls(name, shape, plain_position(position), index, seen)

    @classmethod
    def of_objective(cls, net: Net, objective: Objective) -> tuple[TargetLayer, list[Target]]:
        """Resolve an objective into a layer and its targets.

        An objective that is only a unit, a direction or a layer becomes that target of its layer.

        Raises
        ------
        UnknownNameError, EngineError, SettingsError, ImageError
            As `Objective.bind`.
        """
        if objective.plain:
            name, target, position = objective.plain
            layer = cls.of(net, name, position)
            return layer, layer.check([numbered(net, name, target)])
        for name in objective.layers:
            if name not in net.inputs:
                net.check_gradient(name)
        objective.bind(net, {})  # checks that what it refers to exists
        name = objective.layers[0]
        own = cls(name, unit_shape(net, name), "all", None, None, objective)
        return own, own.check([objective.name])

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the layers that are read, each once."""
        return self.objective.layers if self.objective else (self.name,)

    @property
    def count(self) -> int:
        """Number of units."""
        return self.shape[0] if self.shape else 1

    def check(self, targets: Iterable[Any]) -> list[Target]:
        """`targets` as Python types; raises `SettingsError` if the layer does not have one.

        An objective has a single target, its name.
        """
        if self.objective:
            return [self.objective.name]  # type: ignore[list-item]
        return check_targets(targets, self.shape, self.name)

    def windows(self, net: Net, crop: Crop) -> dict[str, InputWindow]:
        """The part of the input that runs, by layer but the same for all; empty for all of it."""
        if crop not in get_args(Crop):
            raise SettingsError(f"crop must be 'auto' or 'off'; got {crop!r}")
        if crop == "off":
            return {}
        graph = net.model.graph
        if not self.objective:
            window = window_of(net.model, graph.gradient_start(self.name), self.index)
            return {self.name: window} if window else {}
        blocks = {name: self.objective.block(net, name) for name in self.objective.layers}
        starts = {name: graph.gradient_start(name) for name in blocks}
        known = {starts[name]: block for name, block in blocks.items() if block}
        if len(known) < len(blocks):  # one is read entirely, or two names mean the same value
            return {}
        found = common_window(net.model, known)
        return {name: found[starts[name]] for name in blocks} if found else {}

    def takes_size(self, net: Net, size: tuple[int, int]) -> bool:
        """Whether the layer, or all that the objective reads, has the same shape at another size.

        Parameters
        ----------
        size
            Height and width of the image.
        """
        graph = net.model.graph
        starts = [graph.gradient_start(name) for name in self.reads]
        return keeps_shapes(net.model, starts, size)

    def batch_size(self, net: Net, crop: Crop, images: int, wanted: int | None = None) -> int:
        """The batch size; see `resolve_batch_size`."""
        windows = list(self.windows(net, crop).values())
        window = windows[0] if windows else None
        graph = net.model.graph
        below = {name: len(graph.ancestors([graph.gradient_start(name)])) for name in self.reads}
        size = images
        for name in sorted(self.reads, key=below.__getitem__, reverse=True):  # the costliest first
            size = resolve_batch_size(net, name, wanted, size, window)
            wanted = size
        return size
