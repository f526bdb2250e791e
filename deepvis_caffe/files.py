"""Files that are written completely or not at all: ``with whole_file(path) as part: ...``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its place if the block ends without an error.

    Yields
    ------
    Path
        The new, empty file. If the block raises, it is deleted, and `path` stays as it was.

    Raises
    ------
    OSError
        The folder does not exist, or cannot be written to.
    """
    # Not made by tempfile, whose files only their owner can read: a file that is simply opened gets
    # the mode that the user's umask gives any new file.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.open("xb").close()
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file completely or not at all; missing parent folders are created.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
