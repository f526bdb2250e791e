"""The objective: one number per image, from the values of some layers, and sums of objectives.

``bind(net) -> (values by layer -> numbers (N,), diffs by layer)``. For the kinds of objectives see
`deepvis_caffe.optimizer.objectives`.
"""

from __future__ import annotations

import abc
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.input_window import Box
from deepvis_caffe.optimizer.targets import Position, Target

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

Values = Mapping[str, Any]  # the engine's own arrays (N, *shape), by the layer's name
Evaluate = Callable[[Values], tuple[Any, dict[str, Any]]]  # -> numbers (N,), diffs by layer
Origins = Mapping[str, tuple[int, ...]]  # offset of a layer's map in that of the whole image

NAME = 60  # characters of an objective's text in the names of its results


class Objective(abc.ABC):
    """One number per image, computed from the values of some layers."""

    @property
    @abc.abstractmethod
    def layers(self) -> tuple[str, ...]:
        """The names of the layers or blobs that it reads, each once."""

    @abc.abstractmethod
    def bind(self, net: Net, origins: Origins) -> Evaluate:
        r"""The function that an ascent evaluates.

        Parameters
        ----------
        net
            The net whose values it will be given.
        origins
            For layers whose map is only computed in part, the offset of that part.

        Returns
        -------
        callable
            Maps the layers' values (N, \*shape) to one number per image, (N,), and the diffs of
            the numbers' sum by layer. Values and diffs are the engine's own arrays; the numbers are
            an array of the net's `ArrayOps.for_numbers`.

        Raises
        ------
        UnknownNameError, SettingsError, EngineError, ImageError
            The net has no such layer, unit or position; the layer cannot run or has no units; or an
            image cannot be read.
        """

    @abc.abstractmethod
    def block(self, net: Net, layer: str) -> Box | None:
        """The part of a layer's map that it reads, (top, left, bottom, right); None for all of it.

        Ends are excluded.
        """

    @abc.abstractmethod
    def record(self) -> dict[str, Any]:
        """Everything that determines its value, as JSON types."""

    @abc.abstractmethod
    def __str__(self) -> str: ...

    @property
    def plain(self) -> tuple[str, Target, Position] | None:
        """The equivalent layer, target and position for `optimize`, if any."""
        return None

    @property
    def compares_images(self) -> bool:
        """Whether an image's number depends on the other images of the batch."""
        return False

    @property
    def title(self) -> str:
        """The title of its results."""
        return str(self)

    @property
    def name(self) -> str:
        """The title as part of a file name, with a digest of the record at the end."""
        text = re.sub(r"[^\w.+-]+", "_", self.title, flags=re.ASCII).strip("_.")[:NAME]
        record = json.dumps(self.record(), sort_keys=True).encode()
        return f"{text or 'objective'}-{hashlib.blake2b(record, digest_size=4).hexdigest()}"

    def named(self, title: str) -> Objective:
        """The same objective with `title` as the title of its results."""
        return _Sum(((1.0, self),), title)

    def __add__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return _Sum((*_terms(self), *_terms(other)))

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, Objective) or not is_number(factor):
            return NotImplemented
        return _Sum(tuple((float(factor) * own, term) for own, term in _terms(self)))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor) if is_number(divisor) else NotImplemented

    def __neg__(self) -> Objective:
        return self * -1

    def __sub__(self, other: Objective) -> Objective:
        return self + -other if isinstance(other, Objective) else NotImplemented

    def __repr__(self) -> str:
        return f"<objective {self}>"


@dataclass(frozen=True, eq=False, repr=False)
class _Sum(Objective):
    """A weighted sum of objectives."""

    terms: tuple[tuple[float, Objective], ...]
    called: str = ""

    def __post_init__(self) -> None:
        for factor, _ in self.terms:
            if not np.isfinite(factor):
                raise SettingsError(f"an objective's factor must be finite; got {factor}")

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, term in self.terms for name in term.layers))

    def block(self, net: Net, layer: str) -> Box | None:
        blocks = [term.block(net, layer) for _, term in self.terms if layer in term.layers]
        known = [block for block in blocks if block is not None]
        if len(known) < len(blocks):
            return None
        tops, lefts, bottoms, rights = zip(*known, strict=True)
        return min(tops), min(lefts), max(bottoms), max(rights)

    def bind(self, net: Net, origins: Origins) -> Evaluate:
        bound = [(factor, term.bind(net, origins)) for factor, term in self.terms]

        def evaluate(values: Values) -> tuple[Any, dict[str, Any]]:
            total: Any = 0
            diffs: dict[str, Any] = {}
            for factor, term in bound:
                numbers, own = term(values)
                total = total + factor * numbers
                for layer, diff in own.items():
                    diff = diff if factor == 1 else factor * diff
                    diffs[layer] = diffs[layer] + diff if layer in diffs else diff
            return total, diffs

        return evaluate

    @property
    def compares_images(self) -> bool:
        return any(term.compares_images for _, term in self.terms)

    def record(self) -> dict[str, Any]:
        return {"sum": [[factor, term.record()] for factor, term in self.terms]}

    @property
    def title(self) -> str:
        return self.called or str(self)

    def __str__(self) -> str:
        text = ""
        for factor, term in self.terms:
            sign, size = ("-" if factor < 0 else "+"), abs(factor)
            part = str(term) if size == 1 else f"{size:g}*{term}"
            start = "-" if sign == "-" else ""
            text = f"{text} {sign} {part}" if text else f"{start}{part}"
        return text


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    if isinstance(objective, _Sum) and not objective.called:
        return objective.terms
    return ((1.0, objective),)


def is_number(value: object) -> bool:
    """Whether a value is a real number of Python or numpy."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
