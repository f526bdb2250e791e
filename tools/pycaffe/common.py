"""What the other modules of this folder share: one error, one way to speak, one way to run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

__all__ = ["BuildError", "output_of", "say"]


class BuildError(RuntimeError):
    """The build cannot go on; the message says what to do about it."""


def say(text: str = "") -> None:
    """Print one line, at once also where the output is a pipe.

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
        Standard output without the white space around it; None where the program is not there,
        fails, or takes longer than a minute.
    """
    try:
        done = subprocess.run(
            list(command), input=stdin, capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
