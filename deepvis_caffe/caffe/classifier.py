"""`Classifier`: a net that takes images of any size and returns class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepvis_caffe.caffe import io
from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.proto import caffe_pb2


class Classifier(Net):
    """A net that scales, crops and preprocesses its input images.

    Parameters
    ----------
    model_file, pretrained_file
        Paths of the prototxt and the caffemodel.
    image_dims
        (height, width) to which images are resized before they are cropped to the net's input; by
        default that input's size. Only `predict` uses it.
    mean, input_scale, raw_scale, channel_swap
        As the methods of `io.Transformer` take them.
    gpu, mean_file
        As in 2014: whether to call `set_mode_gpu` first, and the path of an ``.npy`` file with the
        mean.

    Attributes
    ----------
    transformer
        The `io.Transformer` of the net's first input.
    crop_dims
        (height, width) of that input when the net was loaded.
    image_dims
        As given, or `crop_dims`.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: io.Ints | None = None,
        mean: ArrayLike | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        *,
        gpu: bool = False,
        mean_file: str | None = None,
    ) -> None:
        if gpu:
            self.set_mode_gpu()
        if mean_file is not None:
            mean = np.load(mean_file)
        super().__init__(model_file, caffe_pb2.TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims: Any = self.crop_dims
        if image_dims is not None and np.any(image_dims):
            self.image_dims = image_dims

    def predict(self, inputs: io.Images, oversample: bool = True) -> io.Floats:
        """Classify images.

        Parameters
        ----------
        inputs
            Images (H, W, channels), each of any size.
        oversample
            Whether to average over the four corners, the center and their mirror images, instead
            of using only the center.

        Returns
        -------
        ndarray
            The net's first output: (number of images, classes), averaged if oversampled.

        Raises
        ------
        ShapeError
            There are no images, or `image_dims` is not a height and width that is at least as large
            as the net's input.
        """
        if not len(inputs):
            raise io.ShapeError("there are no images to classify")
        if np.ndim(inputs[0]) != 3:
            raise io.ShapeError(
                f"predict takes a list of images, (height, width, channels) each, as "
                f"caffe.io.load_image gives them: predict([image]); the first of these has shape "
                f"{np.shape(inputs[0])}"
            )
        if np.shape(self.image_dims) != (2,) or np.any(np.less(self.image_dims, self.crop_dims)):
            raise io.ShapeError(
                f"image_dims is {self.image_dims}: expected (height, width) of at least "
                f"{tuple(self.crop_dims.tolist())}, the size of the net's input"
            )
        name = self.inputs[0]
        images = np.stack([io.resize_image(image, self.image_dims) for image in inputs])
        if oversample:
            images = io.oversample(images, self.crop_dims)
        else:
            height, width = self.crop_dims
            top, left = (np.array(self.image_dims) - self.crop_dims) // 2
            images = images[:, top : top + height, left : left + width]
        fed: Any = {name: np.stack([self.transformer.preprocess(name, one) for one in images])}
        predictions = self.forward_all(**fed)[self.outputs[0]]
        if oversample:
            predictions = predictions.reshape(len(inputs), 10, -1).mean(1)
        return np.asarray(predictions)


def image_transformer(
    net: Net,
    mean: ArrayLike | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> io.Transformer:
    """The transformer of a net's first input, for (height, width, channels) images."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer
