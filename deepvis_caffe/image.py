"""Pictures: reading, writing, resizing, and sample photographs.

A picture is a numpy array (H, W, 3), RGB, uint8, unless a function says otherwise. OpenCV is
imported on first use; its BGR order does not leave this file.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.files import open_file, read_file, read_head, whole_file
from deepvis_caffe.image_size import (
    HEIF,
    TIFF_STARTS,
    brand,
    check_claim,
    declared_size,
    pillow_formats,
)
from deepvis_caffe.limits import BYTES_PER_PIXEL, IMAGE_FILE, MEGAPIXELS
from deepvis_caffe.npy import Npz, read_npy

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

SUFFIXES = (".png", ".jpg", ".jpeg")  # formats that we write
# Formats that every build of OpenCV reads, that Pillow may read, and numpy's.
IMAGE_SUFFIXES = frozenset(
    (
        *(".bmp", ".jpe", ".jpeg", ".jfif", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
        *(".tif", ".tiff", ".webp", ".gif", ".avif", ".heic", ".heif", ".jp2", ".npy", ".npz"),
    )
)
_IMAGE_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0"),
    *(b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"\x93NUMPY"),
)

LEGIBLE = 192  # pixels; pictures of a 28 x 28 net would be tiny
_SAMPLES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}
_MORE = {  # gray, or of textures
    "brick": "brick.png",
    "camera": "camera.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "text": "text.png",
}


def read_image(
    source: str | os.PathLike[str] | bytes,
    shrink: Literal[1, 2, 4] = 1,
    megapixels: float = MEGAPIXELS,
) -> Picture:
    """Read a picture in any format that OpenCV or Pillow decodes.

    Parameters
    ----------
    source
        A path, or the bytes of an image file.
    shrink
        2 or 4 to read it at a half or a quarter of its height and width, averaged. For a JPEG this
        saves most of the work, because the decoder skips the finer detail.
    megapixels
        The largest picture to read, in millions of pixels, as claimed by its header.

    Returns
    -------
    ndarray
        (H, W, 3), RGB, uint8. Gray pictures get three equal channels, alpha is dropped, 16-bit
        pictures keep their upper 8 bits, the EXIF orientation is applied, and only the first of
        several frames or pages is read.

    Raises
    ------
    ImageError
        There is no such file, it cannot be read, its content is not a picture, or it is larger.
    """
    import cv2

    where, content = image_content(source)
    if is_array(content):
        raise ImageError(f"cannot read {where}: it contains numpy arrays, not a picture")
    check_image_size(content, where, megapixels)
    try:
        # IMREAD_COLOR converts gray, alpha and 16-bit pictures, and applies the EXIF orientation.
        direct = getattr(cv2, "IMREAD_COLOR_RGB", None) if shrink == 1 else None  # OpenCV 4.11
        kinds = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
        plain = kinds.get(shrink, cv2.IMREAD_COLOR)
        decoded = cv2.imdecode(
            np.frombuffer(content, np.uint8), plain if direct is None else direct
        )
    except cv2.error as error:
        raise ImageError(f"cannot read {where}: {error.err}") from error
    if decoded is None:
        return np.asarray(decode_other(content, where), np.uint8)
    if direct is None:  # copying a reversed view would take ten times as long
        decoded = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return np.asarray(decoded, np.uint8)


def image_content(source: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    """An image's name for messages, and the bytes of its file.

    Raises
    ------
    ImageError
        There is no such file, it cannot be read, or it is empty.
    """
    if isinstance(source, bytes):
        where, content = "the image", source
    else:
        where = f"the image {source}"
        try:
            content = read_file(source, IMAGE_FILE)
        except FileNotFoundError:
            raise ImageError(f"no image at {source}: there is no such file") from None
        except OSError as error:
            raise ImageError(f"cannot read {where}: {error.strerror}") from error
    if not content:
        raise ImageError(f"cannot read {where}: it is empty")
    return where, content


def check_image_size(content: bytes, where: str, megapixels: float) -> None:
    """Raise `ImageError` if an image's header claims more than `megapixels` million pixels.

    Or if it claims no size at all.

    Parameters
    ----------
    where
        What the image is, for messages.
    """
    size = declared_size(content)
    if size is None:
        raise ImageError(f"cannot read {where}: {_why_unreadable(content)}")
    try:
        check_claim(size, megapixels)
    except ImageError as error:
        raise ImageError(f"cannot read {where}: {error}") from None


def _why_unreadable(content: bytes) -> str:
    """Why a picture cannot be decoded."""
    if brand(content) in HEIF:
        return "it is HEIC, which needs a package: pip install pillow-heif; or save it as JPEG"
    if brand(content) in (b"avif", b"avis"):
        return "it is AVIF, which needs Pillow 11.3 or later; or save it as PNG or JPEG"
    if content.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; run `git lfs pull`"
    return (
        f"it starts with {content[:8]!r}, which is damaged or in a format that neither "
        "OpenCV nor Pillow knows; PNG and JPEG always work"
    )


def decode_other(content: bytes, where: str, rgb: bool = True) -> NDArray[Any]:
    """Decode with Pillow a picture that this build of OpenCV cannot.

    Parameters
    ----------
    where
        What the picture is, for messages.
    rgb
        Whether to convert it to RGB; otherwise it keeps its channels.

    Raises
    ------
    ImageError
        Pillow cannot read it either.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=pillow_formats(content)) as image:
            upright = ImageOps.exif_transpose(image)
            if rgb or upright.mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
                upright = upright.convert("RGB")
            return np.asarray(upright)
    except Exception as error:  # whatever a decoder raises on a damaged file
        raise ImageError(f"cannot read {where}: {_why_unreadable(content)}") from error


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its suffix, or without one, by its first bytes."""
    if path.suffix:
        return path.suffix.lower() in IMAGE_SUFFIXES
    try:
        head = read_head(path, 16)
    except OSError:
        return False
    return (
        head.startswith(_IMAGE_STARTS)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (*HEIF, b"avif", b"avis"))
    )


def is_tiff(content: bytes) -> bool:
    """Whether these bytes are a TIFF."""
    return content.startswith(TIFF_STARTS)


def is_array(content: bytes) -> bool:
    """Whether these bytes are a ``.npy`` or ``.npz`` file."""
    return content.startswith((b"\x93NUMPY", b"PK\x03\x04"))


def read_array(content: bytes, where: str, megapixels: float = MEGAPIXELS) -> NDArray[Any]:
    """The array in the bytes of a ``.npy``; of a ``.npz``, the first one of two axes or more.

    Parameters
    ----------
    where
        What the file is, for messages.
    megapixels
        The file may have as many bytes as a picture of this many million pixels.

    Returns
    -------
    ndarray
        uint8 and uint16 unchanged; other integers from 0 to 255 as uint8; booleans as black and
        white; all others as float32.

    Raises
    ------
    ImageError
        It cannot be read, holds no numbers, or is larger.
    """
    most = int(megapixels * 1e6 * BYTES_PER_PIXEL)
    arrays: dict[str, Any] = {}
    try:
        if content.startswith(b"PK"):
            with Npz(content, most) as file:
                arrays = dict(file)
        else:
            arrays = {"": read_npy(content)}
    except ValueError as error:
        raise ImageError(f"cannot read {where}: {error}") from error
    if (size := sum(value.nbytes for value in arrays.values())) > most:
        raise ImageError(
            f"cannot read {where}: too large: {size:,} bytes, but at most {most:,} are read "
            "(setting max_megapixels)"
        )
    array = next((value for value in arrays.values() if value.ndim > 1), None)
    if array is None or array.dtype.kind not in "buif":
        contents = ", ".join(
            f"{name} {value.shape} {value.dtype}".strip() for name, value in arrays.items()
        )
        raise ImageError(f"cannot read {where}: it contains no image; got {contents or 'nothing'}")
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind in "ui" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    return array.astype(np.float32)


def is_whole(path: Path) -> bool:
    """Whether a PNG or JPEG file exists and has a proper end."""
    try:
        with open_file(path) as file:
            file.seek(-min(16, path.stat().st_size), os.SEEK_END)
            return file.read().endswith((b"IEND\xaeB`\x82", b"\xff\xd9"))
    except OSError:
        return False


def write_image(path: str | os.PathLike[str], image: Picture, quality: int = 95) -> Path:
    """Write a picture atomically; missing parent folders are created.

    Parameters
    ----------
    path
        Ends in ``.png``, ``.jpg`` or ``.jpeg``.
    image
        (H, W, 3) RGB or (H, W) gray, uint8.
    quality
        JPEG quality, 0 to 100.

    Raises
    ------
    ImageError
        The suffix, shape or type is not one of these, or the file cannot be written.
    """
    import cv2

    path, image = Path(path), np.asarray(image)
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"cannot write {path}: its name must end in {', '.join(SUFFIXES)}")
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)):
        raise ImageError(
            f"cannot write {path}: got {image.dtype} of shape {image.shape}, expected uint8 of "
            "shape (H, W, 3) or (H, W)"
        )
    if not image.size:
        raise ImageError(f"cannot write {path}: a picture of shape {image.shape} has no pixels")
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    options = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, content = cv2.imencode(path.suffix.lower(), bgr, options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            part.write_bytes(content.tobytes())
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    return path


def legible(picture: Picture) -> Picture:
    """Enlarge a small picture, (H, W, C), until its longer side has at least 192 pixels.

    The factor is an integer, so every pixel becomes a square of one color.
    """
    grow = max(1, math.ceil(LEGIBLE / max(picture.shape[:2])))
    return picture.repeat(grow, axis=0).repeat(grow, axis=1)


def encode_png(image: Picture) -> bytes:
    """A picture, (H, W, 3) RGB uint8, as the bytes of a PNG file."""
    import cv2

    return bytes(cv2.imencode(".png", image[..., ::-1])[1])  # OpenCV wants BGR


def encode_jpeg(image: Picture, quality: int = 90) -> bytes:
    """A picture, (H, W, 3) RGB uint8, as the bytes of a JPEG file.

    Without chroma subsampling, which would turn colored letters and maps gray.
    """
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):  # OpenCV before 4.7 has no choice
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, options)[1])


def resize_image(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize to exactly (height, width), without aliasing.

    An axis that shrinks is averaged over the area of each new pixel; one that grows is interpolated
    linearly.

    Parameters
    ----------
    image
        (H, W) or (H, W, channels), uint8 or float32.
    """
    import cv2

    if image.ndim == 3 and image.shape[2] > 4:  # more than OpenCV resizes at once
        groups = (image[..., first : first + 4] for first in range(0, image.shape[2], 4))
        return np.concatenate([resize_image(group, height, width) for group in groups], axis=2)
    rows, columns = image.shape[:2]
    small = (min(columns, width), min(rows, height))
    if small != (columns, rows):
        image = _keep_axes(image, cv2.resize(image, small, interpolation=cv2.INTER_AREA))
    if small != (width, height):
        image = _keep_axes(image, cv2.resize(image, (width, height)))
    return image


def sample_images(more: bool = False) -> tuple[str, ...]:
    """Names of the photographs that are available without a network.

    Parameters
    ----------
    more
        Include gray ones and textures.
    """
    return (*_SAMPLES, *_MORE) if more else tuple(_SAMPLES)


def sample_image(name: str = "chelsea") -> Picture:
    """A photograph from scikit-image's data, to try things out.

    Parameters
    ----------
    name
        One of ``sample_images(more=True)``; ``"chelsea"`` is a cat.
    """
    files = _SAMPLES | _MORE
    if name not in files:
        raise UnknownNameError("sample image", name, files)
    found = importlib.util.find_spec("skimage")  # importing it would take a second
    if found is None or found.origin is None:
        raise ImageError("sample images come with scikit-image: pip install scikit-image")
    return read_image(Path(found.origin).parent / "data" / files[name])


def _keep_axes(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """Restore the channel axis, which cv2.resize drops if it has length 1."""
    return after[..., np.newaxis] if after.ndim < before.ndim else after


@contextmanager
def opencv_threads(count: int) -> Iterator[None]:
    """Within the block, OpenCV uses `count` threads, in the whole process."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
