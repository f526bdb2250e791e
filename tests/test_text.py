"""Text: as wide as in Pillow, cut to fit, and no crash for any character."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from deepvis_caffe.text import cut, line_ink, plain_text, text_width, wrapped


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


def test_ink_is_pillows_own_large_and_averaged() -> None:
    font = ImageFont.load_default(52)
    large = Image.new("L", (400, 18 * 4))
    ImageDraw.Draw(large).text((0, 0), "conv1 23", font=font, fill=255)
    averaged = np.asarray(large, float).reshape(18, 4, 100, 4).mean(axis=(1, 3))
    ink = line_ink("conv1 23", 13)
    assert ink.shape[0] == 18
    np.testing.assert_allclose(ink, averaged[:, : ink.shape[1]], atol=1)
    assert line_ink("conv1 23", 13, bold=True).sum() > 1.1 * ink.sum()


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
