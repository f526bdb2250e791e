"""The size in an image's header: equal to the decoded one, and checked before decoding."""

from __future__ import annotations

import io
import re
import struct
import zlib
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import read_image
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.image_size import check_claim, declared_size, tiff_pages

HEIGHT, WIDTH = 7, 12
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def by_opencv(ending: str) -> bytes:
    floats = ending == ".hdr"
    return cv2.imencode(ending, PIXELS.astype(np.float32) if floats else PIXELS)[1].tobytes()


def by_pillow(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".ppm", ".pam", ".webp", ".hdr"])
def test_the_size_is_that_of_what_opencv_wrote(ending: str) -> None:
    assert declared_size(by_opencv(ending))[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"big_tiff": True}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(300)}),
        ("PNG", {}),
        ("JPEG2000", {}),
    ],
)
def test_the_size_is_that_of_what_pillow_wrote(kind: str, options: dict[str, Any]) -> None:
    size = declared_size(by_pillow(kind, **options))
    assert size[:2] == (HEIGHT, WIDTH)
    assert size.nbytes >= PIXELS.nbytes


def test_a_jpegs_garbage_between_segments_is_passed_over_as_in_libjpeg() -> None:
    content = by_opencv(".jpg")
    assert declared_size(content[:2] + b"garbage\xff\0" + content[2:])[:2] == (HEIGHT, WIDTH)


def png_of(height: int, width: int) -> bytes:
    """A PNG that claims a size; its pixels are not there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunks = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one))
              for one in (header, b"IDAT" + zlib.compress(b""), end))  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg_of(height: int, width: int) -> bytes:
    """A small JPEG that claims another size."""
    content = by_pillow("JPEG")
    at = content.index(b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


@pytest.mark.parametrize("content", [png_of(20_000, 5_001), jpeg_of(20_000, 5_001)])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_file_that_claims_more_than_a_hundred_million_pixels_is_refused(
    content: bytes, channels: int
) -> None:
    said = r"too large: 20,000 x 5,001 pixels, but at most 100 million are read \(setting max_mega"
    with pytest.raises(ImageError, match=said):
        read_channels(content, channels)
    with pytest.raises(ImageError, match=said):
        read_image(content, shrink=4)  # a quarter of it would be small enough


def jpeg_scans(content: bytes) -> list[bytes]:
    """A JPEG's scans, by the segments before and between them."""
    starts = [found.start() for found in re.finditer(rb"\xff\xda", content)]
    return [content[a:b] for a, b in pairwise([*starts, content.rindex(b"\xff\xd9")])]


@pytest.mark.parametrize("quality", [10, 95])
def test_scans_of_a_progressive_jpeg_are_counted(quality: int) -> None:
    content = by_pillow("JPEG", progressive=True, quality=quality)
    assert declared_size(content).scans == len(jpeg_scans(content)) == 10  # as libjpeg writes them
    thumbnail = by_pillow("JPEG", progressive=True)
    inside = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert declared_size(content[:2] + inside + content[2:]).scans == 10
    last = jpeg_scans(content)[-1]
    before = content[: -len(last) - 2]
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xd9\xff\xda"  # looks like an end, a start
    assert declared_size(before + comment + last + b"\xff\xd9" + 99 * last).scans == 10


def test_a_jpeg_of_one_scan_may_be_followed_by_anything() -> None:
    content = by_opencv(".jpg")
    assert declared_size(content + 300 * b"\xff\xda\0\2").scans == 1


@pytest.mark.parametrize("shrink", [1, 4])
def test_a_jpeg_of_too_many_scans_is_refused(shrink: int) -> None:
    """Each is fourteen bytes, and a pass over all pixels."""
    content = by_pillow("JPEG", progressive=True)
    last = jpeg_scans(content)[-1]
    np.testing.assert_array_equal(
        read_image(content[:-2] + 90 * last + content[-2:]).shape, PIXELS.shape
    )
    with pytest.raises(
        ImageError, match="too many scans: 101 passes over the image, but at most 100"
    ):
        read_image(content[:-2] + 91 * last + content[-2:], shrink)


def test_the_limit_is_a_parameter() -> None:
    content = by_opencv(".png")
    np.testing.assert_array_equal(read_image(content, megapixels=84e-6)[..., ::-1], PIXELS)
    with pytest.raises(ImageError, match=r"7 x 12 pixels, but at most 8\.3e-05 million"):
        read_image(content, megapixels=83e-6)


def test_the_pages_of_a_tiff_count_together() -> None:
    file = io.BytesIO()
    page = Image.fromarray(PIXELS)
    page.save(file, "TIFF", save_all=True, append_images=[page] * 3)
    size = declared_size(file.getvalue())
    assert size.nbytes == 4 * PIXELS.nbytes
    with pytest.raises(ImageError, match=r"too large: 1,008 bytes once decoded"):
        check_claim(size, 100e-6)


def test_a_chain_of_pages_that_goes_round_ends() -> None:
    entry = struct.pack("<HHII", 256, 4, 1, 5) + struct.pack("<HHII", 257, 4, 1, 6)
    content = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + entry
    assert declared_size(content + struct.pack("<I", 8))[:2] == (6, 5)


def test_pages_that_overlap_are_not_all_read() -> None:
    """A hundred kilobytes could name a thousand pages of eight thousand entries each."""
    count = 8000
    entries = struct.pack("<HHII", 256, 4, 1, 5) * (count + 1000)
    content = bytearray(b"II*\0" + struct.pack("<I", 8) + entries)
    for number in range(1000):  # each begins 12 bytes after the one before, and points to the next
        at = 8 + 12 * number
        content[at : at + 2] = struct.pack("<H", count)
        end = at + 2 + 12 * count
        content[end : end + 4] = struct.pack("<I", at + 12)
    assert sum(1 for _ in tiff_pages(bytes(content))) == 1


def test_a_volume_counts_with_its_depth() -> None:
    def page(*more: bytes) -> bytes:
        tags = [struct.pack("<HHII", 256, 4, 1, 5), struct.pack("<HHII", 257, 4, 1, 6), *more]
        directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
        return b"II*\0" + struct.pack("<I", 8) + directory

    assert declared_size(page()).nbytes == 30
    assert declared_size(page(struct.pack("<HHII", 32997, 4, 1, 1000))).nbytes == 30_000
