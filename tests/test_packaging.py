"""The package's metadata are the same everywhere."""

from __future__ import annotations

import re

import yaml
from helpers.markdown import ROOT

import deepvis_caffe


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == deepvis_caffe.__version__
    assert cited["title"].startswith("deepvis_caffe")


def test_the_version_is_written_once() -> None:
    (written,) = re.findall(
        r'^__version__ = "(.*)"$',
        (ROOT / "deepvis_caffe/__init__.py").read_text(encoding="utf-8"),
        flags=re.M,
    )
    assert written == deepvis_caffe.__version__
    for name in ("setup.py", "pyproject.toml"):
        assert not re.search(r"^\s*version\s*=\s*\"", (ROOT / name).read_text(), flags=re.M)
