"""What a layer's name means wherever it is accepted, against slow numpy and finite differences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import slow_layers
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu
from helpers.image_sets import write_folder

import deepvis_caffe as dv
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.dataset.scan_file import read_scan, write_scan
from deepvis_caffe.dataset.top_images import unit_examples
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.experiments.sensitivity import Pair, layers_spread, measure_sensitivity
from deepvis_caffe.image import read_image
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, Unit, make_layer
from deepvis_caffe.jobs.scan import run_scan, scan_recipe
from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
from deepvis_caffe.optimizer import AscentParams, ascent_params
from deepvis_caffe.optimizer.rates import Constant
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.results.index import read_results
from deepvis_caffe.results.scan_folder import layer_recipe
from deepvis_caffe.results.store import ResultStore
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.state.catalogue import catalogue
from deepvis_caffe.viewer.state.request import Frame, request_of
from deepvis_caffe.viewer.state.state import Scene, State

# As in ResNet, everything works in place on the convolution's blob.  A second convolution has only
# a leaky ReLU in place, and its blob has a name of its own.
TEXT = net_text(
    conv("conv1", "data", 3, 3),
    layer("bn1", "BatchNorm", "conv1", "conv1"),
    layer("scale1", "Scale", "conv1", "conv1", "scale_param { bias_term: true }"),
    relu("relu1", "conv1"),
    layer(
        "second", "Convolution", "conv1", "c2", "convolution_param { num_output: 2 kernel_size: 2 }"
    ),
    layer("leaky", "ReLU", "c2", "c2", "relu_param { negative_slope: 0.25 }"),
    layer("drop", "Dropout", "c2", "c2"),
    data=(1, 3, 6, 7),
)
SIZE = (3, 6, 7)
W1, B1 = 0.02 * noise(3, 3, 3, 3), noise(3, seed=2)
MEAN, VARIANCE, FACTOR = 0.5 * noise(3, seed=3), np.array([1.5, 0.5, 2.0]), 2.0
GAMMA, BETA = np.array([-1.5, 0.75, -0.5]), np.array([0.2, -0.1, 0.3])  # units 0 and 2 turn around
W2, B2 = noise(2, 3, 2, 2, seed=4), noise(2, seed=5)
WEIGHTS = arrays(
    conv1=(W1, B1),
    bn1=(FACTOR * MEAN, FACTOR * VARIANCE, [FACTOR]),
    scale1=(GAMMA, BETA),
    second=(W2, B2),
)
EPS = 1e-5
NAMES = ("conv1", "conv1:raw", "bn1", "scale1", "relu1", "second", "second:raw", "c2", "c2:raw")


def slow(x: np.ndarray) -> dict[str, np.ndarray]:
    """Every value of the net by its definition; see `slow_layers`."""
    per_channel = (slice(None), None, None)
    found = {"data": x.astype(np.float64)}
    found["conv1:raw"], _ = slow_layers.convolution(found["data"], W1, B1)
    scaled = (found["conv1:raw"] - MEAN[per_channel]) / np.sqrt(VARIANCE + EPS)[per_channel]
    found["bn1"] = scaled
    found["scale1"] = GAMMA[per_channel] * scaled + BETA[per_channel]
    found["relu1"] = found["conv1"] = np.maximum(found["scale1"], 0)
    found["second:raw"], _ = slow_layers.convolution(found["conv1"], W2, B2)
    found["c2:raw"] = found["second:raw"]
    found["second"] = np.where(found["c2:raw"] > 0, 1, 0.25) * found["c2:raw"]
    found["c2"] = found["leaky"] = found["drop"] = found["second"]
    return found


# Where a backward pass from a name starts: below in-place rectifiers that come last.
STARTS = {"conv1": "scale1", "second": "second:raw", "c2": "second:raw"}


def slope(name: str, x: np.ndarray, diff: np.ndarray) -> np.ndarray:
    """The gradient of sum(diff * value) by finite differences of the slow net, in float64."""
    value: Callable[[np.ndarray], float] = lambda x: float((slow(x)[name] * diff).sum())  # noqa: E731
    found, step = np.zeros(x.shape), 1e-5
    for at in np.ndindex(*x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[at] += step
        down[at] -= step
        found[at] = (value(up) - value(down)) / (2 * step)
    return found


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT, WEIGHTS, mean=(100, 110, 120))


@pytest.fixture
def x() -> np.ndarray:
    return 30 * noise(2, *SIZE, seed=7)


def test_the_net_has_units_that_are_on_and_units_that_are_off(x: np.ndarray) -> None:
    """So that the tests below tell the two apart."""
    for name in ("scale1", "second:raw"):
        on = slow(x)[name] > 0
        assert 0.2 < on.mean() < 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_pass_reads_it(net: Net, x: np.ndarray, name: str) -> None:
    expected = slow(x)[name]
    np.testing.assert_allclose(net.forward(x, [name])[name], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(net.read([name])[name], expected, rtol=1e-4, atol=1e-4)


def test_a_reduction_reads_all_of_them_and_calls_once_for_a_value(net: Net, x: np.ndarray) -> None:
    called = []

    def sums(name: str, value: object) -> np.ndarray:
        called.append(name)
        return np.array(net.ops.numpy(value), np.float64).sum(axis=0)

    found = net.reduce(x, NAMES, sums)
    assert list(found) == list(NAMES)
    assert sorted(called) == ["bn1", "conv1", "conv1:raw", "scale1", "second", "second:raw"]
    for name, value in slow(x).items():
        if name in NAMES:
            np.testing.assert_allclose(found[name], value.sum(axis=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_backward_pass_starts_there(net: Net, x: np.ndarray, name: str) -> None:
    start = STARTS.get(name, name)
    diff = noise(*slow(x)[start].shape, seed=8)
    expected = slope(start, x, diff)
    net.forward(x)
    np.testing.assert_allclose(net.backward(name, diff)["data"], expected, rtol=2e-3, atol=2e-4)
    value = net.ops.numpy(net.evaluate(net.ops.asarray(x), name))
    np.testing.assert_allclose(value, slow(x)[start], rtol=1e-4, atol=1e-4)
    dx = net.ops.numpy(net.input_gradient(net.ops.asarray(diff)))
    np.testing.assert_allclose(dx, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["conv1", "second"])
def test_a_unit_that_is_on_has_its_activation_s_value_and_gradient(
    net: Net, x: np.ndarray, name: str
) -> None:
    on = slow(x)[name] > 0
    value = net.ops.numpy(net.evaluate(net.ops.asarray(x), name))
    np.testing.assert_allclose(value[on], slow(x)[name][on], rtol=1e-4, atol=1e-4)
    diff = np.where(on, noise(*on.shape, seed=8), 0).astype(np.float32)
    dx = net.ops.numpy(net.input_gradient(net.ops.asarray(diff)))
    np.testing.assert_allclose(dx, slope(name, x, diff), rtol=2e-3, atol=2e-4)


def test_a_diff_is_read_below_what_works_in_place(net: Net, x: np.ndarray) -> None:
    diff = noise(*slow(x)["second"].shape, seed=8)
    net.forward(x)
    found = net.backward("second", diff, blobs=["conv1", "conv1:raw", "relu1", "scale1"])
    above = np.zeros_like(slow(x)["relu1"])  # d second:raw / d relu1, by the transposed convolution
    for i, j in np.ndindex(diff.shape[2:]):
        above[:, :, i : i + 2, j : j + 2] += np.einsum("no,ochw->nchw", diff[:, :, i, j], W2)
    np.testing.assert_allclose(found["relu1"], above, rtol=1e-4, atol=1e-5)
    below = np.where(slow(x)["scale1"] > 0, above, 0)
    np.testing.assert_allclose(found["scale1"], below, rtol=1e-4, atol=1e-5)
    factor = (GAMMA / np.sqrt(VARIANCE + EPS))[:, None, None]
    np.testing.assert_allclose(found["conv1"], factor * below, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["conv1:raw"], found["conv1"])


@pytest.mark.parametrize("name", ["conv1", "conv1:raw"])
def test_an_ascent_maximizes_it(net: Net, name: str) -> None:
    """Unit 0 of the convolution is scaled by a negative number: the two pull opposite ways."""
    params = AscentParams(rate=Constant(20), iterations=25, decay=0, start="mean")
    (one,) = dv.optimize(net, name, 0, seeds=[1], preset=params, crop="off")
    center = (0, 0, 2, 2)  # of a map of 4 x 5
    wanted, other = (STARTS["conv1"], "conv1:raw")[:: 1 if name == "conv1" else -1]
    first, last = slow(np.zeros((1, *SIZE))), slow(one.image[None])
    assert last[wanted][center] > first[wanted][center] + 1
    assert last[other][center] < first[other][center] - 0.5
    np.testing.assert_allclose(max(one.activations), last[wanted][center], rtol=1e-3)


def test_top_images_rank_by_it_and_show_the_same_value(net: Net, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 8, size=(30, 35))
    source = open_source(folder)
    scan = scan_images(net, source, ScanParams(NAMES, 2))
    inputs = np.stack([net.preprocessor(read_image(folder / name)) for name in source.names])
    values = slow(inputs)
    for name in NAMES:
        highest = values[name].max(axis=(2, 3))  # (images, units)
        for unit in range(highest.shape[1]):
            order = np.argsort(-highest[:, unit])[:2]
            top = scan.layers[name].top
            assert [scan.names[k] for k in top.image[unit]] == [source.names[k] for k in order]
            np.testing.assert_allclose(top.value[unit], highest[order, unit], rtol=1e-4, atol=1e-3)
    assert not np.array_equal(scan.layers["conv1"].top.image, scan.layers["conv1:raw"].top.image)
    for name in ("conv1", "conv1:raw", "bn1", "second:raw", "second"):
        (best, _) = unit_examples(net, source, scan, name, 0, ("gradient",))  # finds it again
        index = source.names.index(best.name)
        assert best.value == pytest.approx(values[name][index, 0].max(), rel=1e-4)


def test_the_spread_and_the_movement_are_its_own(net: Net, tmp_path: Path) -> None:
    source = open_source(write_folder(tmp_path / "images", 6, size=(30, 35)))
    inputs = np.stack([net.preprocessor(read_image(tmp_path / "images" / n)) for n in source.names])
    layers = ("conv1", "conv1:raw", "bn1")
    spread = layers_spread(net, source, layers)
    changed = inputs + 5 * noise(*inputs.shape, seed=9)
    pairs = [Pair(str(k), a, b) for k, (a, b) in enumerate(zip(inputs, changed, strict=True))]
    before, after = slow(inputs), slow(changed)
    for one in measure_sensitivity(net, pairs, spread):
        own = before[one.layer].std(axis=(0, 2, 3))
        moved = np.abs(after[one.layer] - before[one.layer]).mean(axis=(2, 3))
        np.testing.assert_allclose(one.pairs, (moved / own).mean(axis=1), rtol=1e-3)
    kinds = [one.type for one in measure_sensitivity(net, pairs[:1], spread)]
    assert kinds == ["Convolution", "Convolution", "BatchNorm"]


@pytest.mark.parametrize("name", ["conv1", "conv1:raw"])
def test_attribution_sends_down_what_the_unit_does(net: Net, x: np.ndarray, name: str) -> None:
    x = x[:1]
    found = dv.attribute(net, x, name, 0)
    own = slow(x)[name][:, :1]
    assert found.activation == pytest.approx(own.max(), rel=1e-4)
    sent = np.zeros_like(slow(x)[name])
    sent[:, :1] = own
    np.testing.assert_allclose(
        found.map, slope(STARTS.get(name, name), x, sent)[0], rtol=2e-3, atol=2e-3
    )


def test_the_viewer_shows_activations_and_starts_below_the_rectifier(net: Net) -> None:
    scene = Scene(catalogue(net))
    assert [(entry.name, entry.layer) for entry in scene.entries] == [
        ("conv1", "conv1"),
        ("c2", "second"),
    ]
    picture = np.random.default_rng(1).integers(0, 256, (30, 35, 3)).astype(np.uint8)
    asked = request_of(State(layer=0, unit=0, back="gradient", show_back=True), scene)
    result = Compute(net, scene)(Frame(picture, 1, "noise"), asked)
    x = net.preprocessor(picture)[None]
    np.testing.assert_allclose(result.maps, slow(x)["conv1"][0], rtol=1e-4, atol=1e-4)
    sent = np.zeros_like(slow(x)["scale1"])
    sent[0, 0] = slow(x)["conv1"][0, 0]
    expected = slope("scale1", x, sent)[0]
    np.testing.assert_allclose(result.back, expected, rtol=2e-3, atol=2e-3)


def test_a_name_that_really_ends_in_raw_is_that_layer(engine: str, tmp_path: Path) -> None:
    text = net_text(conv("a", "data", 1), relu("r", "a"), conv("a:raw", "a", 1), data=(1, 1, 1, 1))
    weights = {"a": arrays(w=([[[[2]]]], [-6]))["w"], "a:raw": arrays(w=([[[[5]]]], [1]))["w"]}
    net = load_text(engine, tmp_path, text, weights)
    assert net.forward(np.ones((1, 1, 1, 1)), ["a", "a:raw"]) == {"a": 0, "a:raw": 1}
    assert net.backward("a:raw", np.ones((1, 1, 1, 1)))["data"].item() == 0  # by way of the ReLU
    assert net.backward("a", np.ones((1, 1, 1, 1)))["data"].item() == 2


def test_an_unknown_name_is_reported_without_the_suffix(net: Net) -> None:
    with pytest.raises(UnknownNameError, match=r"no layer or blob named 'conv'.*'conv1'"):
        net.evaluate(net.ops.asarray(np.zeros((1, *SIZE), np.float32)), "conv:raw")


# -- results on disk -------------------------------------------------------------------------------

PARAMS = ascent_params(preset=3, iterations=2)


def make(net: Net, folder: Path, name: str, overwrite: bool = False) -> Unit:
    """The pictures of unit 0, one seed."""
    job = Job(net, folder, overwrite=overwrite)
    (unit,) = make_layer(job, TargetLayer.of(net, name), [0], Ascents(PARAMS))
    return unit


def as_before(store: ResultStore) -> None:
    """Make records those of the version in which a layer's name meant its own output."""
    changed = 0
    for path in store.folder.rglob("*.json"):
        if path.name == "recipe.json":  # which that version did not write
            path.unlink()
            continue
        record = json.loads(path.read_text())
        changed += record["recipe"].pop("output_of", None) is not None
        path.write_text(json.dumps(record))
    assert changed


def test_results_of_the_former_meaning_are_not_taken_for_the_new_one(
    net: Net, tmp_path: Path
) -> None:
    store = ResultStore(tmp_path)
    make(net, tmp_path, "conv1")
    assert json.loads(store.record("conv1", 0, 0).read_text())["recipe"]["output_of"] == "scale1"
    as_before(store)
    old = store.picture("conv1", 0, 0).read_bytes()
    assert make(net, tmp_path, "conv1").new == 1
    assert make(net, tmp_path, "conv1").new == 0
    assert store.picture("conv1", 0, 0).read_bytes() == old
    (within,) = (path for path in store.layer_folder("conv1").iterdir() if path.is_dir())
    now = ResultStore(tmp_path, within=within.name)
    assert json.loads(now.record("conv1", 0, 0).read_text())["recipe"]["output_of"] == "scale1"


def test_results_whose_meaning_stays_keep_their_recipe(net: Net, tmp_path: Path) -> None:
    """A convolution with a ReLU in place, and a Dropout; and an in-place layer by its own name."""
    for name in ("second", "scale1", "relu1", "second:raw"):
        store = ResultStore(tmp_path / name.replace(":", "_"))
        make(net, store.folder, name)
        recipe = json.loads(store.record(name, 0, 0).read_text())["recipe"]
        assert sorted(recipe) == ["crop", "net", "params", "position"]


def test_the_raw_output_has_a_folder_and_records_of_its_own(net: Net, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for name in ("conv1", "conv1:raw"):
        make(net, tmp_path, name)
    assert {path.name for path in (tmp_path / "regularized_opt").iterdir()} == {
        "conv1",
        "conv1_raw",
    }
    assert json.loads(store.record("conv1:raw", 0, 0).read_text())["layer"] == "conv1:raw"
    results = read_results(tmp_path)
    assert [one.name for one in results.layers] == ["conv1", "conv1:raw"]


def test_a_scan_of_the_former_meaning_of_an_in_place_layer_is_not_taken(
    net: Net, tmp_path: Path
) -> None:
    source = open_source(write_folder(tmp_path / "images", 3, size=(30, 35)))
    job, folder = Job(net, tmp_path), tmp_path / "dataset"
    params = ScanParams(("conv1", "relu1", "bn1"), 2)
    run_scan(job, source, params)
    assert scan_recipe(job, source, params)["own_output"] == ["bn1"]
    assert "own_output" not in scan_recipe(job, source, ScanParams(("conv1", "second"), 2))
    path = folder / "recipe.json"
    old = json.loads(path.read_text())
    del old["recipe"]["own_output"]
    path.write_text(json.dumps(old))
    write_scan(folder / "scan.npz", read_scan(folder / "scan.npz")[0], old["recipe"])
    same = run_scan(job, source, ScanParams(("conv1", "relu1"), 2))  # still there
    assert set(same.layers) == {"conv1", "relu1", "bn1"}
    with pytest.raises(
        SettingsError, match=r"name of an in-place layer .* now it means the layer's own"
    ):
        run_scan(job, source, params)
    run_scan(Job(net, tmp_path, overwrite=True), source, params)


def test_pictures_of_other_layers_stay_beside_those_of_an_in_place_one(
    net: Net, tmp_path: Path
) -> None:
    source = open_source(write_folder(tmp_path / "images", 3, size=(30, 35)))
    some, more = ScanParams(("conv1",), 2), ScanParams(("conv1", "bn1"), 2)
    for params, new in ((some, True), (more, False)):
        scan = scan_images(net, source, params)
        job = Job(net, tmp_path / "results")
        recipe = scan_recipe(job, source, params)
        scanned = ScannedImages(source, scan, recipe)
        (made,) = make_top_pictures(job, scanned, {"conv1": [1]})["conv1"]
        assert made.new == new
    assert layer_recipe(recipe, "bn1")["own_output"] == ["bn1"]
