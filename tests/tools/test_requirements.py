"""The pinned packages cover setup.py's requirements, and all pins have hashes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.lock import FOLDER, ROOT, groups

FILES = sorted(FOLDER.glob("*.txt"))
PYTHONS = ("3.10.14", "3.11.9", "3.12.4", "3.13.1")
SYSTEMS = (("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt"))


def pins(name: str) -> list[Requirement]:
    """The pins of a file, by packaging's own reading."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line.removesuffix("\\")) for line in lines if re.match(r"[a-z]", line)]


def environments() -> Iterator[dict[str, str]]:
    """The variables of markers, for each Python and system."""
    for python in PYTHONS:
        for platform, system, os_name in SYSTEMS:
            yield {
                "python_full_version": python,
                "python_version": python.rpartition(".")[0],
                "sys_platform": platform,
                "platform_system": system,
                "os_name": os_name,
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
                "platform_machine": "x86_64",
            }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_hold_versions_with_hashes_and_nothing_else(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    entry = r"[a-z0-9-]+==[^\s;]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"# [^\n]*\n({entry})+", text)
    assert "://" not in text


@pytest.mark.parametrize("group", groups())
def test_one_version_that_is_asked_for_fits_every_python_and_system(group: str) -> None:
    found = pins(group) + pins("run") + pins("torch")
    for wanted in map(Requirement, groups()[group]):
        named = {pin for pin in found if canonicalize_name(pin.name) == wanted.name.lower()}
        for environment in environments():
            fitting = {
                str(pin.specifier)
                for pin in named
                if pin.marker is None or pin.marker.evaluate(environment)
            }
            assert len(fitting) == 1, (wanted, environment)
            assert wanted.specifier.contains(fitting.pop().removeprefix("=="))


def test_both_builds_of_pytorch_are_of_one_version() -> None:
    (of_cpu,) = pins("torch-cpu")
    (plain,) = [pin for pin in pins("torch") if pin.name == "torch"]
    cpu = Version(str(of_cpu.specifier).removeprefix("=="))
    assert (cpu.public, cpu.local) == (str(plain.specifier).removeprefix("=="), "cpu")


def test_what_pycaffe_imports_is_pinned() -> None:
    source = (ROOT / "tools" / "pycaffe" / "wheels.py").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^RUNTIME = (\(.*\))$", source, flags=re.M)
    assert set(ast.literal_eval(listed)) <= {pin.name for pin in pins("run")}
