"""The cache of built wheels, and the key that decides when one can be reused.

``<cache>/pycaffe/`` holds ``<key>/`` with one wheel each, ``build/<key>/`` during a build (from
which an interrupted build resumes), ``logs/<key>.log`` and the downloaded sdist.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sources
import toolchain
from common import BuildError, say
from cuda import Cuda

__all__ = ["build_inputs", "cache_folder", "find_wheel", "key_of", "locked", "store"]

HERE = Path(__file__).resolve().parent
# The files in this folder that determine a wheel's content.
SHAPING = (
    "CMakeLists.txt",
    "compiling.py",
    "cuda_cpu_layers.cpp",
    "cuda_device_properties.hpp",
    "cuda_proposal_backward.hpp",
    "sources.py",
    "wheels.py",
)


def cache_folder() -> Path:
    """Return the folder for everything that is kept between builds.

    Returns
    -------
    Path
        ``pycaffe`` in ``$DEEPVIS_CACHE``, else in the user's cache folder for deepvis_caffe.
    """
    root = os.environ.get("DEEPVIS_CACHE")
    if root:
        return Path(root).expanduser().resolve() / "pycaffe"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser().resolve() / "deepvis_caffe" / "pycaffe"


def build_inputs(cuda: Cuda | None) -> dict[str, object]:
    """List everything that a wheel's content depends on.

    Parameters
    ----------
    cuda : Cuda or None
        The toolkit to build with, None for a CPU-only build.

    Returns
    -------
    dict
        Plain values, by name.

    Raises
    ------
    BuildError
        If numpy is not installed.
    """
    try:
        numpy = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        raise BuildError("The key needs numpy, whose version is a part of it.") from None
    return {
        "sdist": sources.SDIST_SHA256,
        "recipe": {name: sources.sha256_of(HERE / name) for name in SHAPING},
        "abi": sysconfig.get_config_var("SOABI"),
        "platform": sysconfig.get_platform(),
        "libc": "-".join(platform.libc_ver()),
        "numpy": numpy.split(".")[0],
        "libraries": toolchain.libraries(),
        "cuda": f"{cuda.version} for {cuda.architectures}" if cuda else "none",
    }


def key_of(inputs: dict[str, object]) -> str:
    """Return the key of a build.

    Parameters
    ----------
    inputs : dict
        What `build_inputs` returned.

    Returns
    -------
    str
        16 hexadecimal digits of a SHA-256.
    """
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_wheel(folder: Path) -> Path | None:
    """Find the wheel in a key's folder.

    Parameters
    ----------
    folder : Path
        ``<cache>/pycaffe/<key>``.

    Returns
    -------
    Path or None
        None if there is none, or if it is damaged.
    """
    for wheel in sorted(folder.glob("*.whl")):
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.testzip() is None:
                    return wheel
        except (OSError, zipfile.BadZipFile):
            pass
        say(f"{wheel} is damaged and will be built again.")
    return None


def store(wheel: Path, folder: Path) -> Path:
    """Move a finished wheel to its place atomically.

    Parameters
    ----------
    wheel : Path
        The wheel, on the same file system.
    folder : Path
        ``<cache>/pycaffe/<key>``.

    Returns
    -------
    Path
        The wheel's new path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return wheel.replace(folder / wheel.name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, so that two builds with the same key do not share a folder.

    Parameters
    ----------
    path : Path
        The lock file. The system releases the lock when the process ends, however it ends.

    Yields
    ------
    None
        While the lock is held.
    """
    import fcntl  # not on every system; `build.py` has a better message than an ImportError

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another build of the same wheel is under way: waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
