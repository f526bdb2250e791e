"""Redraw a pane only if something it depends on has changed: ``Redraw(function)(view)``.

A pane is a pure function of the `View`. While it draws, it gets a proxy that records every field it
reads, with its value. As long as these fields keep their values in later views, the cached picture
is returned. So dependencies are tracked automatically; no list of them can go out of date.

The state and the status are tracked field by field; anything else (a result, a unit's pictures) is
compared as a whole, by identity. Properties count as fields: a pane that only needs to know whether
there is a frame reads `View.has_frame`, and is not redrawn for every frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from typing import Any, Generic, TypeVar, cast

from deepvis_caffe.viewer.panes.view import Status, View
from deepvis_caffe.viewer.state.state import State

T = TypeVar("T")
Path = tuple[str, ...]

BY_FIELD = (State, Status)
BY_VALUE = (bool, int, float, str, tuple, type(None), *BY_FIELD)  # others by identity


def unchanged(view: View, before: View | None) -> bool:
    """Whether no field of a view has changed, so that no pane has to be checked."""
    return before is not None and all(
        _same(getattr(view, one.name), getattr(before, one.name)) for one in fields(View)
    )


class Redraw(Generic[T]):
    """Caches a function of a view until something that it read changes.

    Parameters
    ----------
    function
        ``(view, *arguments) -> value``. It must depend on nothing else. It may read fields and
        properties of the view, but call no methods.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self._function = function
        self._arguments: tuple[Any, ...] | None = None
        self._reads: list[tuple[Path, Any]] = []
        self.last: T  # the value of the last call

    def is_current(self, view: View, *arguments: Any) -> bool:
        """Whether the last value is also valid for this view and these arguments."""
        # Checked in reading order, so that no field is read that the function would not reach.
        return arguments == self._arguments and all(
            _same(reduce(getattr, path, view), value) for path, value in self._reads
        )

    def __call__(self, view: View, *arguments: Any) -> T:
        """The function's value, cached if still current."""
        if not self.is_current(view, *arguments):
            reads: dict[Path, Any] = {}
            self.last = self._function(cast(View, _Recorder(view, (), reads)), *arguments)
            self._reads, self._arguments = list(reads.items()), arguments
        return self.last


class _Recorder:
    """A proxy that records the attributes read from an object."""

    __slots__ = ("_object", "_path", "_reads")

    def __init__(self, object_: object, path: Path, reads: dict[Path, Any]) -> None:
        self._object, self._path, self._reads = object_, path, reads

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self._object, name), (*self._path, name)
        if isinstance(value, BY_FIELD):
            return _Recorder(value, path, self._reads)
        self._reads[path] = value
        return value


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    return isinstance(one, BY_VALUE) and isinstance(other, BY_VALUE) and bool(one == other)
