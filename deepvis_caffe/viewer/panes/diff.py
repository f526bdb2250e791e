"""The input's diff as a picture, in the view that is set."""

from __future__ import annotations

import numpy as np

from deepvis_caffe.figures.montage import vivid
from deepvis_caffe.figures.saliency import heat, overlay, show_diff
from deepvis_caffe.image import Floats, Picture, resize_image
from deepvis_caffe.viewer.panes.colors import BROKEN
from deepvis_caffe.viewer.panes.maps import input_diff
from deepvis_caffe.viewer.state.view import View

ABOUT_GRAY = ("raw", "gray")  # a few extreme pixels would take most of their range


def diff_picture(view: View) -> Picture | None:
    """The picture of the backward result; None while there is none."""
    diff = input_diff(view)
    if diff is None:
        return None
    if view.state.back_view == "heat":
        return heated_input(view)
    picture = show_diff(_finite(diff), view.preprocessor, view.state.back_view)
    picture = vivid(picture) if view.state.back_view in ABOUT_GRAY else picture
    return _marked(picture, diff)


def heated_input(view: View) -> Picture | None:
    """The picture that the net saw under a heat map; None while there is no backward result."""
    diff = input_diff(view)
    if diff is None or view.result is None:
        return None
    warm, picture = heat(_finite(diff)), view.result.picture
    if warm.shape != picture.shape[:2]:
        warm = resize_image(warm, *picture.shape[:2])
    return _marked(overlay(picture, warm), diff)


def _finite(diff: Floats) -> Floats:
    return np.nan_to_num(diff, posinf=0, neginf=0)


def _marked(picture: Picture, diff: Floats) -> Picture:
    """Mark pixels whose diff is no number, as the grid does."""
    bad = np.asarray(~np.isfinite(diff).all(axis=0), np.uint8)
    if bad.any():
        picture = picture.copy()
        picture[resize_image(bad, *picture.shape[:2]) > 0] = BROKEN
    return picture
