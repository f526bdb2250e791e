"""Text: as wide as in Pillow, cut to fit, and no crash for any character."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from deepvis_caffe.text import FACE, cut, line_ink, plain_text, text_width, wrapped


def test_text_is_as_wide_as_pillow_says_and_cut_to_fit() -> None:
    left, _, right, _ = ImageFont.load_default(520).getbbox("activation 23.4")
    assert text_width("activation 23.4", 13) == pytest.approx((right - left) / 40, abs=2)
    assert cut("short", 13, 500) == "short"
    shorter = cut("activation 23.4", 13, 60)
    assert shorter.endswith("..")
    assert "activation".startswith(shorter[:-2])
    assert text_width(shorter, 13) <= 60
    assert cut("activation", 13, 3) == ""


def test_letters_that_the_font_lacks() -> None:
    assert plain_text("Größe, café") == "Grosse, cafe"
    assert plain_text("鳥 a") == "? a"
    assert plain_text("a · b × c…") == "a · b x c…"
    assert plain_text("e\u0301") == "e"


def large_and_averaged(line: str, size: int, stroke: int = 0) -> np.ndarray:
    """A line as Pillow draws it as a whole, four times as large, averaged."""
    large = Image.new("L", (4 * size * len(line), 4 * round(1.4 * size)))
    font = ImageFont.load_default(4 * size)
    ImageDraw.Draw(large).text((0, 0), line, font=font, fill=255, stroke_width=stroke)
    return np.asarray(large, float).reshape(large.height // 4, 4, -1, 4).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [9, 13, 20])
def test_ink_is_pillows_own_large_and_averaged(size: int) -> None:
    letters = np.random.default_rng(size).permutation(sorted(FACE))
    for line in ("conv1 23", "-0.0071", *map("".join, np.array_split(letters, 9))):
        ink = line_ink(plain_text(line), size)
        assert ink.shape == (round(1.4 * size), text_width(line, size) + 2)
        expected = large_and_averaged(plain_text(line), size)[:, : ink.shape[1]]
        np.testing.assert_allclose(ink, expected, atol=1)


def test_bold_letters_are_drawn_with_a_stroke() -> None:
    bold = line_ink("conv1 23", 13, bold=True)
    assert bold.sum() > 1.1 * line_ink("conv1 23", 13).sum()
    expected = large_and_averaged("conv1 23", 13, stroke=1)[:, : bold.shape[1]]
    np.testing.assert_allclose(bold, expected, atol=8)  # where strokes of two letters overlap


@pytest.mark.parametrize("text", ["鳥", "ёлка", "a\tb\n鳥", "", "🐈"])
def test_any_script_leaves_ink_of_its_own_width(text: str) -> None:
    ink = line_ink(text, 14)
    assert ink.shape == (20, text_width(text, 14) + 2)
    assert bool(ink.any()) == bool(text)


def test_words_wrap_within_the_width() -> None:
    lines = wrapped("clip of small-contribution pixels", 13, 90)
    assert "".join(lines).replace(" ", "") == "clipofsmall-contributionpixels"
    assert all(text_width(line, 13) <= 90 for line in lines)
    assert len(lines) == 3
