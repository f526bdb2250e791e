"""Bytes of an image file -> picture, and nothing for a file that was cut off.

OpenCV draws what is there of a JPEG or PNG that ends too early and leaves the rest gray, without a
word to the caller; such a picture would be the strongest image of some edge detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, read_image

START_OF_SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length


def decode(content: bytes, side: int | None = None) -> Picture:
    """A picture, (H, W, 3), RGB, uint8, from the bytes of a file.

    Parameters
    ----------
    side
        A JPEG may be decoded at a half or a quarter of its size if both sides are no shorter than
        this. It is larger than what is wanted in the end, so that those averages do not matter.

    Raises
    ------
    ImageError
        It is no picture, or not a whole one.
    """
    if content.startswith(b"\xff\xd8") and not _ends(content):
        raise ImageError(f"a JPEG that ends too early, after {len(content):,} bytes")
    if content.startswith(b"\x89PNG") and b"IEND" not in content[-4096:]:
        raise ImageError(f"a PNG that ends too early, after {len(content):,} bytes")
    return read_image(content, _shrink(content, side) if side else 1)


def _ends(jpeg: bytes) -> bool:
    """Whether the end of the image comes after its first scan.

    A thumbnail inside a segment has an end of its own, and cameras write more behind the image.
    """
    for marker, at in _segments(jpeg):
        if marker == START_OF_SCAN:
            return jpeg.find(END_OF_IMAGE, at) >= 0
        if marker is None:
            return True  # not as it should be: let the decoder judge
    return False


def _shrink(content: bytes, side: int) -> Literal[1, 2, 4]:
    """How many times smaller a JPEG may be decoded."""
    if content.startswith(b"\xff\xd8"):
        for marker, at in _segments(content):
            if marker in START_OF_FRAME:
                height = int.from_bytes(content[at + 5 : at + 7], "big")
                width = int.from_bytes(content[at + 7 : at + 9], "big")
                shorter = min(height, width)
                return 4 if shorter >= 4 * side else 2 if shorter >= 2 * side else 1
    return 1


def _segments(jpeg: bytes) -> Iterator[tuple[int | None, int]]:
    """The marker of each segment and where it is; None where there should be one and is not."""
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            yield None, at
            return
        marker = jpeg[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        yield marker, at
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
