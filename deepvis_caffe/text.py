"""Lines of text as masks: ``(line, size) -> (height, width) uint8``, 255 where there is ink.

The font is the TrueType font that comes with Pillow. Lines with characters that it lacks are drawn
by OpenCV 5.0 or later, which has a font for all scripts. With an older OpenCV, accents are dropped
and every other missing character becomes a ``?``.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Ink = NDArray[np.uint8]

FINE = 4  # text is drawn this many times larger, then averaged
SIMPLER = str.maketrans("×–—\u00a0", "x-- ")
FACE = frozenset(map(chr, range(32, 127))) | frozenset("©«°±´·»‘’“”…‹›™")  # the font's characters


def plain_text(text: str) -> str:
    """`text` in the font's characters: accents are dropped, other characters become ``?``."""
    text = text.translate(SIMPLER).replace("ß", "ss")
    bare = (
        c if c in FACE else unicodedata.normalize("NFKD", c)
        for c in unicodedata.normalize("NFC", text)
    )
    kept = (c for c in "".join(bare) if not unicodedata.combining(c))
    return "".join(c if c in FACE else "?" for c in kept)


@lru_cache(maxsize=8192)
def text_width(text: str, size: int) -> int:
    """The width of one line, in pixels.

    Parameters
    ----------
    text
        One line, in any script.
    size
        Font size in pixels.
    """
    if _is_foreign(text):
        import cv2

        box = cv2.getTextSize((1, 1), _visible(text), (0, 0), _foreign_face(), size)
        return int(box[2])
    return round(sum(_advance(letter, size) for letter in plain_text(text)) / FINE)


@lru_cache(maxsize=8192)
def cut(text: str, size: int, width: int) -> str:
    """As much of one line as fits into `width` pixels; two dots mark a cut."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text.rstrip() + "..", size) > width:
        text = text[:-1]
    return text.rstrip() + ".." if text else ""


def wrapped(text: str, size: int, width: int) -> list[str]:
    """A text in lines of at most `width` pixels, broken at spaces and after hyphens."""
    lines: list[str] = []
    for word in text.replace("-", "-\0 ").split(" "):
        last = lines[-1] if lines else ""
        joined = last[:-1] + word if last.endswith("\0") else f"{last} {word}".strip()
        if lines and text_width(joined.replace("\0", ""), size) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line.replace("\0", "") for line in lines]


@lru_cache(maxsize=2048)
def line_ink(text: str, size: int, bold: bool = False) -> Ink:
    """One line as a mask.

    Returns
    -------
    ndarray
        (round(1.4 size), width + 2), uint8, 255 where a pixel is all ink; cached and read-only.
    """
    height, width = line_height(size), text_width(text, size) + 2
    ink = _foreign_ink(text, size, height, width) if _is_foreign(text) else None
    if ink is None:
        ink = _own_ink(plain_text(text), size, height, width, bold)
    ink.flags.writeable = False
    return ink


def line_height(size: int) -> int:
    """The height of a line's mask, in pixels."""
    return round(size * 1.4)


def _own_ink(text: str, size: int, height: int, width: int, bold: bool) -> Ink:
    """A line put together from cached letters, since most new lines are numbers that change."""
    import cv2

    # Drawn large and averaged: at the final size each letter would start at a whole pixel.
    large = np.zeros((height * FINE, width * FINE), np.uint8)
    pen = 0.0
    for letter in text:
        mask, left = _letter(letter, size, bold)
        first = round(pen) + left
        part = large[:, max(first, 0) : max(first + mask.shape[1], 0)]
        np.maximum(part, mask[:, max(-first, 0) :][:, : part.shape[1]], out=part)
        pen += _advance(letter, size)
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=8192)
def _letter(letter: str, size: int, bold: bool) -> tuple[Ink, int]:
    """A large letter: its columns with ink, and the first of them, which may be negative."""
    from PIL import Image
    from PIL import ImageDraw as drawing

    margin = size * FINE  # letters may reach beyond their own width
    width = 2 * margin + round(_advance(letter, size))
    image = Image.new("L", (width, line_height(size) * FINE))
    stroke = max(1, round(size * FINE / 48)) if bold else 0
    pen = drawing.Draw(image)
    pen.text((margin, 0), letter, font=_font(size * FINE), fill=255, stroke_width=stroke)
    mask = np.array(image)
    inked = np.flatnonzero(mask.any(axis=0))
    if not inked.size:
        return mask[:, :0], 0
    return mask[:, inked[0] : inked[-1] + 1], int(inked[0]) - margin


@lru_cache(maxsize=8192)
def _advance(letter: str, size: int) -> float:
    """From the start of a letter to the next one, in pixels of the large letters.

    Pillow's font has no kerning.
    """
    return _font(size * FINE).getlength(letter)


def _foreign_ink(text: str, size: int, height: int, width: int) -> Ink:
    import cv2

    ink: Any = np.zeros((height, width), np.uint8)
    cv2.putText(ink, _visible(text), (0, size), 255, _foreign_face(), size)
    return ink


def _is_foreign(text: str) -> bool:
    """Whether the text needs OpenCV's font, and OpenCV has it."""
    letters = frozenset(text.translate(SIMPLER))
    return not letters <= FACE and _foreign_face() is not None


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


@cache
def _foreign_face() -> Any:
    import cv2

    return cv2.FontFace("uni") if hasattr(cv2, "FontFace") else None


@cache
def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
