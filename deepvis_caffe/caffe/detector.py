"""`Detector`: a net that classifies windows of images, as R-CNN does.

Girshick et al. 2014, "Rich feature hierarchies for accurate object detection and semantic
segmentation", https://arxiv.org/abs/1311.2524
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepvis_caffe.caffe import io
from deepvis_caffe.caffe.classifier import image_transformer
from deepvis_caffe.caffe.net import Net
from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.errors import EngineError

Array = NDArray[Any]


class Detector(Net):
    """A net that crops, warps and preprocesses windows of images.

    Parameters
    ----------
    model_file, pretrained_file
        Paths of the prototxt and the caffemodel.
    mean, input_scale, raw_scale, channel_swap
        As the methods of `io.Transformer` take them.
    context_pad
        Width of the border of the net's input, in pixels, that shows a window's surroundings; the
        input must then be square.

    Attributes
    ----------
    transformer
        The `io.Transformer` of the net's first input.
    crop_dims
        (height, width, channels) of that input when the net was loaded.
    context_pad
        As given.
    crop_mean
        If `context_pad` is given: the values outside of an image, in the image's own scale and
        channel order; broadcasts to `crop_dims`.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: ArrayLike | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, caffe_pb2.TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[Any, Sequence[Sequence[int]]]]
    ) -> list[dict[str, Any]]:
        """Run the net on windows of images.

        Parameters
        ----------
        images_windows
            Pairs of an image file and its windows (ymin, xmin, ymax, xmax).

        Returns
        -------
        list of dict
            For each window in order: ``window`` and ``filename`` as given, and ``prediction``, the
            window's row of the net's first output.

        Raises
        ------
        UnreadableImageError
            An image cannot be read.
        ShapeError
            A window is outside its image.
        """
        name = self.inputs[0]
        detections: list[dict[str, Any]] = []
        blobs = []
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                detections.append({"window": window, "filename": filename})
                crop = self.crop(image, window).copy()  # preprocess may work in place
                blobs.append(self.transformer.preprocess(name, crop))
        if not blobs:
            return []
        fed: Any = {name: np.stack(blobs)}
        predictions = self.forward_all(**fed)[self.outputs[0]]
        for detection, prediction in zip(detections, predictions, strict=True):
            detection["prediction"] = prediction
        return detections

    def detect_selective_search(self, image_fnames: Iterable[Any]) -> list[dict[str, Any]]:
        """Not supported: selective search is a MATLAB program.

        Raises
        ------
        EngineError
            Always.
        """
        raise EngineError(
            "detect_selective_search needs MATLAB and selective_search_ijcv_with_python, which "
            "find the windows; find them in another way and pass them to detect_windows"
        )

    def crop(self, im: Array, window: Sequence[int]) -> Array:
        """Crop a window from an image, with some of its surroundings if `context_pad` is set.

        Parameters
        ----------
        im
            (H, W, channels).
        window
            (ymin, xmin, ymax, xmax).

        Returns
        -------
        ndarray
            The part of the image, or with context an array of `crop_dims`.

        Raises
        ------
        ShapeError
            The window is outside the image.
        """
        # Old numpy accepted floats as indices, and truncated them.
        top, left, bottom, right = (int(edge) for edge in window)
        if not self.context_pad:
            crop = im[top:bottom, left:right]
            _check_window(crop, window, im)
            return crop
        size = self.blobs[self.inputs[0]].width
        first, last = np.array([top, left]), np.array([bottom, right])
        half = (last - first + 1) / 2
        center, reach = first + half, size / (size - 2 * self.context_pad) * half
        first, last = np.round(center - reach), np.round(center + reach)
        to_input = size / (last - first + 1)
        begin = np.round(np.maximum(0, -first) * to_input).astype(int)  # the image's start
        first, last = (np.clip(edge, 0, im.shape[:2]) for edge in (first, last))
        extent = np.round((last - first + 1) * to_input).astype(int)
        height, width = np.minimum(extent, size - begin)
        (top, left), (bottom, right) = first.astype(int), last.astype(int)
        context = im[top:bottom, left:right]
        _check_window(context, window, im)
        crop = np.broadcast_to(self.crop_mean, self.crop_dims).astype(np.float32)
        y, x = begin
        crop[y : y + height, x : x + width] = io.resize_image(context, (height, width))
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context that a crop shows, and the values outside of an image.

        Parameters
        ----------
        context_pad
            Width of the border of the net's input, in pixels; None or 0 for crops without context.
        """
        name = self.inputs[0]
        order = np.argsort(self.transformer.transpose[name])
        self.crop_dims = np.array(self.blobs[name].data.shape[1:])[order]
        self.context_pad = context_pad
        if not context_pad:
            return
        mean = self.transformer.mean.get(name)
        if mean is None:
            self.crop_mean: Array = np.zeros(self.crop_dims, np.float32)
            return
        crop_mean = mean.transpose(order)
        if name in self.transformer.channel_swap:
            crop_mean = crop_mean[..., np.argsort(self.transformer.channel_swap[name])]
        self.crop_mean = crop_mean / self.transformer.raw_scale.get(name, 1)


def _check_window(part: Array, window: Sequence[int], image: Array) -> None:
    if not part.size:
        raise io.ShapeError(
            f"window {tuple(window)} has no pixels in an image of {image.shape[0]} x "
            f"{image.shape[1]}: expected (ymin, xmin, ymax, xmax)"
        )
