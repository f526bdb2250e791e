"""Work for the children of `tools.corpus`, which import it by name: nets that fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Tell = Callable[..., None]


def hang(*args: Any) -> None:
    """Get as far as forward, start a process, report its PID as the number of layers; never end."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    args[-1](stage="forward", layers=started.pid)
    started.wait()


def hog(*args: Any) -> None:
    """Ask for 64 GiB that are never written to."""
    args[-1](stage="forward")
    bytearray(64 * 2**30)


def abort(*args: Any) -> None:
    """End the process as a failed check of Caffe's does."""
    args[-1](stage="build")
    sys.stderr.write("W0102 03:04:05.678 42 net.cpp:7] some warning\n")
    sys.stderr.write("F0102 03:04:05.678 42 net.cpp:12] Check failed: 2 == 3 (2 vs. 3)\n")
    sys.stderr.write("*** Check failure stack trace: ***\n    @ 0x7f01 (unknown)\n")
    sys.stderr.flush()
    os.abort()
