"""The page of keys is up to date with the viewer's table."""

from __future__ import annotations

import re

from deepvis_caffe.viewer.state.actions import BY_KEY
from tools.keys_page import PAGE, page


def test_every_key_is_on_the_page_once() -> None:
    written = PAGE.read_text(encoding="utf-8")
    rows = [line.rpartition(" | ")[0] for line in written.splitlines() if line.startswith("| `")]
    assert sorted(key for row in rows for key in re.findall(r"`([^`]+)`", row)) == sorted(BY_KEY)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tools.keys_page`"
