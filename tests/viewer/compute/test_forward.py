"""One frame through the net: what the viewer shows is what the net's plain passes give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise
from helpers.pane_views import has, view
from helpers.small_model import LABELS, write_model

import deepvis_caffe as dv
from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.engines.base import Net
from deepvis_caffe.settings import load_settings
from deepvis_caffe.viewer.compute import forward as forward_module
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.panes import input as input_pane
from deepvis_caffe.viewer.parts import Parts, scene_of
from deepvis_caffe.viewer.sources.open_source import parse_sources
from deepvis_caffe.viewer.state.catalogue import as_maps, catalogue
from deepvis_caffe.viewer.state.request import Frame, Request, Result, request_of
from deepvis_caffe.viewer.state.state import Scene, State

CONV, FC, PROB = 0, 1, 2


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))


@pytest.fixture
def scene(net: Net) -> Scene:
    return Scene(catalogue(net), LABELS)


def frame(number: int = 1) -> Frame:
    picture = np.random.default_rng(number).integers(0, 256, (30, 44, 3)).astype(np.uint8)
    return Frame(picture, number, f"noise {number}")


def same(result: Result, net: Net, picture: np.ndarray) -> None:
    """The activations are those of a plain forward pass of that picture."""
    name = ("conv/1", "fc", "prob")[result.request.layer]
    plain = net.forward(net.preprocessor(picture)[None], blobs=[name])[name]
    np.testing.assert_array_equal(result.maps, as_maps(plain))


def test_activations_and_scores_are_the_net_s(net: Net, scene: Scene) -> None:
    result = Compute(net, scene)(frame(), Request(CONV))
    scores = net.forward(net.preprocessor(frame().picture)[None], blobs=["prob"])["prob"]
    np.testing.assert_array_equal(result.scores, scores[0])
    same(result, net, frame().picture)
    assert result.back is None
    assert result.diffs is None


def test_the_time_of_the_first_frame_is_that_of_its_pass(
    net: Net, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, forward = [100.0], net.forward

    def loaded() -> Net:
        now[0] += 30
        return net

    def passed(*given: Any, **named: Any) -> Any:
        now[0] += 0.25
        return forward(*given, **named)

    monkeypatch.setattr(net, "loaded", loaded)
    monkeypatch.setattr(net, "forward", passed)
    monkeypatch.setattr(forward_module.time, "perf_counter", lambda: now[0])
    assert Compute(net, scene)(frame(), Request(CONV)).seconds == 0.25


def test_the_picture_is_what_the_net_saw(net: Net, scene: Scene) -> None:
    compute = Compute(net, scene)
    for resize, columns in (("crop", slice(2, 42)), ("stretch", slice(None))):
        # 30 x 44 cut to 3:4 is 30 x 40; both are then averaged to 12 x 16
        expected = dv.load_net(net.model.prototxt, net.model.weights, "torch").preprocessor
        small = expected.show(expected(frame().picture[:, columns]))
        shown = compute(frame(), Request(CONV, resize=resize)).picture
        if resize == "crop":
            assert np.abs(shown.astype(int) - small.astype(int)).max() <= 1
        else:
            assert np.abs(shown.astype(int) - small.astype(int)).max() > 20


def test_an_array_of_as_many_channels_as_the_net_has(engine: str, tmp_path: Path) -> None:
    text = net_text(conv("c", "data", 5), data=(1, 5, 6, 6))
    weights = np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1), np.zeros(5, np.float32)
    own = load_text(engine, tmp_path, text, {"c": weights}, picture_channels=(4, 2, 0))
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 5)).astype(np.uint8)
    np.save(tmp_path / "a.npy", image)
    (source,) = parse_sources(str(tmp_path / "a.npy"))
    Parts(own, [source], tmp_path / "out")  # tells the source what the net takes
    shot = source.read(lambda seconds: None)
    assert shot is not None
    found = Frame(shot.picture, 1, shot.name)
    result = Compute(own, Scene(catalogue(own)))(found, Request(0))
    np.testing.assert_allclose(result.maps, image.transpose(2, 0, 1), rtol=1e-6)
    np.testing.assert_array_equal(result.picture, image[..., [4, 2, 0]])
    waiting = replace(view(np.ones((2, 2, 2))), result=None, frame=found)
    assert has(input_pane.PANE.draw(waiting, 200, 200), image[2, 2, :3].tolist())


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize(("layer", "unit"), [(CONV, 2), (FC, 1)])
def test_the_pass_starts_from_the_unit_s_own_activations(
    net: Net, scene: Scene, mode: str, layer: int, unit: int
) -> None:
    asked = State(layer=layer, unit=unit, back=mode, show_back=True)
    result = Compute(net, scene)(frame(), request_of(asked, scene))
    name = ("conv/1", "fc")[layer]
    values = net.forward(net.preprocessor(frame().picture)[None], blobs=[name])[name]
    only = np.zeros_like(result.maps)
    only[unit] = as_maps(values)[unit] if layer == CONV else 1  # a single value is its own score
    np.testing.assert_array_equal(result.diffs, only)  # at the source: what was sent
    expected = net.backward(name, only.reshape(values.shape), mode)["data"][0]
    assert np.abs(expected).max() > 0
    np.testing.assert_array_equal(result.back, expected)


def never() -> bool:
    return False


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_attribute_says(net: Net, scene: Scene, method: str) -> None:
    compute = Compute(net, scene)
    asked = request_of(State(layer=FC, unit=1, back=method), scene)
    result = compute(frame(), asked)
    same(result, net, frame().picture)
    if METHODS[method].many_passes:
        assert result.later
        assert result.back is None
        later = compute.finish(never)
        assert later is not None
        assert later.number > result.number
        result = later
    assert not result.later
    assert compute.finish(never) is None
    if METHODS[method].why_not(net):
        assert result.back is None
        assert "needs the torch engine" in result.why_no_back
        return
    expected = dv.attribute(net, frame().picture, "fc", 1, method).map
    assert expected.any()
    np.testing.assert_allclose(result.back, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["grad_cam", "smooth_grad"])
def test_other_layers_of_the_frame_after_a_method_of_its_own_passes(
    net: Net, scene: Scene, method: str
) -> None:
    """Those passes leave other values in the net."""
    compute = Compute(net, scene)
    first = compute(frame(), request_of(State(layer=FC, source=(FC, 1), back=method), scene))
    finished = compute.finish(never) or first
    for at in (CONV, PROB):
        state = State(layer=at, source=(FC, 1), back=method)
        result = compute(frame(), request_of(state, scene))
        same(result, net, frame().picture)
        assert result.back is finished.back
    state = State(layer=CONV, source=(FC, 1), back="gradient", show_back=True)
    result = compute(frame(), request_of(state, scene))
    expected = dv.attribute(net, frame().picture, "fc", 1).map
    np.testing.assert_allclose(result.back, expected, atol=1e-5 * np.abs(expected).max())


def test_many_passes_give_way_to_the_next_frame_and_go_on_for_the_same(
    net: Net, scene: Scene
) -> None:
    compute = Compute(net, scene)
    asked = request_of(State(layer=FC, unit=1, back="integrated_gradients"), scene)
    other_layer = replace(asked, layer=CONV)
    compute(frame(1), asked)
    came = [(frame(2), asked), (frame(2), other_layer)]

    def between() -> bool:
        if came:
            compute(*came.pop(0))
        return False

    result = compute.finish(between)  # the first is given up for another frame, the second is not
    assert result is not None
    assert (result.frame.number, result.request) == (2, other_layer)
    same(result, net, frame(2).picture)
    expected = dv.attribute(net, frame(2).picture, "fc", 1, "integrated_gradients").map
    np.testing.assert_allclose(result.back, expected, atol=1e-5 * np.abs(expected).max())
    compute(frame(3), asked)
    assert compute.finish(lambda: True) is None  # the viewer ends
    broken = Frame(np.zeros((0, 4, 3), np.uint8), 4, "empty")
    with pytest.raises(dv.DeepVisError, match="no pixels"):
        compute(broken, asked)
    assert compute.finish(never) is None


def test_many_passes_of_a_stream_wait_until_it_is_frozen(net: Net, scene: Scene) -> None:
    compute, live = Compute(net, scene), replace(frame(), live=True)
    state = State(layer=FC, back="occlusion")
    result = compute(live, request_of(state, scene))
    assert result.why_no_back == "it takes many passes: freeze the input with f"
    assert compute.finish(never) is None
    assert compute(live, request_of(replace(state, frozen=True), scene)).later
    found = compute.finish(never)
    assert found is not None
    expected = dv.attribute(net, frame().picture, "fc", 0, "occlusion").map
    np.testing.assert_allclose(found.back, expected, atol=1e-5 * np.abs(expected).max())
    few = compute(live, request_of(replace(state, back="grad_cam"), scene))
    assert few.back is not None


def test_what_a_method_cannot_do_is_said_and_the_rest_is_shown(net: Net, scene: Scene) -> None:
    result = Compute(net, scene)(frame(), request_of(State(layer=CONV, back="grad_cam"), scene))
    assert result.back is None
    assert result.why_no_back.startswith("no single layer with maps lies between the image and")
    same(result, net, frame().picture)


def test_diffs_of_a_layer_below_a_held_source(net: Net, scene: Scene) -> None:
    asked = State(layer=CONV, back="gradient", source=(FC, 3), show_back=True)
    result = Compute(net, scene)(frame(), request_of(asked, scene))
    weights = net.model.weights["fc"][0][3]  # of an inner product the gradient is its weights
    np.testing.assert_allclose(
        result.diffs * (result.maps > 0),
        weights.reshape(result.maps.shape) * (result.maps > 0),
        rtol=1e-5,
        atol=1e-7,
    )
    above = State(layer=PROB, back="gradient", source=(FC, 3), show_back=True)
    assert not Compute(net, scene)(frame(), request_of(above, scene)).diffs.any()


def test_the_pass_of_a_held_source_runs_once_for_a_frame(net: Net, scene: Scene) -> None:
    asked: list[list[str]] = []
    backward = net.backward
    net.backward = lambda *args: asked.append([args[0], *args[2:]]) or backward(*args)  # type: ignore[func-returns-value]
    compute = Compute(net, scene)

    def back(layer: int, number: int = 1, mode: str = "gradient", diffs: bool = False) -> Result:
        state = State(layer=layer, back=mode, source=(FC, 3), show_back=diffs)
        return compute(frame(number), request_of(state, scene))

    first, second = back(CONV), back(PROB)
    assert asked == [["fc", "gradient", ["data"]]]
    np.testing.assert_array_equal(first.back, second.back)
    seen = back(CONV, diffs=True)
    assert asked[1:] == [["fc", "gradient", ["data", "conv/1"]]]
    back(FC), back(CONV, diffs=True)
    assert len(asked) == 2
    others = back(FC, mode="deconv"), back(FC, number=2), back(FC)
    assert len(asked) == 5, "another mode, another frame, and the first one's pass is forgotten"
    net.backward = backward
    for result in (first, seen, *others):
        request = result.request
        fresh = Compute(net, scene)(result.frame, request)
        np.testing.assert_array_equal(result.back, fresh.back)
        if request.diffs:
            np.testing.assert_array_equal(result.diffs, fresh.diffs)


def test_back_from_a_blob_of_no_axis(engine: str, tmp_path: Path) -> None:
    (tmp_path / "sum.prototxt").write_text(
        'name: "sum" input: "data" input_shape { dim: 1 dim: 1 dim: 2 dim: 3 }'
        'layer { name: "sum" type: "Reduction" bottom: "data" top: "sum" }'
    )
    net = dv.load_net(tmp_path / "sum.prototxt", {}, engine=engine, mean=(0,))
    scene = Scene(catalogue(net))
    result = Compute(net, scene)(frame(), request_of(State(back="gradient", show_back=True), scene))
    total = net.preprocessor(frame().picture).sum()
    np.testing.assert_allclose(result.maps, [[[total]]], rtol=1e-5)
    np.testing.assert_array_equal(result.back, np.ones((1, 2, 3)))
    np.testing.assert_array_equal(result.diffs, [[[1]]])


def test_walking_through_layers_runs_the_net_once(net: Net, scene: Scene) -> None:
    passes = []
    forward = net.forward
    net.forward = lambda *args, **kw: passes.append(kw["blobs"]) or forward(*args, **kw)
    compute = Compute(net, scene)
    results = [compute(frame(), Request(layer, scores=False)) for layer in (CONV, PROB, FC, CONV)]
    assert [list(blobs) for blobs in passes] == [["conv/1"]]  # and nothing above it was read
    net.forward = forward
    for result in results:
        same(result, net, frame().picture)
    assert [result.number for result in results] == [1, 2, 3, 4]


def test_frames_of_a_stream_give_the_same_and_any_request_can_follow(
    net: Net, scene: Scene
) -> None:
    live = Frame(frame().picture, 1, "camera 0", live=True)
    compute = Compute(net, scene)
    still = Compute(net, scene)(frame(), Request(CONV))
    first = compute(live, Request(CONV))
    np.testing.assert_allclose(first.maps, still.maps, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.scores, still.scores, rtol=1e-5, atol=1e-6)
    same(
        compute(live, Request(FC, scores=False, back="gradient", source=(FC, 1))), net, live.picture
    )
    same(compute(live, Request(PROB)), net, live.picture)


def test_another_frame_or_fit_is_another_pass(net: Net, scene: Scene) -> None:
    compute = Compute(net, scene)
    first = compute(frame(1), Request(CONV))
    second = compute(frame(2), Request(CONV))
    stretched = compute(frame(2), Request(CONV, resize="stretch"))
    same(second, net, frame(2).picture)
    assert np.abs(first.maps - second.maps).max() > 0.01
    assert np.abs(stretched.maps - second.maps).max() > 0.01


def test_a_failed_frame_leaves_nothing_behind(net: Net, scene: Scene) -> None:
    compute = Compute(net, scene)
    compute(frame(1), Request(CONV))
    broken = Frame(np.zeros((0, 4, 3), np.uint8), 2, "empty")
    with pytest.raises(dv.DeepVisError, match="no pixels"):
        compute(broken, Request(CONV))
    same(compute(frame(1), Request(FC)), net, frame(1).picture)


def test_without_classes_there_are_no_scores(engine: str, tmp_path: Path) -> None:
    from helpers.engine_nets import conv, load_text, net_text

    net = load_text(engine, tmp_path, net_text(conv("conv1", "data", 2, 3), data=(1, 3, 8, 8)))
    assert Compute(net, Scene(catalogue(net)))(frame(), Request(0)).scores is None


# -- what a detector finds -----------------------------------------------------------------------

FOUND = "num_classes: 3 code_type: CORNER variance_encoded_in_target: true nms_param { }"
ZERO = "power_param { scale: 0 }"
PRIORS = [[0.25, 0, 0.5, 0.75], [0.5, 0.5, 1, 1]]
SCORES = [[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]


@pytest.fixture
def finder(engine: str, tmp_path: Path) -> Net:
    """A net that finds the same two boxes in every image."""
    inner = "inner_product_param {{ num_output: {} }}"
    text = net_text(
        conv("conv", "data", 2),
        layer("nothing", "Power", "conv", "", ZERO),
        layer("offsets", "InnerProduct", "nothing", "", inner.format(8)),
        layer("scores", "InnerProduct", "nothing", "", inner.format(6)),
        layer("prior", "PriorBox", "conv data", "", "prior_box_param { min_size: 1 clip: false }"),
        layer("none", "Power", "prior", "", ZERO),
        layer(
            "found",
            "DetectionOutput",
            "offsets scores none",
            "",
            f"detection_output_param {{ {FOUND} }}",
        ),
        data=(1, 3, 1, 2),
    )
    weights = arrays(
        conv=(noise(2, 3, 1, 1), np.zeros(2)),
        offsets=(np.zeros((8, 4)), np.ravel(PRIORS)),
        scores=(np.zeros((6, 4)), np.ravel(SCORES)),
    )
    return load_text(engine, tmp_path, text, weights)


@pytest.mark.parametrize("live", [False, True])
def test_what_a_detector_finds_has_its_label_and_its_place(finder: Net, live: bool) -> None:
    scene = Scene(catalogue(finder), ("cat", "dog"))
    shown = replace(frame(), live=live)
    found = Compute(finder, scene)(shown, Request(CONV)).boxes
    assert [(name, round(box.score, 5)) for box, name in found] == [("cat", 0.4), ("dog", 0.7)]
    places = [(box.left, box.top, box.right, box.bottom) for box, _ in found]
    np.testing.assert_allclose(places, PRIORS[::-1])
    sure = Compute(finder, replace(scene, box_score=0.5))(shown, Request(CONV)).boxes
    assert [name for _, name in sure] == ["dog"]


def test_boxes_are_computed_only_where_they_are_shown(
    finder: Net, net: Net, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    forward = finder.forward
    monkeypatch.setattr(
        finder, "forward", lambda x, blobs: asked.extend(blobs) or forward(x, blobs)
    )
    own = Scene(catalogue(finder))
    assert Compute(finder, own)(frame(), request_of(State(boxes=False), own)).boxes == ()
    assert asked == ["conv"]
    assert Compute(finder, own)(frame(), request_of(State(), own)).boxes
    assert asked == ["conv", "conv", "found"]
    assert Compute(net, scene)(frame(), request_of(State(), scene)).boxes == ()  # no detector
    assert [scene_of(one).finds_boxes for one in (finder, net)] == [True, False]
