"""Attribution of the frame that the net ran last: ``(source, method) -> map, or why not``.

What takes a few passes is computed with the frame. What takes many waits until the frame is shown,
and is given up when something else is to be shown; between its batches the net serves newer frames.
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
    """What a method says.

    Attributes
    ----------
    map
        (C, H, W) or (H, W), as that of `deepvis_caffe.attribute`; None where there is none.
    why_not
        Why there is none.
    """

    map: Floats | None
    why_not: str = ""


class GivenUp(Exception):
    """Raised between the batches of a method whose result nobody waits for any more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameScore(Score):
    """A unit's score whose gradient for the frame itself goes through the pass that was run.

    Attributes
    ----------
    frame
        (1, C, H, W), what the net ran.
    sent
        ``mode -> (C, H, W)``: the diff that arrives at the image from the score's weights.
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
        The blob's, of the frame.
    frame
        (1, C, H, W).
    send
        ``(diff of values' shape, mode) -> (C, H, W)``, what arrives at the image.
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
    """What a method says of the frame; an error becomes words, and the rest of the screen stays.

    Raises
    ------
    GivenUp
        The score's `between` did.
    """
    chosen = METHODS[method]
    try:
        if chosen.by_gradient:
            score.net.check_gradient(score.layer)
        return Attributed(chosen.run(score, score.frame))
    except GivenUp:
        raise
    except Exception as error:
        log.debug("no %s of %s, unit %d", method, score.layer, score.unit, exc_info=error)
        return Attributed(None, in_words(error))
