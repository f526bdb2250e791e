"""Bytes of an image file -> picture, and nothing for a file that was cut off.

OpenCV draws what is there of a JPEG or PNG that ends too early and leaves the rest gray, without a
word to the caller; such a picture would be the strongest image of some edge detector.
"""

from __future__ import annotations

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, read_image

START_OF_SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length


def decode(content: bytes) -> Picture:
    """A picture, (H, W, 3), RGB, uint8, from the bytes of a file.

    Raises
    ------
    ImageError
        It is no picture, or not a whole one.
    """
    if content.startswith(b"\xff\xd8") and not _ends(content):
        raise ImageError(f"a JPEG that ends too early, after {len(content):,} bytes")
    if content.startswith(b"\x89PNG") and b"IEND" not in content[-4096:]:
        raise ImageError(f"a PNG that ends too early, after {len(content):,} bytes")
    return read_image(content)


def _ends(jpeg: bytes) -> bool:
    """Whether the end of the image comes after its first scan.

    A thumbnail inside a segment has an end of its own, and cameras write more behind the image.
    """
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            return True  # not as it should be: let the decoder judge
        marker = jpeg[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == START_OF_SCAN:
            return jpeg.find(END_OF_IMAGE, at) >= 0
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return False
