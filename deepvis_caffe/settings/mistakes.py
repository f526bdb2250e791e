"""Hints for common mistakes in a settings file: ``error -> hint``, or an empty string.

The file is Python, but its authors may not know Python. Most of what they write is paths.
"""

from __future__ import annotations

import re
from collections.abc import Collection

BACKSLASHES = (
    "in quotes, a backslash and the letter after it are one character, as \\n is a line break; "
    'write paths with /, or put r before the quotes: r"C:\\models\\net.prototxt"'
)
QUOTES = 'put paths and other text in quotes: prototxt = "net.prototxt"'
ONE_COMMA = "a comma at the end makes it a tuple of one; remove the comma"
ONE_EQUALS = 'use a single = to set a setting, as in prototxt = "net.prototxt"'
PLAIN_CHARACTERS = "quotes, commas and brackets must be the plain ASCII ones"
CONSTANTS = {"none": "None", "null": "None", "nil": "None", "true": "True", "false": "False"}

# A path, a number or a word where Python expects quotes: weights = models/net.caffemodel
UNQUOTED = re.compile(r"\s*\w+\s*[=:]\s*[^\s\"'(\[{#][^\"']*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# What other programs and people call our settings.
OTHER_WORDS = {
    "caffemodel": "weights",
    "network_weights": "weights",
    "model_weights": "weights",
    "pretrained": "weights",
    "model": "prototxt",
    "net": "prototxt",
    "network": "prototxt",
    "deploy": "prototxt",
    "deploy_prototxt": "prototxt",
    "model_def": "prototxt",
    "mean_file": "mean",
    "mean_value": "mean",
    "data_mean": "mean",
    "image_mean": "mean",
    "classes": "labels",
    "class_names": "labels",
    "synset": "labels",
    "gpu": "device",
    "gpu_id": "device",
    "mode": "device",
    "scale": "input_scale",
    "output": "results",
    "dataset": "images",
}


def syntax_hint(error: SyntaxError) -> str:
    """A hint for a file that is not valid Python."""
    line, reason = error.text or "", error.msg
    if "unicodeescape" in reason or ("unterminated" in reason and "\\" in line):
        return BACKSLASHES
    if "invalid character" in reason or "non-printable character" in reason:
        return PLAIN_CHARACTERS
    follows = line[error.offset or 0 :][:1]
    if "invalid decimal literal" in reason and not follows.isascii():  # Python 3.10's words
        return PLAIN_CHARACTERS
    if "print" in line:
        return "Python 2's print needs parentheses here"
    return QUOTES if UNQUOTED.fullmatch(line.rstrip()) else ""


def name_hint(name: str, line: str, known: Collection[str]) -> str:
    """A hint for a name that the file uses but does not define.

    Parameters
    ----------
    line
        The line that uses it.
    known
        The names of settings.
    """
    if name.lower() in CONSTANTS:
        return f"in Python, write {CONSTANTS[name.lower()]}"
    if name in known:
        return ONE_EQUALS
    return QUOTES if UNQUOTED.fullmatch(line.rstrip()) else ""


def control_characters(text: str) -> str:
    """What is wrong with a path that a backslash has changed; empty if nothing is."""
    found = CONTROL.search(text)
    if found is None:
        return ""
    names = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}
    return f"it contains {names.get(found[0], 'a control character')}: {BACKSLASHES}"


def other_words(names: Collection[str], assigned: Collection[str]) -> str:
    """The settings that unknown names may stand for: ``"; did you mean weights (by net)?"``.

    Parameters
    ----------
    assigned
        The settings that the file has already, which are not suggested.
    """
    found = {name: OTHER_WORDS.get(name.lower()) for name in names}
    meant = [f"{ours} (by {name})" for name, ours in found.items() if ours and ours not in assigned]
    return f"; did you mean {', '.join(meant)}?" if meant else ""
