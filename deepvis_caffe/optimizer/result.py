"""What an ascent found for one unit and seed; it shows itself in a notebook."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from typing import Any

from deepvis_caffe.image import Picture, encode_png
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.window import Box
from deepvis_caffe.optimizer.objective import Position
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.record import Floats, MetTop, Stop
from deepvis_caffe.optimizer.targets import UnitName

SHOWN = 36  # results that a notebook shows


@dataclass(frozen=True, eq=False)
class AscentResult:
    """The outcome of one ascent.

    Attributes
    ----------
    layer, seed, position
        As they were asked for.
    unit
        The channel; of another target its name, see `deepvis_caffe.optimizer.targets.name_of`.
    image
        The best x, (C, H, W) float32: the net's units and channel order, mean subtracted.
    window
        The part of the net's input that `image` is, (top, left, bottom, right) in pixels, ends
        excluded; None where it is all of it.
    objective
        (steps,) float32, the unit's activation at every step; of the whole channel its sum.
    best_iteration
        The step of `image`: of the highest activation, the lowest where ``params.push`` is -1. None
        where no activation was finite; `image` is then the start.
    met_top
        The first x for which the unit was the highest of its layer; None where it never was.
    stop
        ``"finished"``, ``"zero gradient"`` (exactly 0: nothing to climb, as below a dead unit),
        ``"not finite"`` (an activation or gradient became NaN or infinite) or ``"cancelled"``.
    params
        What the ascent did.
    engine, version
        Which engine ran it, of which version of this package.
    preprocessor
        Turns `image` into pictures.
    """

    layer: str
    unit: UnitName
    seed: int
    position: Position
    image: Floats = field(repr=False)
    window: Box | None
    objective: Floats = field(repr=False)
    best_iteration: int | None
    met_top: MetTop | None
    stop: Stop
    params: AscentParams
    engine: str
    version: str
    preprocessor: Preprocessor = field(repr=False)

    @property
    def best_value(self) -> float:
        """The activation of `image`; NaN where none was finite."""
        best = self.best_iteration
        return float("nan") if best is None else float(self.objective[best])

    def picture(self) -> Picture:
        """The best x plus the mean, (H, W, 3) RGB uint8 (the toolbox's ``best_Xpm``)."""
        return self.preprocessor.show(self.image)

    def symmetric_picture(self) -> Picture:
        """The best x scaled about 0, so that 0 is mid-gray (the toolbox's ``best_X``)."""
        return self.preprocessor.show_symmetric(self.image)

    def record(self) -> dict[str, Any]:
        """Everything but the images, in JSON's types."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "seed": self.seed,
            "position": self.position if isinstance(self.position, str) else [*self.position],
            "window": self.window and [*self.window],
            "best_iteration": self.best_iteration,
            "best_value": self.best_value,
            "met_top_iteration": self.met_top.iteration if self.met_top else None,
            "stop": self.stop,
            "params": self.params.record(),
            "engine": self.engine,
            "version": self.version,
            "objective": [float(value) for value in self.objective],
        }

    def _repr_png_(self) -> bytes:
        return encode_png(self.picture())

    def _repr_html_(self) -> str:
        pictures = "".join(
            f'<img src="data:image/png;base64,{base64.b64encode(encode_png(picture)).decode()}">'
            for picture in (self.picture(), self.symmetric_picture())
        )
        best = "none" if self.best_iteration is None else f"step {self.best_iteration}"
        caption = (
            f"{escape(self.layer)} unit {self.unit}, seed {self.seed}: {self.best_value:.4g} "
            f"(best: {best} of {len(self.objective)}, {self.stop})"
        )
        return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


class AscentResults(list[AscentResult]):
    """Results in order; in a notebook the first `SHOWN` of them show themselves."""

    def _repr_html_(self) -> str:
        more = len(self) - SHOWN
        shown = "".join(result._repr_html_() for result in self[:SHOWN])
        return shown + (f"<p>and {more:,} more</p>" if more > 0 else "")
