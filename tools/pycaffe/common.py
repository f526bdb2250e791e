"""What the other modules in this folder share: the error, printing, and running programs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

__all__ = ["BuildError", "output_of", "say"]


class BuildError(RuntimeError):
    """The build cannot continue; the message says what to do about it."""


def say(text: str = "") -> None:
    """Print one line, and flush it, in case the output is a pipe.

    Parameters
    ----------
    text : str
        The line.
    """
    print(text, flush=True)


def output_of(command: Sequence[str], stdin: str = "") -> str | None:
    """Run a short command and return what it printed.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    stdin : str
        Text for its standard input.

    Returns
    -------
    str or None
        Standard output without surrounding white space; None if the program does not exist, fails,
        or takes longer than a minute.
    """
    try:
        done = subprocess.run(
            list(command), input=stdin, capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
