"""The settings file: finding it, reading it, and a template to start from.

It is a Python module, run in a namespace of its own. Names that it assigns are settings. Names that
begin with an underscore, imported modules and functions are the file's own business. Other names
are ignored with a warning, unless they nearly match a setting's: those are errors.
"""

from __future__ import annotations

import ast
import difflib
import logging
import os
import runpy
import textwrap
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings.dvt import PREFIX, is_dvt, translate
from deepvis_caffe.settings.fields import BadSettingError, Settings

log = logging.getLogger(__name__)

FILE_NAME = "settings_local.py"
VARIABLE = "DEEPVIS_SETTINGS"

HEAD = """\
# Settings for deepvis_caffe. Save this file as settings_local.py and point it at your model;
# `deepvis doctor --write-settings` writes a fresh copy, and `deepvis doctor` checks it and explains
# how to fix what is wrong.
#
# This is a Python file. Relative paths start at the folder that it is in. Every setting is also a
# command-line flag of the same name (channel_swap is --channel-swap), and flags take precedence.
# "none" in the descriptions is None here. Names that start with an underscore are yours to use.
# A settings_local.py written for the Deep Visualization Toolbox also works as it is.
"""
EXAMPLES: dict[str, Any] = {
    "prototxt": "path/to/deploy.prototxt",
    "weights": "path/to/weights.caffemodel",
    "mean": (104, 117, 123),
}


def find_settings_file(path: str | os.PathLike[str] | None = None) -> Path | None:
    """The settings file to read: `path`, else ``$DEEPVIS_SETTINGS``, else ./settings_local.py.

    Returns
    -------
    Path or None
        Absolute. None where no file is named and the current folder has none.

    Raises
    ------
    SettingsError
        A file is named and does not exist.
    """
    named = path or os.environ.get(VARIABLE)
    found = Path(named or FILE_NAME).expanduser().absolute()
    if found.is_file():
        return found
    if named is None:
        return None
    source = "--settings" if path else f"${VARIABLE}"
    raise SettingsError(f"no settings file at {found} (named by {source})")


def load_settings(
    path: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings file and apply `overrides` to it.

    Parameters
    ----------
    path
        The file; None for the one that :func:`find_settings_file` finds. Relative paths in it start
        at its folder.
    overrides
        Settings by name, which win over the file's. Relative paths here start at the current
        folder.

    Raises
    ------
    SettingsError
        The file is missing or fails, or a setting is unknown or has a value that does not fit. The
        message names the file and line, or the flag.
    """
    found = find_settings_file(path)
    settings = Settings() if found is None else _read(found)
    if not overrides:
        return settings
    try:
        flags = Settings(**overrides)
    except BadSettingError as error:
        raise SettingsError(f"--{error.name.replace('_', '-')}: {error}") from None
    return settings.model_copy(update={name: getattr(flags, name) for name in overrides})


def template_text() -> str:
    """The text of a settings file: each setting's meaning, and its default or an example."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        value = EXAMPLES.get(name, field.default)
        shown = str(value) if isinstance(value, Path) else value
        comment = textwrap.fill(
            field.description or "",
            100,
            initial_indent="# ",
            subsequent_indent="# ",
            break_on_hyphens=False,
        )
        literal = f'"{shown}"' if isinstance(shown, str) else repr(shown)
        parts.append(f"{comment}\n{name} = {literal}\n")
    return "\n".join(parts)


def _read(path: Path) -> Settings:
    names = _run(path)
    if is_dvt(names):
        names, unused = translate(names, Settings.model_fields, path.parent)
        if unused:
            log.warning(
                "%s was written for the Deep Visualization Toolbox; these of its settings are not "
                "used here: %s",
                path,
                ", ".join(unused),
            )
    ignored = [name for name in names if not _is_meant(name)]
    if ignored:
        log.warning(
            "%s: these names are not settings and are ignored: %s", path, ", ".join(ignored)
        )
    try:
        settings = Settings(**{name: names[name] for name in names if name not in ignored})
    except BadSettingError as error:
        line = _line_of(path, error.name)
        hint = (
            ""
            if error.name in Settings.model_fields
            else " (names that begin with an underscore are your own)"
        )
        raise SettingsError(f"{path}{f':{line}' if line else ''}: {error}{hint}") from None
    paths = {name: value for name, value in settings if isinstance(value, Path)}
    update: dict[str, Any] = {
        name: path.parent / value
        for name, value in paths.items()
        if name in settings.model_fields_set or name == "presets_file"
    }
    if settings.inputs:
        update["inputs"] = {
            name: path.parent / value if isinstance(value, Path) else value
            for name, value in settings.inputs.items()
        }
    if settings.source:
        update["source"] = ",".join(_beside(path, one) for one in settings.source.split(","))
    return settings.model_copy(update=update)


def _beside(path: Path, source: str) -> str:
    """One of the viewer's sources; a file or folder is looked for beside the settings file."""
    beside = path.parent / source.strip()
    return str(beside) if beside.exists() else source.strip()


def _run(path: Path) -> dict[str, Any]:
    """Run the file, and return the names that it assigns."""
    try:
        names = runpy.run_path(str(path))
    except SyntaxError as error:
        old = "; Python 2's print needs parentheses here" if "print" in (error.text or "") else ""
        raise SettingsError(f"{error.filename}:{error.lineno}: {error.msg}{old}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)
        place = f"{path}:{line}" if line else str(path)
        raise SettingsError(f"{place}: {type(error).__name__}: {error}") from error
    return {name: value for name, value in names.items() if _is_setting(name, value)}


def _is_setting(name: str, value: Any) -> bool:
    imported = isinstance(value, ModuleType) or type(value).__module__ == "__future__"
    if name.startswith("_") or imported:
        return False
    return not callable(value) or name.startswith(PREFIX)


def _is_meant(name: str) -> bool:
    """Whether a name is a setting's, or so close to one that it must be a typo."""
    return bool(difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.7))


def _line_of(path: Path, name: str) -> int | None:
    """The line on which the file assigns `name` last."""
    tree = ast.parse(path.read_bytes())
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
    ]
    return max(lines, default=None)
