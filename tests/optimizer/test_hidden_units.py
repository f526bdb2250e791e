"""Separate parameters for hidden units: the same pictures as with plain parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, relu

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer import AscentParams, GrayLevels, preset
from deepvis_caffe.optimizer import regularizers as r
from deepvis_caffe.optimizer.params import in_words
from deepvis_caffe.optimizer.presets import params_from_record

TEXT = net_text(
    conv("a", "data", 6, 3),
    relu("relu_a", "a"),
    conv("b", "a", 5, 3, "stride: 2"),
    layer("fc", "InnerProduct", "b", "fc", "inner_product_param { num_output: 7 }"),
    data=(1, 3, 24, 24),
)
BASE = AscentParams(decay=0.02, fourier=1.0, rate=GrayLevels(5), iterations=6)
OTHER = {"decay": 0.1, "decay_end": 0.05, "fourier": 1.5, "decorrelate": 0.9}
BOTH = BASE.but(hidden=OTHER)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT, mean=(100, 110, 120))


@pytest.mark.parametrize(
    ("name", "crop", "plain"),
    [
        ("b", "auto", BASE.but(**OTHER)),
        (dv.objectives.unit("b", 2), "auto", BASE.but(**OTHER)),
        ("b", "off", BASE),
        ("fc", "auto", BASE),
    ],
)
def test_they_count_where_only_the_receptive_field_is_run(
    net: Net, name: Any, crop: Any, plain: AscentParams
) -> None:
    units = None if isinstance(name, dv.objectives.Objective) else 2
    (got,) = dv.optimize(net, name, units, preset=BOTH, crop=crop)
    (expected,) = dv.optimize(net, name, units, preset=plain, crop=crop)
    np.testing.assert_array_equal(got.image, expected.image)
    assert got.params == BOTH  # what the record says, for any unit


def test_a_channel_that_is_read_as_a_whole_is_as_a_class(net: Net) -> None:
    (got,) = dv.optimize(net, "b", 2, preset=BOTH, position="all")
    (expected,) = dv.optimize(net, "b", 2, preset=BASE, position="all")
    np.testing.assert_array_equal(got.image, expected.image)


def test_what_is_changed_counts_for_every_unit() -> None:
    assert BOTH.but(fourier=2.0, iterations=9).for_hidden_units() == BASE.but(
        **{**OTHER, "fourier": 2.0}, iterations=9
    )
    listed = BOTH.but(regularizers=[r.decay(0.5)]).for_hidden_units()
    assert listed.chosen_regularizers == (r.decay(0.5),)
    assert listed.fourier == 1.5
    assert BOTH.but(hidden={}).for_hidden_units() == BASE


def test_they_come_back_from_their_record() -> None:
    record = json.loads(json.dumps(BOTH.record()))
    assert record["hidden"] == OTHER
    assert params_from_record(record) == BOTH
    assert hash(params_from_record(record)) == hash(BOTH)
    assert "hidden" not in BASE.record()
    assert in_words(BOTH).endswith(
        "; for hidden units decay 0.1, decay end 0.05, decorrelate 0.9, fourier 1.5"
    )


def test_only_numbers_that_act_on_an_image_alone_can_differ() -> None:
    with pytest.raises(UnknownNameError, match=r"parameter for hidden units.*iterations"):
        AscentParams(hidden={"iterations": 3})
    with pytest.raises(SettingsError, match=r"hidden: decay must be .*; got 2"):
        AscentParams(hidden={"decay": 2})
    with pytest.raises(SettingsError, match="hidden must map names"):
        AscentParams(hidden="decay")  # type: ignore[arg-type]
    for bad in ({"decay": "much"}, [1]):
        with pytest.raises(SettingsError, match="hidden"):
            params_from_record({**BASE.record(), "hidden": bad})


def test_classes_are_as_if_preset_best_had_none(net: Net) -> None:
    best = preset("best").but(iterations=5)
    assert best.for_hidden_units() != best
    (got,) = dv.optimize(net, "fc", 2, preset=best)
    (expected,) = dv.optimize(net, "fc", 2, preset=best.but(hidden={}))
    np.testing.assert_array_equal(got.image, expected.image)
