"""pycaffe's ``caffe.io``: images, preprocessing, arrays in protocol buffers.

Images are (height, width, channels), RGB, float32 from 0 to 1, as everywhere in pycaffe. Values
equal those of pycaffe with the scikit-image of its time, which did not smooth an image before
downsampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import zoom

from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.image import image_content, is_array
from deepvis_caffe.image_channels import decode_unchanged

Array = NDArray[Any]
Floats = NDArray[np.float32]
Ints = Sequence[int] | Array
Images = Sequence[Array] | Array  # one array may hold them all, if they have the same size

GRAY = np.array([0.2125, 0.7154, 0.0721])  # scikit-image's weights of red, green and blue


class ShapeError(ImageError, ValueError):
    """An array does not have the required shape; pycaffe raises a ValueError."""


class UnreadableImageError(ImageError, OSError):
    """There is no such image file, or it is not an image; pycaffe raises an OSError."""


def __getattr__(name: str) -> Any:
    """``caffe.io.skimage``, which scripts use because pycaffe imports it here."""
    if name == "skimage":
        import skimage.io

        return skimage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# -- arrays in protocol buffers --------------------------------------------------------------------


def blobproto_to_array(blob: Any, return_diff: bool = False) -> Array:
    """The array in a BlobProto.

    Parameters
    ----------
    blob
        A BlobProto, with either a shape or the four legacy sizes.
    return_diff
        Whether to return the gradient instead of the values.

    Returns
    -------
    ndarray
        float64.

    Raises
    ------
    ShapeError
        The number of values does not match the shape.
    """
    values = np.array(
        (blob.diff or blob.double_diff) if return_diff else (blob.data or blob.double_data),
        np.float64,
    )
    legacy = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in legacy):
        shape = tuple(getattr(blob, name) for name in legacy)
    else:
        shape = tuple(blob.shape.dim)
    return _reshaped(values, shape, "the blob")


def array_to_blobproto(arr: Array, diff: Array | None = None) -> Any:
    """A BlobProto with the shape and values of an array, and the values of `diff` as gradient."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """Arrays as a serialized BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector(blobs=map(array_to_blobproto, arraylist))
    return bytes(vector.SerializeToString())


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:  # pycaffe's name for it
    """The arrays in a serialized BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Any:
    """A Datum with the values of a (channels, height, width) array.

    uint8 is stored as bytes, everything else as float.

    Raises
    ------
    ShapeError
        The array does not have three axes.
    """
    if arr.ndim != 3:
        raise ShapeError(
            f"Incorrect array shape: got {arr.shape}, expected (channels, height, width)"
        )
    channels, height, width = arr.shape
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> Array:
    """The array in a Datum.

    Returns
    -------
    ndarray
        (channels, height, width), uint8 if it is stored as bytes, otherwise float64.

    Raises
    ------
    ShapeError
        It holds an encoded image (JPEG or PNG), or the number of values does not match the shape.
    """
    if datum.encoded:
        raise ShapeError(
            "the datum holds an encoded image; decode it, for example with "
            "cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR)"
        )
    if datum.data:
        values: Array = np.frombuffer(datum.data, np.uint8).copy()  # writable
    else:
        values = np.array(datum.float_data, np.float64)
    return _reshaped(values, (datum.channels, datum.height, datum.width), "the datum")


def _reshaped(values: Array, shape: tuple[int, ...], what: str) -> Array:
    if values.size != np.prod(shape, dtype=int):
        raise ShapeError(f"{what} holds {values.size} values, which do not fit shape {shape}")
    return values.reshape(shape)


# -- preprocessing ---------------------------------------------------------------------------------


class Transformer:
    """The preprocessing of images, for each input of a net.

    Parameters
    ----------
    inputs
        Shape of each input by name, as in ``{"data": net.blobs["data"].data.shape}``.

    Attributes
    ----------
    inputs
        As given.
    transpose, channel_swap, raw_scale, mean, input_scale
        The settings, by input name.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: Array) -> Floats:
        """Convert an image to the net's input.

        The steps, in order: resize to the input's height and width, transpose, reorder the
        channels, multiply by the raw scale, subtract the mean, multiply by the input scale. Steps
        that have not been set are skipped.

        Parameters
        ----------
        in_
            Name of the input.
        data
            (H, W, channels). As in pycaffe, a float32 image that already has the right size is
            modified in place, unless channels are reordered: pass a copy to keep it.

        Returns
        -------
        ndarray
            float32; (channels, height, width) if the transpose is (2, 0, 1).

        Raises
        ------
        UnknownNameError
            The net has no such input.
        ShapeError
            The image has another number of axes.
        """
        shape = self._shape(in_)
        image = data.astype(np.float32, copy=False)
        if image.shape[:2] != shape[2:]:
            image = resize_image(image, shape[2:])
        image = _transposed(image, self.transpose.get(in_), in_)
        if in_ in self.channel_swap:
            image = image[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            image *= self.raw_scale[in_]
        if in_ in self.mean:
            image -= self.mean[in_]
        if in_ in self.input_scale:
            image *= self.input_scale[in_]
        return image

    def deprocess(self, in_: str, data: Array) -> Array:
        """Convert a net's input back to an image: the inverse of `preprocess`, without resizing.

        Parameters
        ----------
        in_
            Name of the input.
        data
            One image, with or without the batch axis.

        Returns
        -------
        ndarray
            (height, width, channels) if the transpose is (2, 0, 1). Without a transpose all axes
            of size 1 are dropped, as in pycaffe.

        Raises
        ------
        UnknownNameError
            The net has no such input.
        ShapeError
            There is more than one image.
        """
        shape = self._shape(in_)
        image = data.copy()
        while image.ndim >= len(shape) and image.shape[0] == 1:
            image = image[0]
        if in_ in self.input_scale:
            image /= self.input_scale[in_]
        if in_ in self.mean:
            image += self.mean[in_]
        if in_ in self.raw_scale:
            image /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            image = image[np.argsort(self.channel_swap[in_])]
        if in_ not in self.transpose:
            return image.squeeze()
        return _transposed(image, np.argsort(self.transpose[in_]), in_)

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the axes: (2, 0, 1) for (height, width, channels) images.

        Raises
        ------
        UnknownNameError
            The net has no such input.
        ShapeError
            The order has another length than the input's shape without its batch.
        """
        shape = self._shape(in_)
        if len(order) != len(shape) - 1:
            raise ShapeError(
                "Transpose order needs to have the same number of dimensions as the input: got "
                f"{tuple(order)}, and one image of {in_!r} has shape {shape[1:]}"
            )
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the channels after the transpose: (2, 1, 0) turns RGB into BGR.

        Raises
        ------
        UnknownNameError
            The net has no such input.
        ShapeError
            The order has another length than the input has channels.
        """
        shape = self._shape(in_)
        if len(order) != shape[1]:
            raise ShapeError(
                "Channel swap needs to have the same number of dimensions as the input channels: "
                f"got {tuple(order)}, and {in_!r} has {shape[1]} channels"
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set the factor applied before the mean is subtracted: 255 for nets with 8-bit images.

        Raises
        ------
        UnknownNameError
            The net has no such input.
        """
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: ArrayLike) -> None:
        """Set the mean to subtract, in the net's own channel order and scale.

        Parameters
        ----------
        in_
            Name of the input.
        mean
            (channels,), (channels, height, width), or for one channel (height, width). A mean
            image of another size is resized to that of the input.

        Raises
        ------
        UnknownNameError
            The net has no such input.
        ShapeError
            The mean has other axes, or another number of channels.
        """
        shape, mean = self._shape(in_), np.asarray(mean)
        if mean.ndim == 1:
            if len(mean) != shape[1]:
                raise ShapeError(
                    f"Mean channels incompatible with input: got {len(mean)} values, and {in_!r} "
                    f"has {shape[1]} channels"
                )
            mean = mean[:, np.newaxis, np.newaxis]
        elif mean.ndim not in (2, 3) or (mean.ndim == 2 and (1, *mean.shape) != shape[1:]):
            raise ShapeError(
                f"Mean shape invalid: got {mean.shape}, and one image of {in_!r} has shape "
                f"{shape[1:]}"
            )
        elif mean.ndim == 3 and mean.shape != shape[1:]:
            mean = resize_image(mean.transpose(1, 2, 0), shape[2:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set the factor applied after the mean is subtracted.

        Raises
        ------
        UnknownNameError
            The net has no such input.
        """
        self._shape(in_)
        self.input_scale[in_] = scale

    def _shape(self, in_: str) -> tuple[int, ...]:
        if in_ not in self.inputs:
            raise UnknownNameError("net input", in_, self.inputs)
        return tuple(self.inputs[in_])


def _transposed(image: Array, order: Sequence[int] | Array | None, in_: str) -> Array:
    if order is None:
        return image
    if image.ndim != len(order):
        raise ShapeError(
            f"cannot transpose an image of {in_!r}: got shape {image.shape}, expected "
            f"{len(order)} axes; a gray image needs one for its channel, "
            "image[:, :, np.newaxis]"
        )
    return image.transpose(order)


# -- images ----------------------------------------------------------------------------------------


def load_image(filename: Any, color: bool = True) -> Floats:
    """Read an image of any format that OpenCV or Pillow can decode.

    Parameters
    ----------
    filename
        A path, or an open binary file.
    color
        Whether to convert it to RGB; otherwise to gray.

    Returns
    -------
    ndarray
        (height, width, 3) or (height, width, 1), float32 from 0 to 1. Alpha is dropped. As in
        pycaffe, 16-bit images keep their precision, and a camera's EXIF orientation is ignored.

    Raises
    ------
    UnreadableImageError
        There is no such file, or it is not an image.
    """
    try:
        where, content = image_content(filename.read() if hasattr(filename, "read") else filename)
        if is_array(content):
            raise ImageError(f"cannot read {where}: it contains numpy arrays, not a picture")
        image = decode_unchanged(content, 3, where)
    except ImageError as error:
        raise UnreadableImageError(str(error)) from error
    if image.dtype.kind == "u":
        highest = np.iinfo(image.dtype).max
        image = (np.arange(highest + 1) * (1 / highest)).astype(np.float32)[image]
    image = image[..., :3] if image.ndim == 3 else image[..., np.newaxis]
    if color and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    elif not color and image.shape[2] == 3:
        image = (image @ GRAY)[..., np.newaxis]
    return image.astype(np.float32, copy=False)


def resize_image(im: Array, new_dims: Ints, interp_order: int = 1) -> Floats:
    """Resize an image by interpolation.

    Parameters
    ----------
    im
        (H, W, channels), of any numeric type.
    new_dims
        (height, width).
    interp_order
        Order of the spline: 0 takes the nearest pixel, 1 is linear, 3 cubic.

    Returns
    -------
    ndarray
        (height, width, channels), float32. As in pycaffe, there is no smoothing before
        downsampling; an image with 1 or 3 channels is padded with its lowest value, which darkens
        its border when enlarged; and with other numbers of channels, corners are aligned.

    Raises
    ------
    ShapeError
        The image does not have three axes, or has no pixels.
    """
    if im.ndim != 3 or not im.size:
        raise ShapeError(
            f"cannot resize an image of shape {im.shape}: expected (height, width, channels)"
        )
    channels = im.shape[2]
    factors = (*np.divide(new_dims, im.shape[:2]), 1)
    if channels not in (1, 3):
        return np.asarray(zoom(im, factors, order=interp_order), np.float32)
    low, high = im.min(), im.max()
    if not high > low:
        return np.full((*new_dims, channels), low, np.float32)
    span = high - low if im.dtype.kind == "f" else float(high) - float(low)
    levels = (im - low) / span
    resized = zoom(levels, factors, order=interp_order, mode="grid-constant", grid_mode=True)
    return np.asarray(resized.clip(0, 1) * span + low, np.float32)


def resize(
    image: Array, output_shape: Ints, order: int = 1, mode: str = "constant", **more: Any
) -> Array:
    """scikit-image's ``transform.resize`` as it was in pycaffe's time, for scripts that call it.

    Parameters
    ----------
    image, output_shape, order, mode, more
        Passed on. There is no smoothing before downsampling, unless ``anti_aliasing=True`` is
        given.
    """
    from skimage import transform

    return np.asarray(
        transform.resize(image, output_shape, order, mode, **{"anti_aliasing": False, **more})
    )


def oversample(images: Images, crop_dims: Ints) -> Floats:
    """Crop the four corners and the center of each image, and mirror the crops.

    Parameters
    ----------
    images
        All of the same shape (H, W, channels).
    crop_dims
        (height, width).

    Returns
    -------
    ndarray
        (10 * number of images, height, width, channels), float32. For each image: upper left,
        upper right, lower left, lower right, center; then the same five mirrored.

    Raises
    ------
    ShapeError
        The crops are larger than the images.
    """
    height, width = map(int, crop_dims)
    rows, columns, channels = images[0].shape
    if height > rows or width > columns:
        raise ShapeError(f"cannot crop {height} x {width} from images of {rows} x {columns} pixels")
    bottom, right = rows - height, columns - width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = np.empty((len(images), 10, height, width, channels), np.float32)
    for image, ten in zip(images, crops, strict=True):
        for crop, (y, x) in zip(ten, corners, strict=False):
            crop[...] = image[y : y + height, x : x + width]
        ten[5:] = ten[:5, :, ::-1]
    return crops.reshape(-1, height, width, channels)
