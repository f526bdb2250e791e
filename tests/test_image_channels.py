"""Images of any number of channels. Oracles: the arrays that other libraries wrote."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import is_image, read_image
from deepvis_caffe.image_channels import as_rgb, channels_last, read_channels

RNG = np.random.default_rng(0)
AVIF = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(40)  # how such a file begins


def levels(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def by_pillow(array: np.ndarray, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(array).save(data, form, **options)
    return data.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, array, **options)
    return data.getvalue()


def npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


# -- pictures ------------------------------------------------------------------------------------


def test_alpha_is_the_fourth_channel_of_a_net_that_has_one() -> None:
    rgba = levels(5, 6, 4)
    content = by_pillow(rgba, "PNG")
    np.testing.assert_array_equal(read_channels(content, 4), rgba)
    np.testing.assert_array_equal(read_channels(content, 3), rgba[..., :3])


def test_gray_and_alpha_are_two_channels() -> None:
    content = by_pillow(la := levels(5, 6, 2), "PNG")
    np.testing.assert_array_equal(read_channels(content, 2), la)


def test_16_bits_are_kept() -> None:
    rgba = levels(5, 6, 4, dtype=np.uint16)
    content = cv2.imencode(".png", rgba[..., [2, 1, 0, 3]])[1].tobytes()  # OpenCV wants BGRA
    np.testing.assert_array_equal(read_channels(content, 4), rgba)


@pytest.mark.parametrize("channels", [2, 4, 5])
@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("pages", {"photometric": "minisblack"}),
        ("bands", {"photometric": "minisblack", "planarconfig": "contig"}),
        ("planes", {"photometric": "minisblack", "planarconfig": "separate"}),
        ("pages", {"photometric": "minisblack", "compression": "zlib"}),
    ],
)
def test_pages_and_bands_of_a_tiff_are_channels(channels: int, layout: str, options: dict) -> None:
    image = levels(6, 7, channels)
    first = image.transpose(2, 0, 1)
    content = tiff(image if layout == "bands" else first, **options)
    np.testing.assert_array_equal(read_channels(content, channels), image)


def test_pages_of_several_bands_follow_each_other() -> None:
    pages = levels(2, 6, 7, 3)
    content = tiff(pages, photometric="rgb")
    expected = np.concatenate(list(pages), axis=2)
    np.testing.assert_array_equal(read_channels(content, 6), expected)


def test_a_tiff_with_a_compression_that_only_opencv_reads(tmp_path: Path) -> None:
    pages = [levels(6, 7) for _ in range(5)]
    images = [Image.fromarray(page) for page in pages]
    path = tmp_path / "a.tif"
    images[0].save(path, save_all=True, append_images=images[1:], compression="tiff_lzw")
    np.testing.assert_array_equal(read_channels(path, 5), np.dstack(pages))


def test_a_thumbnail_after_the_pages_of_a_tiff_is_not_a_channel() -> None:
    pages, data = levels(4, 6, 7), io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        file.write(pages, photometric="minisblack")
        file.write(pages[0, ::2, ::2], photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(read_channels(data.getvalue(), 4), pages.transpose(1, 2, 0))


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {"bigtiff": True}])
def test_stacks_of_microscopes_have_their_channels_as_pages(options: dict) -> None:
    pages = levels(5, 6, 7)
    content = tiff(pages, metadata={"axes": "CYX"}, **options)
    np.testing.assert_array_equal(read_channels(content, 5), pages.transpose(1, 2, 0))


def test_each_page_of_a_chain_that_goes_round_is_read_once() -> None:
    """tifffile drops a page of this one, and follows others for minutes."""
    content = bytearray(tiff(pages := levels(5, 6, 7), photometric="minisblack", metadata=None))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        second, last = file.pages[1].offset, file.pages[4].offset
    entries = int.from_bytes(content[last : last + 2], "little")
    link = last + 2 + 12 * entries
    assert content[link : link + 4] == bytes(4)  # there it ends
    content[link : link + 4] = second.to_bytes(4, "little")
    np.testing.assert_array_equal(read_channels(bytes(content), 5), pages.transpose(1, 2, 0))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match=r"has shape \(0, 5, 3\): no pixels"):
        read_channels(npy(levels(0, 5, 3)), 3)


def test_a_net_of_three_channels_gets_the_first_page() -> None:
    pages = levels(2, 6, 7, 3)
    content = tiff(pages, photometric="rgb")
    np.testing.assert_array_equal(read_channels(content, 3), pages[0])


@pytest.mark.parametrize("form", ["GIF", "AVIF", "JPEG2000"])
def test_formats_of_pillow_and_the_first_frame_of_several(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [np.full((16, 16, 3), level, np.uint8) for level in (200, 20)]
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow has no {form}")
    more = {"save_all": True, "append_images": [Image.fromarray(frames[1])], "duration": 100}
    content = by_pillow(frames[0], form, **(more if form != "JPEG2000" else {}))
    assert np.abs(read_image(content).astype(int) - 200).max() <= 2
    monkeypatch.setattr(cv2, "imdecode", lambda *given: None)  # a build of OpenCV without it
    assert np.abs(read_image(content).astype(int) - 200).max() <= 2


def test_the_error_says_what_a_format_needs() -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(ImageError, match=r"it is HEIC, which needs a package: pip install pillow-"):
        read_image(heic)
    with pytest.raises(ImageError, match="it is AVIF, which needs Pillow"):
        read_image(AVIF)
    with pytest.raises(ImageError, match="a Git LFS pointer, not the file itself"):
        read_image(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ImageError, match="it contains numpy arrays, not a picture"):
        read_image(npy(levels(3, 3)))


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("first", [True, False])
def test_arrays_have_their_channels_first_or_last(channels: int, first: bool) -> None:
    image = levels(6, 7, channels)
    content = npy(image.transpose(2, 0, 1) if first else image)
    np.testing.assert_array_equal(read_channels(content, channels), image)


@pytest.mark.parametrize(
    ("array", "channels", "expected"),
    [
        (image := levels(4, 5, 4), 3, image),  # alpha, which the preprocessing drops
        (image := levels(4, 5), 1, image[..., None]),
        (image := levels(1, 4, 5, 2), 2, image[0]),
        (image := levels(5, 4, 5), 5, image),  # either axis would do: the last one counts
        (levels(4, 5).astype(bool), 1, None),
        (np.arange(20).reshape(4, 5), 1, np.arange(20, dtype=np.uint8).reshape(4, 5, 1)),
        (np.int64([[0, 300]]), 1, np.float32([[[0], [300]]])),
        (np.float64([[0.25, -3]]), 1, np.float32([[[0.25], [-3]]])),
        (np.float16([[0.25, 1]]), 1, np.float32([[[0.25], [1]]])),
        (np.uint16([[0, 65535]]), 1, np.uint16([[[0], [65535]]])),
    ],
)
def test_axes_and_types(array: np.ndarray, channels: int, expected: np.ndarray | None) -> None:
    found = read_channels(npy(array), channels)
    if expected is None:
        expected = np.where(array, 255, 0).astype(np.uint8)[..., None]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_of_an_npz_the_first_array_that_is_an_image(tmp_path: Path) -> None:
    image = levels(4, 5, 6)
    np.savez_compressed(tmp_path / "a.npz", label=np.int64([3]), image=image, other=image[:2])
    np.testing.assert_array_equal(read_channels(tmp_path / "a.npz", 6), image)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(levels(4, 5, 6)), r"has shape \(4, 5, 6\).*expected \(height, width, 7\) or \(7, hei"),
        (npy(levels(2, 3, 4, 5)), r"has shape \(2, 3, 4, 5\)"),
        (npy(np.array(["a"])), "it contains no image; got .*<U1"),
        (npy(np.zeros(5)), r"it contains no image; got \(5,\) float64"),
        (npy(np.array([[{}]], object)), "cannot read the image"),
        (npy(levels(40, 50))[:100], "cannot read the image"),
        (b"PK\x03\x04 junk", "cannot read the image"),
    ],
)
def test_arrays_that_are_no_image(content: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_channels(content, 7)


def test_where_is_named() -> None:
    with pytest.raises(ImageError, match=r"no image at gone\.npy: there is no such file"):
        read_channels("gone.npy", 4)
    with pytest.raises(ImageError, match=r"^row 3 has shape"):
        channels_last(levels(2, 3, 4, 5, 6), 4, "row 3")


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (np.uint8([[[1, 2, 3, 4, 5]]]), [1, 2, 3]),
        (np.uint8([[[1, 2]]]), [1, 1, 1]),
        (np.uint8([[7]]), [7, 7, 7]),
        (np.uint16([[[0x0100, 0x02FF, 0xFFFF]]]), [1, 2, 255]),
        (np.float32([[[0, 0.5, 1]]]), [0, 128, 255]),
        (np.float32([[[-5, 500, 1000, 7]]]), [0, 128, 255]),
    ],
)
def test_something_to_look_at(image: np.ndarray, shown: list[int]) -> None:
    assert as_rgb(image)[0, 0].tolist() == shown


# -- which files are images ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.JPG", b"", True),
        ("a.txt", b"\xff\xd8\xff\xe0", False),
        ("jpeg", b"\xff\xd8\xff\xe0", True),
        ("n01440764_1", by_pillow(levels(2, 2), "PNG"), True),
        ("gif", by_pillow(levels(2, 2), "GIF"), True),
        ("webp", by_pillow(levels(2, 2), "WEBP"), True),
        ("avif", AVIF, True),
        ("tiff", tiff(levels(2, 2)), True),
        ("bmp", by_pillow(levels(2, 2), "BMP"), True),
        ("npy", npy(levels(2, 2)), True),
        ("README", b"images of cats\n", False),
        ("Makefile", b"", False),
    ],
)
def test_files_without_an_ending_go_by_their_content(
    name: str, content: bytes, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_image(tmp_path / name) == expected
