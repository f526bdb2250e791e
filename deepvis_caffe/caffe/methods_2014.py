"""`Methods2014`: methods of a net in 2014, which later pycaffe has elsewhere.

Scripts of that year set the phase and the device on the net, and preprocess images with it. Since
2015 the phase is an argument of `Net`, the device is set on the module, and `io.Transformer`
preprocesses images.
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
    """A mixin for a net that has `blobs`, by name, and the names of its `inputs`."""

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
        """Set the factor applied after the mean is subtracted."""
        self._transformer().set_input_scale(input_, scale)

    def set_raw_scale(self, input_: str, scale: float) -> None:
        """Set the factor applied before the mean is subtracted."""
        self._transformer().set_raw_scale(input_, scale)

    def set_channel_swap(self, input_: str, order: Sequence[int]) -> None:
        """Set the order of the channels: (2, 1, 0) turns RGB into BGR."""
        self._transformer().set_channel_swap(input_, order)

    def preprocess(self, input_: str, image: Any) -> io.Floats:
        """Convert an image (H, W, channels) to the input's form: (channels, height, width)."""
        return self._transformer().preprocess(input_, np.array(image, np.float32))

    def deprocess(self, input_: str, data: Any) -> Any:
        """Convert an input back to an image, without resizing."""
        return self._transformer().deprocess(input_, data)

    def _transformer(self: Any) -> io.Transformer:
        """The transformer of a `Classifier`, or a new one; for the inputs' current shapes."""
        shapes = {name: tuple(self.blobs[name].shape) for name in self.inputs}
        if "transformer" not in vars(self):
            self.transformer = io.Transformer(shapes)
            for name, shape in shapes.items():
                if len(shape) == 4:
                    self.transformer.set_transpose(name, (2, 0, 1))
        transformer: io.Transformer = self.transformer
        transformer.inputs = shapes
        return transformer
