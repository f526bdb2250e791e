"""Compiles the module with CMake: ``(sources, build folder) -> _caffe.so, caffe_pb2.py``."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common import BuildError, say
from cuda import Cuda

__all__ = ["compile_module"]

PROGRESS = re.compile(r"^\[\s*(\d+)%\] (.*)")
# Between two lines of progress, where the output is no terminal.
PERCENT_STEP = 5


def compile_module(source: Path, build: Path, cuda: Cuda | None, jobs: int, log: Path) -> None:
    """Compile ``_caffe.so`` and generate ``caffe_pb2.py``.

    An interrupted compilation goes on from where it stopped when it is called again.

    Parameters
    ----------
    source : Path
        Caffe's sources.
    build : Path
        Build folder; the results are in it afterwards.
    cuda : Cuda or None
        The toolkit to build with, None for a CPU-only build.
    jobs : int
        How many files to compile at a time.
    log : Path
        Receives everything that CMake and the compiler say.
    """
    build.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    # Settings may have changed since an earlier try; what is compiled with the same ones stays.
    (build / "CMakeCache.txt").unlink(missing_ok=True)
    configure = ["cmake", "-S", str(Path(__file__).resolve().parent), "-B", str(build)]
    configure += ["-G", "Unix Makefiles", "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DCAFFE_SOURCE={source}", f"-DPython3_EXECUTABLE={sys.executable}"]
    if cuda:
        configure += ["-DCAFFE_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={cuda.nvcc}"]
        configure += [f"-DCMAKE_CUDA_ARCHITECTURES={cuda.architectures}"]
    with log.open("w", encoding="utf-8") as handle:
        run(configure, handle, log)
        run(["cmake", "--build", str(build), "--parallel", str(jobs)], handle, log)


def run(command: Sequence[str], handle: IO[str], log: Path) -> None:
    """Run one step, write what it says to the log and show how far it is.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    handle : text file
        The open log.
    log : Path
        Its path, for messages.

    Raises
    ------
    BuildError
        If the step fails; the message ends with what the compiler said.
    """
    handle.write(f"$ {' '.join(command)}\n")
    started = time.monotonic()
    shown = -PERCENT_STEP
    with own_group(command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            handle.write(line)
            step = PROGRESS.match(line)
            if step and (sys.stdout.isatty() or int(step[1]) >= shown + PERCENT_STEP):
                shown = int(step[1])
                show(shown, step[2], time.monotonic() - started)
    if sys.stdout.isatty() and shown >= 0:
        say()
    if process.returncode:
        handle.flush()
        raise BuildError(
            f"{command[0]} failed with exit status {process.returncode}:\n"
            f"{last_words(log)}\nThe whole log: {log}"
        )


@contextmanager
def own_group(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command with its children in a process group, and leave none of them behind.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.

    Yields
    ------
    Popen
        The process; its standard output and error are one pipe.
    """
    process = subprocess.Popen(
        list(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    except BaseException:
        # make removes the file that it was writing when it gets this signal.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise


def show(percent: int, what: str, seconds: float) -> None:
    """Show how far the compilation is, in place where the output is a terminal.

    Parameters
    ----------
    percent : int
        How much is done.
    what : str
        What CMake says it is doing.
    seconds : float
        Since the start.
    """
    built = re.match(r"Building (\w+) object .*?([^/]+)\.o$", what)
    text = f"[{percent:3d}%] {int(seconds) // 60}:{int(seconds) % 60:02d}  "
    text += built[2] if built else what
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + text[:width].ljust(width), end="", flush=True)
    else:
        say(text)


def last_words(log: Path) -> str:
    """Return the part of the log that says why a step failed.

    Parameters
    ----------
    log : Path
        The log.

    Returns
    -------
    str
        The first error and what follows it, else the last lines; 25 lines at most.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    error = re.compile(r"\berror\b:?|CMake Error|\*\*\*", re.IGNORECASE)
    # Commands and progress may hold the word too (error.cpp): they start with a $ or a [.
    first = next(
        (i for i, line in enumerate(lines) if error.search(line) and line[:1] not in "[$"), None
    )
    part = lines[-25:] if first is None else lines[max(0, first - 3) : first + 22]
    return "\n".join("    " + line for line in part)
