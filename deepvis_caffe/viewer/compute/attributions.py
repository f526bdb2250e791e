"""Attribution for the frame of the last forward pass: ``(source, method) -> map, or why not``.

Methods with few passes are computed with the frame. Those with many passes run after the frame is
shown, and are abandoned once something else is requested; the net handles newer frames between
their batches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.attribution.score import Score
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import in_words
from deepvis_caffe.image import Floats
from deepvis_caffe.viewer.state.catalogue import Entry

log = logging.getLogger(__name__)

NEEDS_REST = "it takes many passes: freeze the input with f"


class Attributed(NamedTuple):
    """The result of an attribution method.

    Attributes
    ----------
    map
        (C, H, W) or (H, W), as from `deepvis_caffe.attribute`; None if there is none.
    why_not
        Why there is none.
    """

    map: Floats | None
    why_not: str = ""


class Abandoned(Exception):
    """Raised between the batches of a method whose result is no longer needed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameScore(Score):
    """A unit's score whose gradient at the frame itself reuses the last forward pass.

    Attributes
    ----------
    frame
        (1, C, H, W), the input of that pass.
    sent
        ``mode -> (C, H, W)``: the diff at the image input, seeded with the score's weights.
    """

    frame: Floats
    sent: Callable[[str], Floats]

    def gradients(self, images: Floats, mode: str = "gradient") -> Floats:
        """See `Score.gradients`."""
        if images is self.frame:
            return self.sent(mode)[np.newaxis]
        return super().gradients(images, mode)


def frame_score(
    net: Net,
    entry: Entry,
    unit: int,
    values: Floats,
    frame: Floats,
    send: Callable[[Floats, str], Floats],
    between: Callable[[], None] = lambda: None,
) -> FrameScore:
    """The score of a unit of an entry.

    Parameters
    ----------
    values
        The blob's values for the frame.
    frame
        (1, C, H, W).
    send
        ``(diff of the blob, mode) -> (C, H, W)``: the diff at the image input.
    between
        See `Score`.
    """
    rows = values if values.ndim > 1 else values.reshape(1, -1)  # a single axis counts units
    plain = Score.of_values(net, rows, entry.layer, unit)
    diff = plain.diff(rows.shape).reshape(values.shape)
    return FrameScore(
        net,
        plain.layer,
        plain.unit,
        plain.weights,
        plain.activation,
        plain.has_channels,
        between,
        frame=frame,
        sent=lambda mode: send(diff, mode),
    )


def attributed(score: FrameScore, method: str) -> Attributed:
    """Apply a method to the frame; errors are returned as text, so that the result survives.

    Raises
    ------
    Abandoned
        Raised by the score's `between`.
    """
    chosen = METHODS[method]
    try:
        if chosen.by_gradient:
            score.net.check_gradient(score.layer)
        return Attributed(chosen.run(score, score.frame))
    except Abandoned:
        raise
    except Exception as error:
        log.debug("no %s of %s, unit %d", method, score.layer, score.unit, exc_info=error)
        return Attributed(None, in_words(error))
