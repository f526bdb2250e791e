"""A settings file to start from, made of the settings' own descriptions."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from deepvis_caffe.settings.fields import Settings

HEAD = """\
# Settings of deepvis_caffe: point them at your own model. The file's name is settings_local.py;
# `deepvis doctor --write-settings` writes it, and `deepvis doctor` checks what you write in it and
# says how to mend it.
#
# It is a Python file. Relative paths start at its folder. Every setting is also a flag of the
# `deepvis` command (channel_swap is --channel-swap), and the flag wins. What is written none below
# is None here, and words and paths stand in quotes. Names that begin with an underscore are your
# own. A settings_local.py of the Deep Visualization Toolbox works as it is.
"""
EXAMPLES: dict[str, Any] = {
    "prototxt": "path/to/deploy.prototxt",
    "weights": "path/to/weights.caffemodel",
    "mean": (104, 117, 123),
}


def template_text() -> str:
    """Every setting with what it means, and its default or an example."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        value = EXAMPLES.get(name, field.default)
        shown = str(value) if isinstance(value, Path) else value
        comment = textwrap.fill(
            field.description or "", 100, initial_indent="# ", subsequent_indent="# "
        )
        literal = f'"{shown}"' if isinstance(shown, str) else repr(shown)
        parts.append(f"{comment}\n{name} = {literal}\n")
    return "\n".join(parts)
