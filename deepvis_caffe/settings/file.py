"""The settings file: finding it, reading it, and a template for it.

It is a Python module, run in its own namespace. Names that it assigns are settings; names that
begin with an underscore, imported modules and functions are ignored. Unknown names are
ignored with a warning, unless they nearly match a setting: those are errors.
"""

from __future__ import annotations

import ast
import difflib
import logging
import os
import re
import textwrap
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from deepvis_caffe.errors import SettingsError, boundary, shortened
from deepvis_caffe.files import GUESSES, encoding_of, exists, is_text, read_file
from deepvis_caffe.limits import SETTINGS
from deepvis_caffe.settings.dvt import PREFIX, is_dvt, translate
from deepvis_caffe.settings.fields import BadSettingError, Settings
from deepvis_caffe.settings.mistakes import ONE_EQUALS, name_hint, other_words, syntax_hint

log = logging.getLogger(__name__)

FILE_NAME = "settings_local.py"
VARIABLE = "DEEPVIS_SETTINGS"

HEAD = """\
# Settings for deepvis_caffe. Save this file as settings_local.py and point it at your model;
# `deepvis doctor --write-settings` writes a fresh copy, and `deepvis doctor` checks it and explains
# how to fix what is wrong.
#
# This is a Python file. Relative paths in it start at its folder. Every setting is also a
# command-line flag of the same name (channel_swap is --channel-swap), and flags take precedence.
# "none" in the descriptions is None here. Names that start with an underscore are yours to use.
# A settings_local.py written for the Deep Visualization Toolbox also works as it is.
"""
EXAMPLE = 'prototxt = "path/to/deploy.prototxt"'
EXAMPLES: dict[str, Any] = {
    "prototxt": "path/to/deploy.prototxt",
    "weights": "path/to/weights.caffemodel",
}


def find_settings_file(path: str | os.PathLike[str] | None = None) -> Path | None:
    """The settings file to read: `path`, else ``$DEEPVIS_SETTINGS``, else ./settings_local.py.

    Returns
    -------
    Path or None
        An absolute path; None if no file is named and the current folder has none.

    Raises
    ------
    SettingsError
        The named file does not exist.
    """
    named = path or os.environ.get(VARIABLE)
    source = "--settings" if path else f"${VARIABLE}"
    with boundary(SettingsError, f"cannot read the settings named by {source}"):
        found = Path(named or FILE_NAME).expanduser().absolute()
        if found.is_file():
            return found
    if named is None:
        return None
    raise SettingsError(f"no settings file at {found} (named by {source})")


def load_settings(
    path: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings file and apply `overrides` to it.

    Parameters
    ----------
    path
        The file; None for the one that :func:`find_settings_file` finds. Relative paths in it are
        relative to its folder.
    overrides
        Settings by name, which take precedence over the file's. Relative paths here are relative to
        the current folder.

    Raises
    ------
    SettingsError
        The file is missing or fails, or a setting is unknown or has an invalid value. The message
        names the file and line, or the flag.
    """
    found = find_settings_file(path)
    if found is None:
        settings = Settings()
    else:
        # It runs the user's code, which may assign values of any type.
        with boundary(SettingsError, str(found)):
            settings = _read(found)
    if not overrides:
        return settings
    try:
        flags = Settings(**overrides)
    except BadSettingError as error:
        raise SettingsError(f"--{error.name.replace('_', '-')}: {error}") from None
    return settings.model_copy(update={name: getattr(flags, name) for name in overrides})


def template_text() -> str:
    """The text of a settings file: each setting's description, and its default or an example."""
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
    source = _source(path)
    names, tree = _run(path, source)
    if is_dvt(names):
        names, unused = translate(names, Settings.model_fields, path.parent)
        if unused:
            log.warning(
                "%s was written for the Deep Visualization Toolbox; these settings in it are not "
                "used here: %s",
                path,
                ", ".join(unused),
            )
    ignored = [name for name in names if not _resembles_setting(name)]
    if ignored:
        log.warning(
            "%s: these names are not settings and are ignored: %s%s",
            path,
            ", ".join(ignored),
            other_words(ignored, names),
        )
    elif not names:
        log.warning("%s sets nothing; write lines such as: %s", path, EXAMPLE)
    try:
        settings = Settings(**{name: names[name] for name in names if name not in ignored})
    except BadSettingError as error:
        line = _line_of(tree, error.name)
        hint = (
            ""
            if error.name in Settings.model_fields
            else " (names that begin with an underscore are your own)"
        )
        raise SettingsError(f"{path}{f':{line}' if line else ''}: {error}{hint}") from None
    paths = {name: value for name, value in settings if isinstance(value, Path)}
    update: dict[str, Any] = {
        name: _without_backslashes(path.parent / value)
        for name, value in paths.items()
        if name in settings.model_fields_set or name == "presets_file"
    }
    if settings.inputs:
        update["inputs"] = {
            name: path.parent / value if isinstance(value, Path) else value
            for name, value in settings.inputs.items()
        }
    if settings.source:
        update["source"] = ",".join(_beside(path, source) for source in settings.source.split(","))
    return settings.model_copy(update=update)


def _beside(path: Path, source: str) -> str:
    """One of the viewer's sources; a file or folder beside the settings file takes precedence."""
    beside = path.parent / source.strip()
    return str(beside) if exists(beside) else source.strip()


def _without_backslashes(path: Path) -> Path:
    """A path with slashes for backslashes, if only that one exists."""
    other = Path(str(path).replace("\\", "/"))
    return other if exists(other) and not exists(path) else path


def _source(path: Path) -> str:
    """The text of the file, in the encoding that it declares or that is guessed."""
    with boundary(SettingsError, f"cannot read the settings {path}"):
        data = read_file(path, SETTINGS)
    named = re.match(rb"(?:.*\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", data)  # PEP 263
    if named:
        with suppress(LookupError, UnicodeDecodeError):
            return data.decode(named[1].decode())
    encoding = encoding_of(data)
    text = data.decode(encoding, errors="replace")
    if not is_text(text):
        raise SettingsError(
            f"the settings file {path} is not a text file; expected lines such as {EXAMPLE}"
        )
    if encoding in GUESSES:
        log.warning(
            "%s is not UTF-8 and is read as %s; save it as UTF-8 if names in it come out wrong",
            path,
            encoding,
        )
    return text


def _run(path: Path, source: str) -> tuple[dict[str, Any], ast.Module]:
    """Run the file, and return the names that it assigns, and its syntax tree."""
    lines = source.splitlines()
    names: dict[str, Any] = {"__name__": "settings_local", "__file__": str(path)}
    try:
        tree = ast.parse(source, str(path))  # once: Python warns of its escapes each time
        exec(compile(tree, str(path), "exec", dont_inherit=True), names)
    except SyntaxError as error:
        hint = syntax_hint(error)
        raise SettingsError(_with_hint(path, error.lineno, error.msg, hint)) from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        number = next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)
        line = lines[number - 1] if number and number <= len(lines) else ""
        hint = (
            name_hint(error.name or "", line, Settings.model_fields)
            if isinstance(error, NameError)
            else ""
        )
        what = f"{type(error).__name__}: {shortened(str(error), 1000)}"
        raise SettingsError(_with_hint(path, number, what, hint)) from error
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is None:
            name = ast.unparse(node.target)
            if name in Settings.model_fields:  # name: "value"
                raise SettingsError(_with_hint(path, node.lineno, f"{name} is not set", ONE_EQUALS))
    return {name: value for name, value in names.items() if _is_setting(name, value)}, tree


def _with_hint(path: Path, line: int | None, what: str, hint: str) -> str:
    place = f"{path}:{line}" if line else str(path)
    return f"{place}: {what}" + (f"; {hint}" if hint else "")


def _is_setting(name: str, value: Any) -> bool:
    imported = isinstance(value, ModuleType) or type(value).__module__ == "__future__"
    if name.startswith("_") or imported:
        return False
    return not callable(value) or name.startswith(PREFIX)


def _resembles_setting(name: str) -> bool:
    """Whether a name is a setting, or so similar to one that it must be a typo."""
    return bool(difflib.get_close_matches(name.lower(), Settings.model_fields, n=1, cutoff=0.7))


def _line_of(tree: ast.Module, name: str) -> int | None:
    """The last line on which the file assigns `name`."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
    ]
    return max(lines, default=None)
