"""Errors. Each message says what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any


class DeepVisError(Exception):
    """Base class of all our errors; the command line prints them without a traceback."""


class SettingsError(DeepVisError):
    """A setting or flag is unknown, or its value is invalid."""


class ModelError(DeepVisError):
    """The prototxt cannot be read, or describes a net that cannot be built."""


class UnknownShapeError(ModelError):
    """Neither the prototxt nor the weights give the shape of an input.

    Attributes
    ----------
    blob
        The input.
    """

    def __init__(self, blob: str, message: str) -> None:
        self.blob = blob
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:  # worker processes pickle it
        return type(self), (self.blob, *self.args), self.__dict__


class WeightsError(DeepVisError):
    """The weights file cannot be read, or does not belong to the net."""


class ImageError(DeepVisError):
    """An image or mean cannot be read or written, or does not fit the net's input."""


class ResultsError(DeepVisError):
    """A file in the results folder is damaged, belongs to another run, or cannot be written."""


class EngineError(DeepVisError):
    """An engine is missing, or cannot run what was asked of it."""


class OutOfMemoryError(EngineError):
    """There is not enough memory; see `deepvis_caffe.engines.out_of_memory`."""


class FetchError(DeepVisError):
    """A download failed, or the file does not match its checksum."""


class ClusterError(DeepVisError):
    """Workers cannot be reached, run another version, or keep dying."""


class ViewerError(DeepVisError):
    """The viewer lacks something that it needs: a window, a port, a package."""


class UnknownNameError(DeepVisError, KeyError):
    """A name does not exist in the model, a table or the settings.

    Parameters
    ----------
    kind
        What the name stands for, for example ``"layer"``.
    name
        The unknown name.
    known
        The names that exist, in the order to list them.
    where
        Where the name was looked up, for example the prototxt's path.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        self.kind, self.name, self.known, self.where = kind, name, tuple(known), where
        place = f" in {where}" if where else ""
        super().__init__(f"no {kind} named {name!r}{place}{did_you_mean(name, self.known)}")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:  # worker processes pickle it
        return type(self), (self.kind, self.name, self.known, self.where), self.__dict__


def in_words(error: BaseException) -> str:
    """An error as a message: ours as it is, any other after the name of its class."""
    return str(error) if isinstance(error, DeepVisError) else f"{type(error).__name__}: {error}"


LONGEST_REASON = 300  # characters of a library's message, which may quote a whole file


@contextmanager
def boundary(kind: type[DeepVisError], what: str) -> Iterator[None]:
    """Wrap code that reads a file, so that only our own errors leave the block.

    A file may hold anything, and libraries do not document all that they raise on it.

    Parameters
    ----------
    kind
        The error to raise in place of a library's.
    what
        The beginning of its message, such as ``"cannot read the mean file m.npy"``; a colon and
        the reason follow.
    """
    try:
        yield
    except DeepVisError:
        raise
    except OSError as error:
        raise kind(f"{what}: {error.strerror or _reason(error)}") from error
    except RecursionError as error:
        raise kind(f"{what}: it is nested too deeply") from error
    except MemoryError as error:
        raise kind(f"{what}: it needs more memory than there is") from error
    except Exception as error:
        raise kind(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # the message is built from the file's content, and may fail itself
        text = ""
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


MOST_COMPARED = 2000  # known names that an unknown one is compared with
LONGEST_COMPARED = 100  # characters; the time of a comparison grows with the square of the length


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
    near = close_names(name, names, n=3)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ";"
    listed = ", ".join(shortened(one) for one in names[:most])
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{hint} known: {listed}{more}"


def close_names(name: str, known: Iterable[str], n: int, cutoff: float = 0.6) -> list[str]:
    """The known names most similar to `name`, within the limits above."""
    if len(name) > LONGEST_COMPARED:
        return []
    short = (one for one in known if len(one) <= LONGEST_COMPARED)
    return difflib.get_close_matches(name, islice(short, MOST_COMPARED), n=n, cutoff=cutoff)


def shortened(text: str, longest: int = LONGEST_COMPARED) -> str:
    """A text from a file, cut for a message where it is longer than `longest`."""
    return text if len(text) <= longest else f"{text[:longest]}..."
