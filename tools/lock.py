"""Pin all that `make` installs, with hashes: setup.py's requirements -> ``requirements/*.txt``.

Run ``make lock`` after a change of setup.py or constraints.txt, and from time to time. uv finds one
set of versions for all Pythons and systems; each file has what one step of the Makefile adds:

=============  ==================================================================================
build.txt      pip, and what builds this package
run.txt        what this package, plots and the viewer in a browser require
torch.txt      PyTorch as it is on the package index, on Linux with CUDA and its libraries
torch-cpu.txt  PyTorch's builds without CUDA, which some indexes have; torch_cpu.sha256 lists them
dev.txt        the developers' tools
docs.txt       what builds the documentation
release.txt    what builds and examines distributions
=============  ==================================================================================
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
OLDEST_PYTHON = "3.10"
RUN_EXTRAS = ("torch", "plots", "browser")
BUILD = ("pip", "setuptools>=77")
OF_TORCH = re.compile(r"(cuda|nvidia)-|(torch|triton)$")
HEADER = "# Written by `make lock` from setup.py and constraints.txt: do not edit.\n"


@dataclass(frozen=True)
class Pin:
    """One version of one package, for the Pythons and systems in its marker."""

    name: str
    text: str  # the lines of the version and its hashes
    wanted_by: frozenset[str]


@cache
def declared() -> dict[str, tuple[str, ...]]:
    """The requirements in setup.py by extra; the package's own under the empty name."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    given: Mapping[str, Any] = setup.call_args.kwargs
    return {
        "": tuple(given["install_requires"]),
        **{extra: tuple(names) for extra, names in given["extras_require"].items()},
    }


def groups() -> dict[str, tuple[str, ...]]:
    """The requirements that each file covers."""
    asked = declared()
    return {
        "run": tuple(one for extra in ("", *RUN_EXTRAS) for one in asked[extra]),
        "build": BUILD,
        "dev": asked["dev"],
        "docs": asked["docs"],
        "release": asked["release"],
    }


def name_of(requirement: str) -> str:
    """The package's name as indexes spell it."""
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def resolve(requirements: Iterable[str]) -> list[Pin]:
    """Every package that these need, directly or not."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.in"
        wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
        command += ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-emit-find-links", "--allow-unsafe"]
        command += ["--constraint", str(ROOT / "constraints.txt"), str(wanted)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(pins(found))


def pins(listed: str) -> Iterator[Pin]:
    """The entries of uv's output: a version, its hashes, and comments on what requires it."""
    for entry in re.split(r"^(?=[a-z0-9])", listed, flags=re.M):
        if entry.strip():
            lines = [line for line in entry.splitlines() if not line.lstrip().startswith("#")]
            via = " ".join(re.findall(r"^ +#(?: +via)?(.*)$", entry, flags=re.M)).split()
            yield Pin(name_of(entry), "\n".join(lines), frozenset(via))


def closure(found: Iterable[Pin], roots: Iterable[str]) -> set[str]:
    """The names of some packages and of all their dependencies."""
    found, names = list(found), {name_of(root) for root in roots}
    while more := {pin.name for pin in found if pin.wanted_by & names} - names:
        names |= more
    return names


def cpu_build(version: str) -> str:
    """The entry for PyTorch's builds without CUDA, which PyPI, where uv looks, does not have."""
    listed = (FOLDER / "torch_cpu.sha256").read_text(encoding="utf-8").split()
    others = [name for name in listed[1::2] if not name.startswith(f"torch-{version}+cpu-")]
    if others:
        raise SystemExit(f"torch_cpu.sha256 must list files of {version}; it has {others[0]}")
    hashes = [f"    --hash=sha256:{digest}" for digest in listed[::2]]
    return " \\\n".join([f"torch=={version}+cpu", *hashes])


def write() -> None:
    """Resolve all groups at once, and write the files."""
    asked = groups()
    found = resolve(one for group in asked.values() for one in group)
    of_run = closure(found, asked["run"])
    of_torch = {name for name in of_run if OF_TORCH.match(name)}
    parts = {group: closure(found, roots) - of_run for group, roots in asked.items()}
    parts |= {"build": closure(found, BUILD), "run": of_run - of_torch, "torch": of_torch}
    texts = {
        group: "\n".join(pin.text for pin in found if pin.name in names)
        for group, names in parts.items()
    }
    (version,) = re.findall(r"^torch==(\S+)", texts["torch"], flags=re.M)
    texts["torch-cpu"] = cpu_build(version)
    for group, text in texts.items():
        (FOLDER / f"{group}.txt").write_text(f"{HEADER}{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
