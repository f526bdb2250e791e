"""Sweeps against the paper's description: each regularizer alone, linear, from none to strong."""

from __future__ import annotations

import numpy as np
import pytest

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.experiments.sweep import sweep
from deepvis_caffe.optimizer import AscentParams, Constant

BASE = AscentParams(
    decay=0.3, norm_percentile=20, rate=Constant(7), iterations=11, start="mean", sign=-1
)
FOUR = ("decay", "blur_width", "norm_percentile", "contribution_percentile")


def test_each_row_moves_one_regularizer_and_no_other() -> None:
    rows = sweep(BASE, columns=5)
    assert tuple(row.axis.parameter for row in rows) == FOUR
    for row in rows:
        for value, params in zip(row.values, row.params, strict=True):
            set_ = {name: getattr(params, name) for name in FOUR if getattr(params, name)}
            assert set_ == ({row.axis.parameter: value} if value else {})
            assert params.blur_every == (4 if row.axis.parameter == "blur_width" and value else 0)
            kept = (params.rate, params.iterations, params.start, params.sign)
            assert kept == (Constant(7), 11, "mean", -1)


def test_rows_begin_with_none_and_are_linear() -> None:
    for row in sweep(BASE, columns=5):
        assert row.values[0] == 0
        assert row.values[-1] == row.axis.strongest
        steps = np.diff(row.values)
        np.testing.assert_allclose(steps, row.axis.strongest / 4, rtol=0.02)  # three digits


def test_the_first_pictures_of_all_rows_are_one() -> None:
    assert len({row.params[0] for row in sweep(BASE)}) == 1


def test_values_of_ones_own() -> None:
    rows = sweep(BASE, columns=3, values={"decay": [0, 0.5], "norm_percentile": [10, 20, 30, 40]})
    assert [len(row.values) for row in rows] == [2, 3, 4, 3]
    assert rows[0].params[1].decay == 0.5
    assert rows[2].params[3].norm_percentile == 40


def test_values_as_a_figure_writes_them() -> None:
    decay, blur, norm, _ = (row.axis for row in sweep(BASE))
    shown = decay.show(0.25), blur.show(1.5), norm.show(32.7)
    assert shown == ("0.25", "1.5 px", "32.7%")


def test_sweeps_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="at least 2 columns"):
        sweep(BASE, columns=1)
    with pytest.raises(SettingsError, match="decay must be a fraction"):
        sweep(BASE, values={"decay": [0, 1.5]})
    with pytest.raises(UnknownNameError, match="did you mean 'decay'"):
        sweep(BASE, values={"decai": [0]})
