"""The documented list of layer types equals the torch engine's."""

from __future__ import annotations

import re

from helpers.markdown import ROOT

from deepvis_caffe.engines.torch import layers  # noqa: F401 (fills the registry)
from deepvis_caffe.engines.torch.layer import BUILDERS
from deepvis_caffe.model import composites, dialects, volumes
from deepvis_caffe.model.python_layers import ALLOWED
from deepvis_caffe.model.shapes import RULES

REWRITTEN = {*composites.PARTS, *volumes.TYPES, *dialects.DEPTHWISE, *dialects.RENAMED}


def listed(page: str) -> set[str]:
    """The names in backticks in a page's tables that begin with a capital letter."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([A-Z]\w*)`", row)}


def test_the_torch_engine_has_every_type_whose_shapes_are_known() -> None:
    assert set(BUILDERS) == set(RULES)


def test_every_type_that_runs_is_listed_and_no_other() -> None:
    assert listed("layers.md") - REWRITTEN <= set(BUILDERS)
    assert listed("layers.md") | listed("engines.md") >= (set(BUILDERS) - {ALLOWED}) | REWRITTEN
