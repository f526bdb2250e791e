"""Suggested commands, as text to paste: ``words -> "deepvis gallery '/a b'"``."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

PROGRAM = "deepvis"


def command(*words: str | os.PathLike[str]) -> str:
    """A command of this program that works unchanged in this machine's shell, in any folder.

    Parameters
    ----------
    words
        Its name and arguments. A `Path` is made absolute.
    """
    absolute = [str(word.absolute()) if isinstance(word, Path) else str(word) for word in words]
    return shlex.join([_program(), *absolute])


def _program() -> str:
    """The name of this program in the user's shell, or its path if the shell does not find it."""
    called = Path(sys.argv[0])
    if called.stem != PROGRAM:
        return PROGRAM
    with suppress(OSError):
        found = shutil.which(PROGRAM)
        if found is not None and Path(found).samefile(called):
            return PROGRAM
    return str(called.absolute())
