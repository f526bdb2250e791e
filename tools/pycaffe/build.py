"""Build the Python module of a fork of Caffe 1.0 for the running Python, and install it there.

The sources are unpatched: they come from the package index, pinned by their hash, and only the
CMake file beside this one is ours. The result is a wheel in a cache, so a second run takes seconds.

    python tools/pycaffe/build.py                  # what `make pycaffe` runs
    python tools/pycaffe/build.py --apt-packages   # what a bare Debian or Ubuntu needs first

Steps: check the system; compute the key; take the wheel from the cache, or build it (sdist ->
compile -> wheel); install it, and check the installed module against numpy.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cache
import compiling
import cuda
import sources
import toolchain
import wheels
from common import BuildError, output_of, say


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Parameters
    ----------
    arguments : sequence of str or None
        The arguments; None for the process's own.

    Returns
    -------
    Namespace
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--apt-packages",
        action="store_true",
        help="print the Debian/Ubuntu packages that a build needs, and stop",
    )
    parser.add_argument(
        "--print-key", action="store_true", help="print the key of the wheel to build, and stop"
    )
    parser.add_argument(
        "--no-install", action="store_true", help="build the wheel, but do not install it"
    )
    parser.add_argument(
        "--force", action="store_true", help="build again from scratch, whatever the cache holds"
    )
    parser.add_argument(
        "--cuda",
        choices=cuda.CHOICES,
        default="auto",
        help="compile the GPU kernels; auto: where nvidia-smi shows a GPU and nvcc is there",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        help="files to compile at a time (default: one a processor)",
    )
    parser.add_argument(
        "--sdist",
        type=Path,
        help=f"a downloaded copy of {sources.SDIST}, for a machine without a network",
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {options.jobs}")
    return options


def build(options: argparse.Namespace, toolkit: cuda.Cuda | None, key: str) -> Path:
    """Take the wheel from the cache, or build it.

    Parameters
    ----------
    options : Namespace
        The command line.
    toolkit : Cuda or None
        The CUDA toolkit to build with.
    key : str
        The build's key.

    Returns
    -------
    Path
        The wheel in the cache.
    """
    root = cache.cache_folder()
    work = root / "build" / key
    with cache.locked(root / "build" / f"{key}.lock"):
        cached = None if options.force else cache.find_wheel(root / key)
        if cached:
            say(f"Using the wheel built before: {cached}")
            return cached
        if options.force:
            shutil.rmtree(work, ignore_errors=True)
        sdist = sources.fetch(root, options.sdist)
        kind = f"CUDA {toolkit.version} ({toolkit.architectures})" if toolkit else "CPU only"
        say(f"Compiling Caffe, {kind}, {options.jobs} files at a time, in {work}")
        say("This takes minutes, once. Interrupt it at will: the next run goes on from there.")
        sources.unpack(sdist, work / "source")
        log = root / "logs" / f"{key}.log"
        compiling.compile_module(work / "source", work / "cmake", toolkit, options.jobs, log)
        version = wheels.version_of(toolkit.tag if toolkit else "cpu", key)
        wheel = wheels.pack(work / "source", work / "cmake", version, work)
        wheel = cache.store(wheel, root / key)
        shutil.rmtree(work)
        return wheel


def verify(wheel: Path, toolkit: cuda.Cuda | None) -> str:
    """Check the installed module in a process of its own.

    Parameters
    ----------
    wheel : Path
        The wheel that was installed.
    toolkit : Cuda or None
        The CUDA toolkit that it was built with; a GPU is checked, too, if there is one.

    Returns
    -------
    str
        What was checked, for the final message.

    Raises
    ------
    BuildError
        If the module cannot be imported, or its results differ from numpy's.
    """
    device = "gpu" if toolkit and output_of(["nvidia-smi", "-L"]) else "cpu"
    program = Path(__file__).resolve().with_name("smoke.py").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, wheel.name.split("-")[1], device],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = "\n".join("    " + line for line in (done.stdout + done.stderr).splitlines()[-25:])
        raise BuildError(
            f"The installed pycaffe failed its check (exit status {done.returncode}):\n{said}\n"
            f"The wheel: {wheel}\nTo build it again from scratch: add --force."
        )
    return "forward and backward agree with numpy" + (" on CPU and GPU" if device == "gpu" else "")


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks.

    Parameters
    ----------
    options : Namespace
        The command line.
    """
    if options.apt_packages:
        print(" ".join(toolchain.apt_packages()))
        return
    started = time.monotonic()
    toolchain.check()
    if not options.print_key:
        wheels.install_runtime()
    toolkit = cuda.find_cuda(options.cuda)
    key = cache.key_of(cache.build_inputs(toolkit))
    if options.print_key:
        print(key)
        return
    wheel = build(options, toolkit, key)
    checked = "not installed"
    if not options.no_install:
        wheels.install(wheel)
        checked = f"installed in {sys.prefix}; {verify(wheel, toolkit)}"
    say(f"pycaffe: {wheel} ({time.monotonic() - started:.0f} s; {checked})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : sequence of str or None
        The arguments; None for the process's own.

    Returns
    -------
    int
        Exit status: 0, 1 if the build fails, 130 if it was interrupted.
    """
    # Treat SIGTERM like Ctrl-C, so that the compilers are stopped, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(parse(arguments))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The next run goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
