"""Errors. Each message says what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class DeepVisError(Exception):
    """Base of every error that we raise; the command line prints it without a traceback."""


class SettingsError(DeepVisError):
    """A setting or flag is unknown, or has a value that does not fit."""


class ModelError(DeepVisError):
    """The prototxt cannot be read, or describes a net that cannot be built."""


class WeightsError(DeepVisError):
    """The weights file cannot be read, or does not belong to the net."""


class ImageError(DeepVisError):
    """An image or mean cannot be read or written, or does not fit the net's input."""


class ResultsError(DeepVisError):
    """A file of the results folder is damaged, belongs to something else, or cannot be written."""


class EngineError(DeepVisError):
    """An engine is missing, or cannot run what was asked of it."""


class FetchError(DeepVisError):
    """A download failed, or the file does not match its checksum."""


class ClusterError(DeepVisError):
    """Workers cannot be reached, have another version, or keep dying."""


class ViewerError(DeepVisError):
    """The viewer lacks something it needs to be seen: a window, a port, a package."""


class UnknownNameError(DeepVisError, KeyError):
    """A name that the model, a table or the settings do not have.

    Parameters
    ----------
    kind
        What the name should have been, for example ``"layer"``.
    name
        The name that was given.
    known
        The names that exist, in the order in which to list them.
    where
        Where the name was looked up, for example the prototxt's path.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        self.kind, self.name, self.known, self.where = kind, name, tuple(known), where
        place = f" in {where}" if where else ""
        super().__init__(f"no {kind} named {name!r}{place}{did_you_mean(name, self.known)}")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:  # it is pickled in worker processes
        return type(self), (self.kind, self.name, self.known, self.where), self.__dict__


def in_words(error: Exception) -> str:
    """What to show of an error: our message by itself, any other with the name of its class."""
    return str(error) if isinstance(error, DeepVisError) else f"{type(error).__name__}: {error}"


def did_you_mean(name: str, known: Iterable[str], most: int = 30) -> str:
    """The end of an error message: the nearest known names, then a list of all of them.

    Returns
    -------
    str
        Starts with ``"; "``, or is empty if no names are known.
    """
    names = list(dict.fromkeys(known))  # a layer and its blob often share a name
    if not names:
        return ""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ";"
    listed = ", ".join(names[:most])
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{hint} known: {listed}{more}"
