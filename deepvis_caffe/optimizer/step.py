"""What can be seen of an ascent while it runs: one step of a batch, copied only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepvis_caffe.image import Picture
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.window import Box
from deepvis_caffe.optimizer.record import Floats
from deepvis_caffe.optimizer.targets import UnitName

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a batch of ascents, as `optimize` shows it to `watch`.

    It may be kept: the loop makes new images at each step and never writes into these.

    Attributes
    ----------
    step
        Its number, from 0.
    x
        The images that the net saw at it, (N, C, H, W), the engine's own array; where the net is
        shown random views, those that the views were taken of. Images that have ended may hold
        anything.
    steps
        How many there are, unless every image ends before.
    runs
        (unit, seed) of each image; the unit by its name, as in `AscentResult`.
    window
        The part of the net's input that they are, (top, left, bottom, right); None for all of it.
    net, preprocessor
        Whose the images are, and what turns them into pictures.
    """

    step: int
    x: Any = field(repr=False)
    steps: int
    runs: Sequence[tuple[UnitName, int]]
    window: Box | None
    net: Net = field(repr=False)
    preprocessor: Preprocessor = field(repr=False)

    def images(self) -> Floats:
        """A copy of the images on the host, (N, C, H, W) float32; on a GPU this waits for it."""
        return self.net.ops.numpy(self.x)

    def pictures(self, symmetric: bool = False) -> list[Picture]:
        """The images as pictures, (H, W, 3) RGB uint8 each: plus mean, or scaled about 0."""
        show = self.preprocessor.show_symmetric if symmetric else self.preprocessor.show
        return [show(image) for image in self.images()]
