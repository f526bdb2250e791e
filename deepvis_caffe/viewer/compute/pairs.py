"""Two frames of a stream at a time, each on half of the cores: ``(frame, request) -> result``.

The threads of one pass wait for each other at the end of every layer. While the window is drawn on
one core, or a camera's picture is decoded there, all others wait for the pass's thread on that
core. Passes that run side by side do not wait for each other, so more frames per second are shown.
But each one takes longer, so frames are computed one at a time if that keeps up with the stream, or
if a pass is long.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.state.request import Frame, Request, Result

# Seconds that a frame may take. Beside other programs a pass on all cores is slowed down most.
ON_ALL_CORES, ON_HALF = 0.1, 0.25
PASSES = 5  # on all cores, of which the fastest counts: the first ones prepare a net
SLOWER = 1.4  # how much longer than that a pass may take while the window is drawn


class Pairs:
    """The two computations of a pair, and whether to use them.

    Only what :meth:`computation` returns may be called by two threads at once.

    Parameters
    ----------
    compute
        Computes one frame on all cores. Its net computes the pairs, too.
    """

    def __init__(self, compute: Compute) -> None:
        self._computes = compute, compute.another()
        self._threads = 0  # of each; 0 if there cannot be pairs, or before the first result
        self._came = -math.inf  # when the last frame of a stream came
        self._interval = math.inf  # mean seconds between two frames
        self._alone: deque[float] = deque(maxlen=PASSES)  # seconds of the last ones on all cores
        self._on_half = 0.0  # seconds of the last pass on half of them, since then

    def came(self, frame: Frame, now: float) -> None:
        """Note when a frame comes, in seconds."""
        apart, before = now - self._came, self._interval
        if not frame.live:
            self._came, self._interval = -math.inf, math.inf
            return
        usual = before / 10 < apart < 10 * before  # otherwise the stream paused, or is another one
        self._came, self._interval = now, 0.9 * before + 0.1 * apart if usual else apart

    def allowed(self, frame: Frame, request: Request) -> bool:
        """Whether this frame may be computed while another one is."""
        if not self._threads or len(self._alone) < PASSES or not _is_plain(frame, request):
            return False
        alone = min(self._alone)
        keeps_up = SLOWER * alone < self._interval
        return not keeps_up and alone < ON_ALL_CORES and self._on_half < ON_HALF

    def saw(self, result: Result, paired: bool) -> None:
        """Note what a frame took, on half of the cores or on all."""
        if not _is_plain(result.frame, result.request):
            return
        if paired:
            self._on_half = result.seconds
            return
        net = self._computes[0].net
        self._threads = net.ops.threads // 2 if net.reentrant else 0
        self._alone.append(result.seconds)
        self._on_half = 0.0

    def computation(self, which: int) -> Callable[[Frame, Request], Result]:
        """What computes a frame on half of the cores, for the first thread (0) or the second (1).

        It raises what `Compute` raises.
        """
        ops, threads = self._computes[0].net.ops, self._threads

        def compute(frame: Frame, request: Request) -> Result:
            with ops.on_threads(threads):
                return self._computes[which](frame, request)

        return compute


def _is_plain(frame: Frame, request: Request) -> bool:
    """Whether a forward pass is enough whose values nothing else will read."""
    return frame.live and request.source is None and request.drivers is None
