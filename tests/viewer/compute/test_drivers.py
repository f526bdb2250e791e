"""What drives a unit, live: the numbers of `drivers`, computed only where they are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text
from helpers.small_model import LABELS, write_model

import deepvis_caffe as dv
from deepvis_caffe.attribution.drivers import REACHES, Reach
from deepvis_caffe.engines.base import Net
from deepvis_caffe.settings import load_settings
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.panes.view import drivers_of
from deepvis_caffe.viewer.state.catalogue import catalogue
from deepvis_caffe.viewer.state.request import Frame, Result, request_of
from deepvis_caffe.viewer.state.state import Scene, State

CONV, FC, PROB = 0, 1, 2
PICTURE = np.random.default_rng(5).integers(0, 256, (30, 44, 3)).astype(np.uint8)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))


@pytest.fixture
def scene(net: Net) -> Scene:
    return Scene(catalogue(net), LABELS)


def result_of(net: Net, scene: Scene, state: State, live: bool = False) -> Result:
    return Compute(net, scene)(Frame(PICTURE, 1, "noise", live), request_of(state, scene))


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("index", "name", "reach", "below"),
    [
        *((FC, "fc", "nearest", CONV), (PROB, "prob", "nearest", FC)),
        *((FC, "fc", "stage", CONV), (PROB, "prob", "stage", CONV)),
    ],
)
def test_they_are_those_of_the_library(
    net: Net, scene: Scene, live: bool, index: int, name: str, reach: Reach, below: int
) -> None:
    state = State(layer=index, unit=2, drivers=True, reach=reach)
    found = result_of(net, scene, state, live).drivers
    assert found is not None
    expected = dv.drivers(net, PICTURE, name, 2, count=None, reach=reach)
    for sign, some in ((1, found.raising), (-1, found.lowering)):
        best = [one for one in expected if one.contribution * sign > 0][:6]
        assert best
        assert [ref for _, ref in some] == [(below, one.unit) for one in best]
        for (one, _), other in zip(some, best, strict=True):
            np.testing.assert_array_equal(one.map, other.map)
            assert (one.contribution, one.share) == (other.contribution, other.share)
        total = sum(one.share for one in expected if one.share * sign > 0)
        assert (found.raised if sign > 0 else found.lowered) == pytest.approx(total)


def test_of_the_first_layer_they_are_the_image_s_channels(net: Net, scene: Scene) -> None:
    unit = int(result_of(net, scene, State()).maps.max(axis=(1, 2)).argmax())
    found = result_of(net, scene, State(layer=CONV, unit=unit, drivers=True)).drivers
    assert found is not None
    every = (*found.raising, *found.lowering)
    assert {one.layer for one, _ in every} == {"data"}
    assert {ref for _, ref in every} == {None}
    assert found.refs == ()


def test_another_reach_is_another_request(net: Net, scene: Scene) -> None:
    """What is known of the one is not shown for the other."""
    near, far = (State(layer=PROB, unit=2, drivers=True, reach=one) for one in REACHES)
    result = result_of(net, scene, near)
    assert drivers_of(result, near) is result.drivers
    assert drivers_of(result, far) is None
    assert request_of(near, scene) != request_of(far, scene)
    hidden = [replace(one, drivers=False) for one in (near, far)]
    assert request_of(hidden[0], scene) == request_of(hidden[1], scene)


def test_nothing_is_computed_where_they_are_not_shown(net: Net, scene: Scene) -> None:
    passes: list[object] = []
    backward = net.backward
    net.backward = lambda *args, **more: passes.append(args) or backward(*args, **more)  # type: ignore[method-assign, func-returns-value]
    for state in (State(layer=FC), State(layer=FC, drivers=True, zoom="unit")):
        assert request_of(state, scene).drivers is None
        assert result_of(net, scene, state).drivers is None
    assert not passes
    result_of(net, scene, State(layer=FC, drivers=True))
    assert len(passes) == 1


def test_where_there_are_none_the_rest_is_there(engine: str, tmp_path: Path) -> None:
    text = net_text(conv("conv", "data", 4), layer("best", "ArgMax", "conv"), data=(1, 3, 12, 16))
    net = load_text(engine, tmp_path, text)
    scene = Scene(catalogue(net))
    result = result_of(net, scene, State(layer=1, drivers=True))
    assert result.drivers is not None
    assert "has no gradient" in result.drivers.why_not
    assert result.maps.any()
