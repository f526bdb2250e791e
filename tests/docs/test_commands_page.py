"""The page of commands lists every command of `deepvis` once."""

from __future__ import annotations

import re
from pathlib import Path

from deepvis_caffe.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_every_command_is_on_the_page_and_nothing_else() -> None:
    named = re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert sorted(named) == sorted(one.name for one in app.registered_commands if not one.hidden)
