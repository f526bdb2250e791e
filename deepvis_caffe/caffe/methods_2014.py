"""What a net of 2014 does itself: `Methods2014`, which later pycaffe has elsewhere.

Scripts of that year choose the phase and the device at the net, and preprocess images with it.
Since 2015 the phase is an argument of `Net`, the device is the module's, and images are
`io.Transformer`'s.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepvis_caffe.caffe import io
from deepvis_caffe.caffe.mode import mode

log = logging.getLogger(__name__)


def set_phase_test() -> None:
    """Do nothing: a net is in phase TEST unless it was made for TRAIN."""


def set_phase_train() -> None:
    """Warn: the phase is chosen when a net is made."""
    log.warning("set_phase_train has no effect: make the net with caffe.TRAIN instead")


class Methods2014:
    """Methods of a net that has `blobs`, by name, and the names of its `inputs`."""

    set_phase_test = staticmethod(set_phase_test)
    set_phase_train = staticmethod(set_phase_train)
    set_mode_cpu = staticmethod(mode.cpu)
    set_mode_gpu = staticmethod(mode.gpu)
    set_device = staticmethod(mode.choose)

    def set_mean(self, input_: str, mean: ArrayLike | str, mode: str = "elementwise") -> None:
        """Set the mean that `preprocess` subtracts.

        Parameters
        ----------
        input_
            Name of the input.
        mean
            An array as `io.Transformer.set_mean` takes it, or the path of an ``.npy`` file.
        mode
            ``"elementwise"``, or ``"channel"`` for the mean of each channel.
        """
        values = np.load(mean) if isinstance(mean, str | os.PathLike) else np.asarray(mean)
        if mode == "channel" and values.ndim == 3:
            values = values.mean((1, 2))
        self._transformer().set_mean(input_, values)

    def set_input_scale(self, input_: str, scale: float) -> None:
        """Set what an image is multiplied by after the mean is subtracted."""
        self._transformer().set_input_scale(input_, scale)

    def set_raw_scale(self, input_: str, scale: float) -> None:
        """Set what an image is multiplied by before the mean is subtracted."""
        self._transformer().set_raw_scale(input_, scale)

    def set_channel_swap(self, input_: str, order: Sequence[int]) -> None:
        """Set the order of the channels: (2, 1, 0) makes RGB into BGR."""
        self._transformer().set_channel_swap(input_, order)

    def preprocess(self, input_: str, image: Any) -> io.Floats:
        """Make an image (H, W, channels) into what the input takes: (channels, height, width)."""
        return self._transformer().preprocess(input_, np.array(image, np.float32))

    def deprocess(self, input_: str, data: Any) -> Any:
        """Make what the input takes into an image again, without resizing."""
        return self._transformer().deprocess(input_, data)

    def _transformer(self: Any) -> io.Transformer:
        """That of a `Classifier`, or one made now; for the inputs' present shapes."""
        shapes = {name: tuple(self.blobs[name].shape) for name in self.inputs}
        if "transformer" not in vars(self):
            self.transformer = io.Transformer(shapes)
            for name, shape in shapes.items():
                if len(shape) == 4:
                    self.transformer.set_transpose(name, (2, 0, 1))
        transformer: io.Transformer = self.transformer
        transformer.inputs = shapes
        return transformer
