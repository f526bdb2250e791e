"""The size that an image file's header claims: ``bytes -> (height, width)``.

Decoders allocate what the header claims, and a hundred bytes can claim gigabytes.
"""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from deepvis_caffe.errors import ImageError
from deepvis_caffe.limits import BYTES_PER_PIXEL, JPEG_SCANS

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
NO_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length field
HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_PILLOW_FORMATS = "PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

MOST_PAGES = 4096  # of a TIFF, whose pages are a linked list that may have a cycle
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
_DEPTH = 32997  # slices in one page, for a volume
_INTEGERS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # bytes of each integer type in a TIFF


class Size(NamedTuple):
    """The size that an image file claims.

    Attributes
    ----------
    height, width
        In pixels.
    nbytes
        Bytes of the whole decoded image.
    scans
        How often a decoder passes over all pixels.
    """

    height: int
    width: int
    nbytes: int
    scans: int = 1


def check_claim(size: Size, megapixels: float) -> None:
    """Reject an image of more than `megapixels` million pixels before it is decoded.

    Raises
    ------
    ImageError
        It claims more, or is a JPEG of too many scans.
    """
    check_pixels(size.height, size.width, size.nbytes, megapixels)
    if size.scans > JPEG_SCANS:
        raise ImageError(
            f"too many scans: {size.scans:,} passes over the image, but at most {JPEG_SCANS} are "
            "decoded; save it again, as PNG or JPEG"
        )


def check_pixels(height: int, width: int, nbytes: int, megapixels: float) -> None:
    """Raise `ImageError` for an image of more than `megapixels` million pixels."""
    if min(height, width) < 1:
        raise ImageError(f"not an image: its header claims {height} x {width} pixels")
    if height * width > megapixels * 1e6:
        raise ImageError(
            f"too large: {height:,} x {width:,} pixels, but at most {megapixels:g} million are "
            "read (setting max_megapixels)"
        )
    if nbytes > megapixels * 1e6 * BYTES_PER_PIXEL:
        raise ImageError(
            f"too large: {nbytes:,} bytes once decoded, but at most {BYTES_PER_PIXEL} for each of "
            f"{megapixels:g} million pixels are read (setting max_megapixels)"
        )


def declared_size(content: bytes) -> Size | None:
    """The size in the header of an image file; None if the format is unknown or damaged."""
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    if content.startswith(b"\x89PNG"):
        return _png(content)
    if content.startswith(TIFF_STARTS):
        return _tiff(content)
    for pattern in _TEXT_HEADERS:
        if found := pattern.match(content[:4096]):
            height, width = int(found["height"]), int(found["width"])
            return Size(height, width, height * width * BYTES_PER_PIXEL)
    return _by_pillow(content)


def jpeg_segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """The marker and offset of each segment; as in libjpeg, bytes between segments are skipped."""
    at = 2
    while at >= 0 and at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            at = jpeg.find(b"\xff", at)
            continue
        marker = jpeg[at + 1]
        if marker in (0x00, 0xFF) or marker in NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        yield marker, at
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")


def tiff_pages(content: bytes) -> Iterator[dict[int, int]]:
    """The integer tags of each page of a TIFF; of several values, the first one.

    Pages are a linked list. It ends where it leaves the file or closes a cycle. The pages of a
    valid file do not overlap, so reading stops once they add up to more than the file's length.
    """
    order, big = ("little" if content[:1] == b"I" else "big"), content[2:4] in (b"+\0", b"\0+")
    number = lambda at, size: int.from_bytes(content[at : at + size], order)  # type: ignore[arg-type]  # noqa: E731
    counter, entry, offset = (8, 20, 8) if big else (2, 12, 4)
    at, seen, read = number(8, 8) if big else number(4, 4), set[int](), 0
    while at and at not in seen:
        seen.add(at)
        end = at + counter + number(at, counter) * entry
        read += end - at
        if max(end, read) > len(content) or len(seen) > MOST_PAGES:
            return
        tags: dict[int, int] = {}
        for place in range(at + counter, end, entry):
            size = _INTEGERS.get(number(place + 2, 2))
            if size is None:
                continue
            inline = number(place + 4, offset) * size <= offset
            value_at = place + 4 + offset
            tags[number(place, 2)] = number(value_at if inline else number(value_at, offset), size)
        yield tags
        at = number(end, offset)


def pillow_formats(content: bytes) -> list[str]:
    """The formats that Pillow may try on these bytes; others would start external programs."""
    from PIL import Image

    if brand(content) in HEIF and importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in _PILLOW_FORMATS if name in Image.OPEN]


def brand(content: bytes) -> bytes:
    """The brand of a file in the ISO container, which HEIC and AVIF share; otherwise empty."""
    return content[8:12] if content[4:8] == b"ftyp" else b""


# -- formats -------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in a scan's data: not 0xff itself, no restart
_NUMBER = rb"[0-9]{1,9}"
_TEXT_HEADERS = tuple(  # of formats that OpenCV reads but Pillow does not
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"#\?(?:RADIANCE|RGBE)\n.*?\n-Y (?P<height>%b) \+X (?P<width>%b)\n" % ((_NUMBER,) * 2),
        rb"P7\n.*?WIDTH (?P<width>%b)\n.*?HEIGHT (?P<height>%b)\n" % ((_NUMBER,) * 2),
    )
)


def _jpeg(content: bytes) -> Size | None:
    frame, scans = None, 1
    for marker, at in jpeg_segments(content):
        if marker in START_OF_FRAME and at + 10 <= len(content) and frame is None:
            frame = at
        elif marker == START_OF_SCAN:
            if frame is not None and _has_several_scans(content, frame, at):
                scans = _count_scans(content, at)
            break
    if frame is None:
        return None
    height, width = (int.from_bytes(content[at : at + 2], "big") for at in (frame + 5, frame + 7))
    return Size(height, width, height * width * 3, scans)


def _has_several_scans(jpeg: bytes, frame: int, scan: int) -> bool:
    """As a decoder sees it: progressive, or the first scan lacks components of the frame."""
    return (
        jpeg[frame + 1] in PROGRESSIVE or jpeg[scan + 4 : scan + 5] < jpeg[frame + 9 : frame + 10]
    )


def _count_scans(jpeg: bytes, at: int) -> int:
    """The scans from the one at `at` to the end of the image."""
    count = 0
    for found in _MARKER.finditer(jpeg, at):
        marker, place = found[0][1], found.start()
        if place < at:  # within the last segment
            continue
        if marker == END_OF_IMAGE:
            break
        count += marker == START_OF_SCAN
        at = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return count


def _png(content: bytes) -> Size | None:
    if content[12:16] != b"IHDR" or len(content) < 26:
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(content[25], 4)
    return Size(height, width, height * width * channels * (2 if content[24] == 16 else 1))


def _by_pillow(content: bytes) -> Size | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images: we check the size ourselves
            with Image.open(io.BytesIO(content), formats=pillow_formats(content)) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        return Size(2**31, 2**31, 2**62)
    except Exception:  # whatever a decoder raises on a damaged file
        return None
    return Size(height, width, height * width * 4)


def _tiff(content: bytes) -> Size | None:
    """The size of a TIFF's largest page, and the bytes of all pages."""
    largest, nbytes = (0, 0), 0
    for tags in tiff_pages(content):
        height, width = tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0)
        # A decoder also allocates whole tiles.
        tile = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)
        largest = max(largest, (height, width), key=lambda size: size[0] * size[1])
        layers = max(tags.get(_SAMPLES, 1), 1) * max(tags.get(_DEPTH, 1), 1)
        nbytes += max(height * width, tile) * max(1, -(-tags.get(_BITS, 1) // 8)) * layers
    return Size(*largest, nbytes) if nbytes else None
