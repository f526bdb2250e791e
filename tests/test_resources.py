"""Files that ship with the package, and its extras."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import setuptools

from deepvis_caffe import resources

ROOT = Path(__file__).parents[1]


def test_optional_parts_are_installed_from_where_the_package_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(resources.pip_install("torch"))
    assert words == ["pip", "install", "-e", f"{ROOT}[torch]"]
    installed = tmp_path / "site-packages" / "deepvis_caffe" / "resources.py"
    monkeypatch.setattr(resources, "__file__", str(installed))
    assert shlex.split(resources.pip_install("plots"))[-1] == "deepvis_caffe[plots]"


def test_errors_name_parts_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    package = (path.read_text() for path in (ROOT / "deepvis_caffe").rglob("*.py"))
    named = set(re.findall(r"pip_install\([\"'](\w+)[\"']\)", "".join(package)))
    monkeypatch.setattr(setuptools, "setup", lambda **packaging: None)
    monkeypatch.chdir(ROOT)
    assert named == {"torch", "plots", "dask", "browser"}
    assert named <= set(runpy.run_path("setup.py")["EXTRAS"])
