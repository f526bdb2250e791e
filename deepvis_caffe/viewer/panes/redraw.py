"""Draw again only what has changed: ``Redraw(function)(view)``.

A pane is a pure function of the `View`. While it draws, it is given a stand-in that records every
field that it reads, with the value. As long as those fields of later views have the same values,
the picture would come out the same, so the last one is returned. No list says what a pane depends
on: a pane that reads another field is drawn again from then on when that field changes.

The state and the status are recorded field by field; anything else (a result, a unit's pictures) is
one value, and another object of it is a change. Properties count as fields: a pane that only needs
to know whether there is a frame reads `View.has_frame`, and is not drawn again for every frame.
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
BY_VALUE = (bool, int, float, str, tuple, type(None), *BY_FIELD)  # all else by identity


def unchanged(view: View, before: View | None) -> bool:
    """Whether every field of a view is as it was, so that nothing has to be looked at."""
    return before is not None and all(
        _same(getattr(view, one.name), getattr(before, one.name)) for one in fields(View)
    )


class Redraw(Generic[T]):
    """A function of a view that is called again only when something that it read has changed.

    Parameters
    ----------
    function
        ``(view, *arguments) -> value``. It may depend on nothing but these; from the view, it reads
        fields and properties, and calls no methods.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self._function = function
        self._arguments: tuple[Any, ...] | None = None
        self._reads: list[tuple[Path, Any]] = []
        self.last: T  # the value of the last call

    def is_current(self, view: View, *arguments: Any) -> bool:
        """Whether the last value is that of this view and these arguments, too."""
        # In the order of reading, so that no field is looked at which the function would not reach.
        return arguments == self._arguments and all(
            _same(reduce(getattr, path, view), value) for path, value in self._reads
        )

    def __call__(self, view: View, *arguments: Any) -> T:
        """The function's value, from the last call where that is current."""
        if not self.is_current(view, *arguments):
            reads: dict[Path, Any] = {}
            self.last = self._function(cast(View, _Recorder(view, (), reads)), *arguments)
            self._reads, self._arguments = list(reads.items()), arguments
        return self.last


class _Recorder:
    """Stands in for an object, and records the attributes that are read from it."""

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
