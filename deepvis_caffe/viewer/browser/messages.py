"""The text messages that a page may send.

They are untrusted: types, names and ranges are validated. Coordinates are pixels of the picture
that was sent to the page, from its top left corner.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from deepvis_caffe.viewer.panes.layout import within_limits
from deepvis_caffe.viewer.state.mouse import MouseKind

LONGEST = 500  # characters; the page itself sends at most 70
KEYS = (
    "left",
    "right",
    "up",
    "down",
    "esc",
    "pgup",
    "pgdn",
    "home",
    "end",
    "enter",
    "space",
    "backspace",
    "delete",
)
_CHARACTER = re.compile(r"[!-~]")

Place = Annotated[int, Field(ge=0, lt=10_000)]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Ack(_Message):
    """The page has drawn the oldest picture in flight."""

    type: Literal["ack"]


class Key(_Message):
    """A key press: an ASCII character as typed, or a name from `KEYS`."""

    type: Literal["key"]
    key: str

    @field_validator("key")
    @classmethod
    def _known(cls, key: str) -> str:
        if key not in KEYS and not _CHARACTER.fullmatch(key):
            raise ValueError(f"expected an ASCII character or one of {', '.join(KEYS)}")
        return key


class Mouse(_Message):
    """The mouse moved, clicked, turned its wheel (`steps` > 0: toward the user, down) or left."""

    type: Literal["mouse"]
    kind: MouseKind
    y: Place = 0
    x: Place = 0
    steps: Annotated[int, Field(ge=-20, le=20)] = 0


class Size(_Message):
    """The size of the page's area for pictures, in pixels."""

    type: Literal["size"]
    width: Place
    height: Place

    @property
    def clamped(self) -> tuple[int, int]:
        """(width, height), within the limits of what the viewer draws."""
        return within_limits(self.width, self.height)


class Take(_Message):
    """The visitor wants to take control."""

    type: Literal["take"]


class Webcam(_Message):
    """The visitor's webcam was switched on or off."""

    type: Literal["webcam"]
    on: bool


class Quit(_Message):
    """The visitor has confirmed to end the viewer for everybody."""

    type: Literal["quit"]


Message = Ack | Key | Mouse | Size | Take | Webcam | Quit
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def read_message(text: str) -> Message:
    """Parse a text message from a page.

    Raises
    ------
    ValueError
        It is not JSON, not a known message, or out of range.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a message of {len(text)} characters; the longest has {LONGEST}")
    return _ADAPTER.validate_json(text)
