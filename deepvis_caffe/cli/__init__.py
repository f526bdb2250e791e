"""The `deepvis` command, one file a subcommand. Only this package prints.

Its entry point is here, and imports the rest where an interrupt is expected.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

INTERRUPTED = 130


def main() -> None:
    """The entry point of the `deepvis` command."""
    # Imports make a million objects that stay, PyTorch's most of them: to go through them again and
    # again takes a tenth of the start.
    gc.set_threshold(50_000)
    try:
        from deepvis_caffe.cluster.cores import waiting

        os.environ.update(waiting(os.environ))  # before any library with threads is loaded
        from deepvis_caffe.cli.main import run

        try:
            run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:  # before a command ran: while modules were imported
        _end("interrupted", INTERRUPTED)
    except OSError as error:  # a full disk behind a redirection
        _end(f"cannot write to the standard output: {error.strerror}", 1)


def _end(why: str, code: int) -> None:
    with suppress(OSError):
        sys.stderr.write(f"\ndeepvis: {why}\n")
    # What is still in Python's buffers would be tried again at exit, with a traceback.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)
