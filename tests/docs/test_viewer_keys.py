"""docs/viewer.md names every key of the viewer, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from deepvis_caffe.viewer.state.actions import BY_KEY

PAGE = Path(__file__).parents[2] / "docs" / "viewer.md"
ARROWS = ("left", "right", "up", "down")


def test_every_key_is_in_the_table() -> None:
    text = PAGE.read_text()
    table = text[text.index("| keys | action |") :].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert cells[0].strip().startswith("arrows")
    named = [key for cell in cells for key in re.findall(r"`([^`]+)`", cell)]
    assert sorted([*named, *ARROWS]) == sorted(BY_KEY)
