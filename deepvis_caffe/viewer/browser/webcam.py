"""Decode the webcam pictures that a page sends.

They are untrusted: only JPEG is read, and the size is checked before the pixels are decoded.
"""

from __future__ import annotations

import io

import numpy as np

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture

MOST_BYTES = 1 << 20
MOST_PIXELS = 1 << 21  # the page sends 640 x 480 at most


def read_webcam(content: bytes) -> Picture:
    """Decode one picture.

    Parameters
    ----------
    content
        A JPEG file.

    Returns
    -------
    ndarray
        (H, W, 3), RGB, uint8.

    Raises
    ------
    ImageError
        It is not a complete JPEG file, or is too large.
    """
    from PIL import Image

    if len(content) > MOST_BYTES:
        raise ImageError(f"a webcam picture of {len(content)} bytes; at most {MOST_BYTES} are read")
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ImageError(
                    f"a webcam picture of {image.width} x {image.height} pixels; at most "
                    f"{MOST_PIXELS} pixels are read"
                )
            return np.array(image.convert("RGB"))
    # What Pillow raises on damage: OSError (UnidentifiedImageError too), SyntaxError, ValueError,
    # struct.error, DecompressionBombError ...
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"a webcam picture that cannot be read: {error}") from error
