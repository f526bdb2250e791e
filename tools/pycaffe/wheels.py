"""Packs, installs and describes the wheel: ``(sources, build folder) -> wheel``."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

from common import BuildError, say

__all__ = ["RUNTIME", "install", "install_runtime", "pack", "version_of"]

CAFFE_VERSION = "1.0.0"
# What pycaffe's Python files import when `import caffe` runs.
RUNTIME = ("numpy", "protobuf", "scikit-image", "scipy", "six")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
EPOCH = (1980, 1, 1, 0, 0, 0)


def version_of(tag: str, key: str) -> str:
    """Return the wheel's version.

    Parameters
    ----------
    tag : str
        ``cpu``, or for example ``cu124``.
    key : str
        The build's key.

    Returns
    -------
    str
        For example ``1.0.0+cpu.0a1b2c3d``.
    """
    return f"{CAFFE_VERSION}+{tag}.{key[:8]}"


def pack(source: Path, built: Path, version: str, folder: Path) -> Path:
    """Write the wheel. The same inputs give the same bytes.

    Parameters
    ----------
    source : Path
        Caffe's sources.
    built : Path
        Folder with ``_caffe.so`` and ``caffe_pb2.py``.
    version : str
        The wheel's version.
    folder : Path
        Where to write it.

    Returns
    -------
    Path
        The wheel.
    """
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform_tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    tag = f"{python}-{python}{sys.abiflags}-{platform_tag}"
    package = source / "python" / "caffe"
    files = {
        f"caffe/{path.relative_to(package)}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.suffix in (".py", ".npy")
    }
    files.setdefault("caffe/proto/__init__.py", b"")
    files["caffe/proto/caffe_pb2.py"] = (built / "caffe_pb2.py").read_bytes()
    files["caffe/_caffe.so"] = (built / "_caffe.so").read_bytes()

    info = f"caffe-{version}.dist-info"
    files[f"{info}/licenses/LICENSE"] = (source / "LICENSE").read_bytes()
    files[f"{info}/METADATA"] = metadata(version).encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: deepvis_caffe\nRoot-Is-Purelib: false\nTag: {tag}\n"
    ).encode()
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD").encode()

    wheel = folder / f"caffe-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


def metadata(version: str) -> str:
    """Return the text of METADATA.

    Parameters
    ----------
    version : str
        The wheel's version.

    Returns
    -------
    str
        Name, version and what to have beside it.
    """
    # A module compiled against numpy 2 also runs on 1.23 and later; one compiled against 1 does not
    # run on 2.
    built_with = int(importlib.metadata.version("numpy").split(".")[0])
    numpy = "numpy>=1.23" if built_with >= 2 else "numpy<2"
    needs = [numpy, "protobuf>=3.20.2", *(name for name in RUNTIME[2:])]
    lines = [
        "Metadata-Version: 2.1",
        "Name: caffe",
        f"Version: {version}",
        "Summary: Caffe's Python module, built from unpatched sources for this machine",
        "License: BSD-2-Clause",
        f"Requires-Python: =={sys.version_info.major}.{sys.version_info.minor}.*",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    return "\n".join(lines) + "\n"


def record(files: dict[str, bytes], own_name: str) -> str:
    """Return the text of RECORD.

    Parameters
    ----------
    files : dict of str to bytes
        Every other file of the wheel.
    own_name : str
        RECORD's own path, which is listed without a hash.

    Returns
    -------
    str
        One line a file.
    """
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own_name},,"]) + "\n"


def missing_runtime() -> list[str]:
    """List what pycaffe imports and this environment lacks.

    Returns
    -------
    list of str
        Names of packages.
    """
    missing = []
    for name in RUNTIME:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def install_runtime() -> None:
    """Install what pycaffe imports, where it is missing; what is there is left as it is."""
    missing = missing_runtime()
    if missing:
        say(f"Installing {', '.join(missing)}, which pycaffe imports")
        run_pip([*PIP, *missing])


def install(wheel: Path) -> None:
    """Install the wheel into the running Python's environment.

    Parameters
    ----------
    wheel : Path
        The wheel.
    """
    run_pip([*PIP, "--no-deps", "--no-index", "--force-reinstall", str(wheel)])


def run_pip(command: Sequence[str]) -> None:
    """Run pip.

    Parameters
    ----------
    command : sequence of str
        The whole command.

    Raises
    ------
    BuildError
        If pip fails; what it says is shown above.
    """
    if subprocess.run(list(command), check=False).returncode:
        raise BuildError(
            "pip failed (see above): " + " ".join(command) + "\n"
            f"If {sys.executable} has no pip: {sys.executable} -m ensurepip"
        )
