"""The `deepvis` command, with one file per subcommand. Only this package prints.

The entry point is here; it imports the rest where it can catch an interrupt.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

INTERRUPTED = 130


def main() -> None:
    """The entry point of the `deepvis` command."""
    # Imports, mostly PyTorch's, make a million objects that live on. Scanning them for garbage
    # again and again takes a tenth of the startup time.
    gc.set_threshold(50_000)
    try:
        from deepvis_caffe.cluster.cores import waiting
        from deepvis_caffe.memory import keep_freed_memory

        keep_freed_memory()
        os.environ.update(waiting(os.environ))  # before any library with threads is loaded
        from deepvis_caffe.cli.main import run

        try:
            run()
        finally:
            sys.stdout.flush()
            gc.freeze()  # or the interpreter scans them once more as it ends: a quarter of a second
    except KeyboardInterrupt:  # while modules were imported, before a command ran
        _end("interrupted", INTERRUPTED)
    except OSError as error:  # for example output redirected to a full disk
        _end(f"cannot write to the standard output: {error.strerror}", 1)


def _end(why: str, code: int) -> None:
    with suppress(OSError):
        sys.stderr.write(f"\ndeepvis: {why}\n")
    # Python would try to flush its buffers again at exit, with a traceback.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)
