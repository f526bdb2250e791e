"""An exception in a form that can be sent between processes: ``exception <-> Failure``."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from dataclasses import dataclass
from typing import Any

from deepvis_caffe.errors import ClusterError


class WorkerTraceback(Exception):
    """A worker's traceback, as the cause of its exception here."""

    def __str__(self) -> str:
        return f"in a worker:\n\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """An exception that a worker caught.

    Attributes
    ----------
    error
        The pickled exception, or a `ClusterError` in its place if it cannot be pickled.
    trace
        Its traceback as text.
    """

    error: bytes
    trace: str

    @classmethod
    def of(cls, error: Exception, doing: str) -> Failure:
        """The failure of an exception, with a note that says what was done on which worker."""
        trace = "".join(traceback.format_exception(error))
        add_note(error, f"{doing}, on {socket.gethostname()} (process {os.getpid()})")
        return cls(_pickled(error), trace)

    def exception(self) -> Exception:
        """The exception, to raise in this process."""
        error: Exception = pickle.loads(self.error)
        error.__cause__ = WorkerTraceback(self.trace)
        return error


def name_task(error: Exception, task: Any) -> None:
    """Add a note to an exception that names its task."""
    add_note(error, in_task(task))


def in_task(task: Any) -> str:
    """The text that names a task in a note."""
    return f"in the task {task}"


def add_note(error: Exception, note: str) -> None:
    """Like ``error.add_note`` of Python 3.11."""
    error.__notes__ = [*getattr(error, "__notes__", ()), note]


def _pickled(error: Exception) -> bytes:
    """The pickled `error`, or a `ClusterError` in its place if it does not survive pickling."""
    try:
        data = pickle.dumps(error)
        again = pickle.loads(data)
        if type(again) is type(error) and str(again) == str(error):
            return data
    except Exception:  # another library's __reduce__ may raise anything
        pass
    same = ClusterError(f"{type(error).__name__}: {error}")
    same.__notes__ = getattr(error, "__notes__", [])
    return pickle.dumps(same)
