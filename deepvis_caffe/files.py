"""Files written whole or not at all: ``with whole_file(path) as part: ...``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which gets its name if the block ends without an error.

    Yields
    ------
    Path
        The empty file; it is gone if the block raises, and `path` is as it was.

    Raises
    ------
    OSError
        The folder is not there, or cannot be written.
    """
    # Not by tempfile, whose files only their owner can read. A file that is opened plainly gets the
    # mode that the user's umask gives any new file.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.open("xb").close()
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all; folders above it are made.

    Raises
    ------
    OSError
        It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
