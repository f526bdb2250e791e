"""The settings file: a Python module, run in a namespace of its own; and a template to start from.

Names that the file assigns are settings; names that begin with an underscore, imported modules and
functions are the file's own business. Other names are ignored with a warning, unless they are
nearly a setting's.
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


FILE_NAME = "settings_local.py"
VARIABLE = "DEEPVIS_SETTINGS"

log = logging.getLogger(__name__)


def find_settings_file(path: str | os.PathLike[str] | None = None) -> Path | None:
    """The settings file to read: `path`, else ``$DEEPVIS_SETTINGS``, else ./settings_local.py.

    Returns
    -------
    Path or None
        Absolute; None where nothing is named and the current folder has no such file.

    Raises
    ------
    SettingsError
        The file that is named does not exist.
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
    """Read the settings file and put `overrides` over it.

    Parameters
    ----------
    path
        The file; found as :func:`find_settings_file` says where None. Relative paths in it start
        at its folder.
    overrides
        Settings that win over the file's, by name. Relative paths here start at the current folder.

    Raises
    ------
    SettingsError
        The file is missing or fails, or a setting is unknown or does not fit: with file and line,
        or with the flag.
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
        log.warning("%s: these names are no settings and are ignored: %s", path, ", ".join(ignored))
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
    if settings.source:
        update["source"] = ",".join(_beside(path, one) for one in settings.source.split(","))
    return settings.model_copy(update=update)


def _beside(path: Path, source: str) -> str:
    """One of the viewer's sources: if it is a file or folder, then from the settings' folder."""
    beside = path.parent / source.strip()
    return str(beside) if beside.exists() else source.strip()


def _run(path: Path) -> dict[str, Any]:
    """Run the file; the names that it leaves."""
    try:
        names = runpy.run_path(str(path))
    except SyntaxError as error:
        old = "; Python 2's print needs brackets here" if "print" in (error.text or "") else ""
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
    """Whether a name is a setting's, or so near to one that it must be a slip of the pen."""
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
