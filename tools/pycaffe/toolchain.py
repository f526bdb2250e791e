"""What a build needs from the system, how to find it, and which Debian package has it.

Files are searched where CMake searches, so the check itself needs no installed tools.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import BuildError

__all__ = ["apt_packages", "check", "libraries", "python_version"]

# Which Python a distribution's Boost.Python package is built for (one version each).
BOOST_PYTHON = {
    "bullseye": "3.9",
    "bookworm": "3.11",
    "trixie": "3.13",
    "jammy": "3.10",
    "noble": "3.12",
}
# Folders below include/ and lib/ in which Debian installs variants of a library.
VARIANTS = ("", "hdf5/serial", "openblas-pthread", "openblas")


@dataclass(frozen=True)
class Requirement:
    """One thing that a build needs.

    Attributes
    ----------
    what : str
        Its name, for messages.
    package : str
        The Debian and Ubuntu package that has it.
    programs : tuple of str
        Any one of these programs will do.
    headers, libraries : tuple of str
        Header files and libraries (without ``lib`` and ``.so``), all of them needed.
    """

    what: str
    package: str
    programs: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    def present(self) -> bool:
        """Return whether the system has it.

        Returns
        -------
        bool
            True when a build can use it.
        """
        if self.programs and not any(shutil.which(name) for name in self.programs):
            return False
        return all(map(find_header, self.headers)) and all(map(find_library, self.libraries))


def python_version() -> str:
    """Return the running Python's version as ``3.11``.

    Returns
    -------
    str
        Major and minor version.
    """
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def boost_python() -> Requirement:
    """Return Boost.Python for the running Python.

    Returns
    -------
    Requirement
        Its library's name carries the Python version.
    """
    name = "boost_python" + python_version().replace(".", "")
    return Requirement(
        f"Boost.Python for Python {python_version()}",
        "libboost-python-dev",
        headers=("boost/python.hpp",),
        libraries=(name,),
    )


def requirements() -> list[Requirement]:
    """List everything that a build needs from the system.

    Returns
    -------
    list of Requirement
        In the order in which messages name them.
    """
    needed = [
        Requirement(
            "a C++ compiler", "g++", programs=(os.environ.get("CXX") or "g++", "g++", "clang++")
        ),
        Requirement("make", "make", programs=("make", "gmake")),
        Requirement("CMake", "cmake", programs=("cmake",)),
        Requirement("protoc", "protobuf-compiler", programs=("protoc",)),
        Requirement(
            "protobuf's C++ library",
            "libprotobuf-dev",
            headers=("google/protobuf/message.h",),
            libraries=("protobuf",),
        ),
        boost_python(),
        Requirement(
            "Boost.Thread",
            "libboost-thread-dev",
            headers=("boost/thread.hpp",),
            libraries=("boost_thread",),
        ),
        Requirement(
            "Boost.Filesystem",
            "libboost-filesystem-dev",
            headers=("boost/filesystem.hpp",),
            libraries=("boost_filesystem",),
        ),
        Requirement("glog", "libgoogle-glog-dev", headers=("glog/logging.h",), libraries=("glog",)),
        Requirement("gflags", "libgflags-dev", headers=("gflags/gflags.h",), libraries=("gflags",)),
        Requirement(
            "HDF5", "libhdf5-dev", headers=("hdf5.h", "hdf5_hl.h"), libraries=("hdf5", "hdf5_hl")
        ),
        Requirement("OpenBLAS", "libopenblas-dev", headers=("cblas.h",), libraries=("openblas",)),
    ]
    # A Python from elsewhere (pyenv, conda, python.org) comes with its headers; Debian's does not.
    if sys.base_prefix == "/usr":
        header = str(python_header())
        needed.append(
            Requirement("Python's headers", f"python{python_version()}-dev", headers=(header,))
        )
    return needed


def python_header() -> Path:
    """Return where the running Python's own C header should be.

    Returns
    -------
    Path
        ``Python.h``, which need not exist.
    """
    return Path(sysconfig.get_paths()["include"]) / "Python.h"


def apt_packages() -> list[str]:
    """List the Debian and Ubuntu packages that a bare machine needs.

    Returns
    -------
    list of str
        Package names, whether installed or not.
    """
    return [requirement.package for requirement in requirements()]


def search_roots() -> Iterator[Path]:
    """Yield the installation roots that CMake searches.

    Yields
    ------
    Path
        The entries of ``CMAKE_PREFIX_PATH``, then the system's.
    """
    for entry in re.split("[:;]", os.environ.get("CMAKE_PREFIX_PATH", "")):
        if entry:
            yield Path(entry)
    yield Path("/usr/local")
    yield Path("/usr")


def find_header(name: str) -> Path | None:
    """Find a C or C++ header.

    Parameters
    ----------
    name : str
        Its name as in ``#include``, or an absolute path.

    Returns
    -------
    Path or None
        The first match; None if there is none.
    """
    for root in search_roots():
        include = root / "include"
        for folder in (include, *include.glob(f"{platform.machine()}-linux-gnu*")):
            for variant in VARIANTS:
                if (folder / variant / name).is_file():
                    return folder / variant / name
    return None


def find_libraries(pattern: str) -> list[Path]:
    """Find shared libraries.

    Parameters
    ----------
    pattern : str
        Name without ``lib`` and ``.so``; may contain wildcards.

    Returns
    -------
    list of Path
        All matches, in the order of the search.
    """
    found: list[Path] = []
    for root in search_roots():
        arch = (root / "lib").glob(f"{platform.machine()}-linux-gnu*")
        for folder in (root / "lib", root / "lib64", *arch):
            for variant in VARIANTS:
                found += sorted((folder / variant).glob(f"lib{pattern}.so"))
    return found


def find_library(name: str) -> Path | None:
    """Find one shared library.

    Parameters
    ----------
    name : str
        Name without ``lib`` and ``.so``.

    Returns
    -------
    Path or None
        The first match; None if there is none.
    """
    return next(iter(find_libraries(name)), None)


def libraries() -> dict[str, str]:
    """Name the exact build of every library that the module will be linked to.

    Returns
    -------
    dict of str to str
        Library name to its real file's name, for example ``libglog.so.0.6.0``. That names the
        binary interface on every distribution, and is unchanged by a security update.
    """
    names = [name for requirement in requirements() for name in requirement.libraries]
    found = {name: find_library(name) for name in names}
    return {name: path.resolve().name if path else "missing" for name, path in found.items()}


def check() -> None:
    """Check that the system has everything that a build needs.

    Raises
    ------
    BuildError
        If something is missing; the message names all of it, with one line that installs it.
    """
    if not sys.platform.startswith("linux"):
        raise BuildError(f"pycaffe is built on Linux only, and this is {sys.platform}.")
    missing = [requirement for requirement in requirements() if not requirement.present()]
    if not missing and not python_header().exists():
        raise BuildError(
            f"{python_header()} is missing: this Python ({sys.executable}) came without its C "
            "headers. Make the virtual environment with one that has them."
        )
    if not missing:
        return
    lines = ["pycaffe cannot be built yet. Missing: " + ", ".join(r.what for r in missing) + "."]
    other = other_boost_python() if boost_python() in missing else None
    if other:
        missing.remove(boost_python())
        lines += [
            f"Boost.Python on this system is for Python {other}; this is Python "
            f"{python_version()} ({sys.executable}).",
            f"Make the virtual environment with Python {other} instead; or build Boost (python, "
            f"thread, filesystem) for Python {python_version()}, and name the folder that it is "
            "installed in in the variable CMAKE_PREFIX_PATH.",
        ]
    if missing:
        packages = " ".join(dict.fromkeys(requirement.package for requirement in missing))
        lines += ["On Debian and Ubuntu this line installs it:", "", install_line(packages), ""]
    lines.append("Without pycaffe, deepvis_caffe runs models on its embedded engine (torch).")
    raise BuildError("\n".join(lines))


def install_line(packages: str) -> str:
    """Return the line that installs packages.

    Parameters
    ----------
    packages : str
        Package names with spaces between them.

    Returns
    -------
    str
        A line to paste.
    """
    return f"    sudo apt-get update && sudo apt-get install -y {packages}"


def other_boost_python() -> str | None:
    """Return the Python version that this system's Boost.Python is for, if it is not ours.

    Returns
    -------
    str or None
        For example ``3.12``; None if it is ours or not known.
    """
    for library in find_libraries("boost_python3*"):
        digits = re.fullmatch(r"libboost_python3(\d+)", library.stem)
        if digits:
            return f"3.{digits[1]}"
    release = Path("/etc/os-release")
    text = release.read_text(encoding="utf-8") if release.is_file() else ""
    codename = re.search(r"^VERSION_CODENAME=(\w+)", text, re.MULTILINE)
    version = BOOST_PYTHON.get(codename[1]) if codename else None
    return version if version != python_version() else None
