"""Two frames of a stream at a time, each on half of the cores: ``(frame, request) -> result``.

The threads of one pass wait for each other at the end of every layer. While the window is drawn on
one core, or a camera's picture is decoded there, all others wait for the pass's thread on that
core. Passes that run side by side do not wait for each other, so more frames per second are shown.
But each one takes longer, so a net whose passes are long computes one frame at a time.
"""

from __future__ import annotations

from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.state.request import Frame, Request, Result

# Seconds that a frame may take. Beside other programs a pass on all cores is slowed down most.
ON_ALL_CORES, ON_HALF = 0.08, 0.25


class Pairs:
    """The two computations of a pair, and whether to use them.

    Parameters
    ----------
    compute
        Computes one frame on all cores. Its net computes the pairs, too.
    """

    def __init__(self, compute: Compute) -> None:
        self._computes = compute, compute.another()
        self._threads = 0  # of each; 0 while frames are computed one by one

    def allowed(self, frame: Frame, request: Request) -> bool:
        """Whether this frame may be computed while another one is."""
        plain = request.source is None and request.drivers is None  # a forward pass is enough
        return self._threads > 0 and frame.live and plain

    def saw(self, result: Result) -> None:
        """Decide by what the last frame took; called on the thread that computes single frames."""
        net = self._computes[0].net
        whole = net.ops.threads
        short = result.seconds < (ON_HALF if self._threads else ON_ALL_CORES)
        self._threads = whole // 2 if net.reentrant and short else 0

    def __call__(self, which: int, frame: Frame, request: Request) -> Result:
        """Compute a frame on half of the cores; `which` is 0 or 1.

        Raises
        ------
        DeepVisError
            As for `Compute`.
        """
        loaded = self._computes[0].net
        with loaded.ops.on_threads(max(1, self._threads)):
            return self._computes[which](frame, request)
