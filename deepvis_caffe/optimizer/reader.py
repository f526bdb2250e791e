"""What an ascent reads of its layer: ``x -> Reading``, from as few channels as tell.

Whether a unit is the highest of its layer takes all the layer's channels, and at the end of a
classifier they are a tenth of a step. But a unit that lies below one other is not the highest,
whatever the rest do. So, where looking is free, each image's unit is compared with the channels
that were the highest when all were read last, its rivals; all are read again when a unit beats
those. Once every image has been on top there is nothing more to compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepvis_caffe.optimizer.objective import Objective, Reading

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

FEW = 4  # rivals are worth their while where at most one channel in so many is read


class Reader:
    """Reads what an objective raises, exactly; a step's images after another's.

    Parameters
    ----------
    net, layer
        As in `Net.evaluate`.
    objective
        What is raised, of all channels.
    """

    def __init__(self, net: Net, layer: str, objective: Objective) -> None:
        self._net, self._layer, self._whole = net, layer, objective
        saves = net.saves_channels(layer)
        self._has_rivals = saves and net.ops.on_host
        self._part: Objective | None = None  # what is read in place of the whole
        self._settled = not saves  # whether there is nothing to look for any more
        self._undecided: Any = None  # of which images the part is to tell that they are not on top
        self._highest: Any = None  # channels, when the whole was read last
        self._rivals: set[int] = set()

    def __call__(self, x: Any) -> Reading:
        """For images (N, C, H, W), with those on top that are known to be for the first time.

        `Net.input_gradient` takes the reading's diff.
        """
        if self._part is not None:
            reading = self._read(x, self._part)
            if self._undecided is None or not bool((reading.on_top & self._undecided).any()):
                return reading._replace(on_top=reading.on_top & False)
            self._part = None  # until the next look: who beats some soon beats others
        reading = self._read(x, self._whole)
        self._highest = reading.highest
        return reading

    def look(self, undecided: Any) -> None:
        """Hear which images (N,) run and have not been on top yet; this waits for the device."""
        if self._settled:
            return
        if not bool(undecided.any()):
            self._settled = True
            self._set_part(self._whole.narrowed(), None)
        elif self._part is not None:
            self._undecided = undecided
        elif self._has_rivals and self._highest is not None:
            now = set(self._highest[undecided].tolist())
            # Those of before stay as long as there is room: they take turns.
            for rivals in (self._rivals | now, now):
                part = self._whole.narrowed(rivals)
                if part.channels and FEW * len(part.channels) <= self._whole.count:
                    self._set_part(part, undecided)
                    self._rivals = rivals
                    break

    def _set_part(self, part: Objective, undecided: Any) -> None:
        self._part = None if part is self._whole else part
        self._undecided = undecided

    def _read(self, x: Any, objective: Objective) -> Reading:
        return objective(self._net.evaluate(x, self._layer, objective.channels))
