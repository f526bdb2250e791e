"""Write docs/keys.md, the list of the viewer's keys: `python -m tools.keys_page`.

It is generated from the table that the viewer itself uses; a test fails if it is out of date.
"""

from __future__ import annotations

from pathlib import Path

from deepvis_caffe.viewer.state.actions import ACTIONS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "keys.md"
TOP = """# All keys of the viewer

Press `h` in the viewer for the same list. [viewer.md](viewer.md) describes the panes.
"""


def page() -> str:
    """The page: a table for each group, with a line for each help text."""
    groups: dict[str, dict[str, list[str]]] = {}
    for action in ACTIONS:
        groups.setdefault(action.group, {}).setdefault(action.help, []).extend(action.keys)
    lines = [TOP]
    for group, texts in groups.items():
        lines += [f"## {group}", "", "| keys | action |", "|---|---|"]
        lines += [
            f"| {' '.join(f'`{key}`' for key in keys)} | {text} |" for text, keys in texts.items()
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
