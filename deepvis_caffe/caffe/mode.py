"""The device of nets, as set by ``caffe.set_mode_gpu()`` and related functions."""

from __future__ import annotations

import logging

from deepvis_caffe.engines.torch.device import choose_device
from deepvis_caffe.errors import EngineError

log = logging.getLogger(__name__)


class Mode:
    """The device of nets that are loaded from now on.

    Attributes
    ----------
    device
        ``"cpu"``, or a CUDA device.
    """

    def __init__(self) -> None:
        self.device, self._number = "cpu", 0

    def cpu(self) -> None:
        """Compute on the CPU."""
        self.device = "cpu"

    def gpu(self) -> None:
        """Compute on a GPU; if there is none, warn and stay on the CPU."""
        try:
            self.device = str(choose_device(f"cuda:{self._number}"))
        except EngineError as error:
            log.warning("set_mode_gpu has no effect, the net runs on the CPU: %s", error)

    def choose(self, number: int) -> None:
        """Choose the GPU with that index."""
        self._number = int(number)
        if self.device != "cpu":
            self.gpu()


mode = Mode()
