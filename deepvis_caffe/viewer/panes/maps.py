"""Which of a result's values panes show, for the state as it is now."""

from __future__ import annotations

from deepvis_caffe.viewer.request import Floats, Result
from deepvis_caffe.viewer.view import View


def shown_maps(view: View) -> Floats | None:
    """The selected layer's activations, or its diffs where these are set; None until they come."""
    current = view.current
    if current is None:
        return None
    if shows_diffs(view):
        return current.diffs if _back_fits(view, current) else None
    return current.maps


def shows_diffs(view: View) -> bool:
    """Whether the grid is set to diffs, and there is a pass that gives some."""
    return view.state.show_back and view.state.back != "off"


def input_diff(view: View) -> Floats | None:
    """The input's diff, if it is of the pass that is set now."""
    result = view.result
    return result.back if result is not None and _back_fits(view, result) else None


def _back_fits(view: View, result: Result) -> bool:
    request, state = result.request, view.state
    return state.back != "off" and (request.back, request.source) == (state.back, state.back_source)
