"""Each method against its published definition, on small nets."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers.attributed import TEXT
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu, weights_for

import deepvis_caffe as dv
from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.attribution.grad_cam import last_maps
from deepvis_caffe.attribution.score import Score
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError, ImageError, SettingsError, UnknownNameError
from deepvis_caffe.model.model import load_model
from deepvis_caffe.resources import resource

X = 20 * noise(1, 3, 12, 16)

# y = x^2, of one channel: its gradient is 2 x.
SQUARE = net_text(layer("y", "Power", "data", "", "power_param { power: 2 }"), data=(1, 1, 6, 8))
PIXEL = (3, 4)


@pytest.fixture
def square(tmp_path: Path) -> Net:
    return load_text("torch", tmp_path, SQUARE, {})


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize("position", ["all", "center", (1, 2)])
def test_on_a_map_they_are_the_saliency_maps(small: Net, mode: str, position: object) -> None:
    found = dv.attribute(small, X, "conv2", 5, mode, position)
    values = small.forward(X, ["conv2"])["conv2"]
    places = {"all": ..., "center": (2, 3), (1, 2): (1, 2)}  # of a map of 4 x 6
    diff = np.zeros_like(values)
    diff[0, 5][places[position]] = values[0, 5] if position == "all" else 1
    expected = small.backward("conv2", diff, mode)["data"][0]
    np.testing.assert_allclose(found.map, expected, atol=1e-5 * np.abs(expected).max())
    assert found.activation == values[0, 5][places[position]].max()


def test_the_old_name_says_the_new_one() -> None:
    with pytest.raises(ImportError, match=r"saliency_map is now deepvis_caffe\.attribute"):
        from deepvis_caffe.attribution.backward import saliency_map  # noqa: F401


@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad", "occlusion"])
def test_the_net_is_free_between_batches(small: Net, method: str) -> None:
    """What runs there changes nothing, and can end the attribution."""
    expected = dv.attribute(small, X, "ip", 2, method).map
    calls = []

    def between() -> None:
        calls.append(small.forward(-X, ["conv2"]))
        if len(calls) > 30:
            raise TimeoutError

    score = replace(Score.of(small, X, "ip", 2, "all"), between=between)
    np.testing.assert_array_equal(METHODS[method].run(score, X, batch_size=8), expected)
    count = {"integrated_gradients": 50, "smooth_grad": 50, "occlusion": 12 * 15}[method]
    assert len(calls) == -(-count // 8) - 1
    with pytest.raises(TimeoutError):
        METHODS[method].run(score, X, batch_size=1)


@pytest.mark.parametrize("name", ["conv2", "ip"])
def test_the_score_of_known_activations_is_that_of_the_image(small: Net, name: str) -> None:
    values = small.forward(X, [name])[name]
    known, found = Score.of_values(small, values, name, 3), Score.of(small, X, name, 3, "all")
    assert known.activation == found.activation == values[0, 3].max()
    np.testing.assert_array_equal(known.gradients(X), found.gradients(X))
    with pytest.raises(SettingsError, match=f"layer '{name}' has no unit 8"):
        Score.of_values(small, values, name, 8)


def test_the_score_of_a_map_is_weighted_by_its_activations(small: Net) -> None:
    """And at the image it is the sum of their squares: what is below 0 there has no weight."""
    values = small.forward(X, ["conv2"])["conv2"][0, 5]
    assert dv.attribute(small, X, "conv2", 5).score == pytest.approx((values**2).sum(), rel=1e-5)


def test_gradient_x_input(square: Net) -> None:
    x = noise(1, 1, 6, 8)
    found = dv.attribute(square, x, "y", 0, "gradient_x_input", PIXEL).map
    expected = np.zeros_like(x[0])
    expected[0][PIXEL] = 2 * x[0, 0][PIXEL] ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("baseline", ["mean", 3.0])
def test_integrated_gradients_of_a_square(square: Net, baseline: object) -> None:
    """The integral of 2 z from x' to x is x^2 - x'^2."""
    x, start = noise(1, 1, 6, 8), 0 if baseline == "mean" else 3
    found = dv.attribute(
        square, x, "y", 0, "integrated_gradients", PIXEL, baseline=baseline, steps=2
    ).map
    expected = np.zeros_like(x[0])
    expected[0][PIXEL] = x[0, 0][PIXEL] ** 2 - start**2
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_smooth_grad_of_a_square(square: Net) -> None:
    """The mean of 2 (x + noise) is 2 x, give or take 2 sigma / sqrt(samples)."""
    x, samples, level = noise(1, 1, 6, 8), 400, 0.2
    found = dv.attribute(
        square, x, "y", 0, "smooth_grad", PIXEL, samples=samples, noise_level=level, batch_size=64
    ).map[0][PIXEL]
    off = (found - 2 * x[0, 0][PIXEL]) / (2 * level * (x.max() - x.min()) / samples**0.5)
    assert 0 < abs(off) < 4


@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad", "occlusion"])
def test_batches_change_nothing(small: Net, method: str) -> None:
    one, other = (dv.attribute(small, X, "ip", 2, method, batch_size=size).map for size in (1, 7))
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize(("window", "stride"), [((5, 4), (3, 2)), (3, 3), (None, None)])
def test_occlusion(small: Net, window: object, stride: object) -> None:
    """A slow loop over the windows."""
    found = dv.attribute(
        small, X, "ip", 2, "occlusion", window=window, stride=stride, baseline="white"
    ).map
    (height, width), (down, right) = {
        None: ((1, 2), (1, 1)),  # a seventh of 12 x 16, and half of that
        3: ((3, 3), (3, 3)),
        (5, 4): ((5, 4), (3, 2)),
    }[window]
    fall, count = np.zeros((12, 16)), np.zeros((12, 16))
    whole = small.forward(X, ["ip"])["ip"][0, 2]
    tops, lefts = range(0, 12 - height + down, down), range(0, 16 - width + right, right)
    for top, left in product(tops, lefts):
        place = (slice(top, top + height), slice(left, left + width))
        covered = X.copy()
        covered[0][(slice(None), *place)] = 255
        fall[place] += whole - small.forward(covered, ["ip"])["ip"][0, 2]
        count[place] += 1
    np.testing.assert_allclose(found, fall / count, atol=1e-4 * np.abs(fall).max())


@pytest.mark.parametrize(
    ("name", "layer_name", "expected"),
    [
        ("bvlc_googlenet", "loss3/classifier", "inception_5b/output"),
        ("bvlc_reference_caffenet", "fc8", "relu5"),
        ("densenet121", "fc6", "relu5_blk"),
        ("nin_imagenet", "pool4", "relu12"),
        ("resnet50", "fc1000", "res5c_relu"),
        ("squeezenet_v1.1", "pool10", "relu_conv10"),
        ("squeezenet_v1.1", "fire8/expand3x3", "fire8/relu_squeeze1x1"),
        ("vgg16", "fc8", "relu5_3"),
    ],
)
def test_grad_cam_takes_the_last_maps_that_all_passes(
    name: str, layer_name: str, expected: str
) -> None:
    """Mostly what the papers of these nets call their last convolution."""
    model = load_model(resource("prototxt", f"{name}.prototxt"), None, need_weights=False)
    assert model.graph.producer[last_maps(model, layer_name)].name == expected


def test_relevance_of_a_convolution_by_hand(tmp_path: Path) -> None:
    """Two inputs, one output: z = 2 * 3 + (-1) * 4 + 1 = 3."""
    text = net_text(conv("y", "data", 1), data=(1, 2, 1, 1))
    weights = arrays(y=([[[[2]], [[-1]]]], [1]))
    net = load_text("torch", tmp_path, text, weights)
    x = np.array([3, 4], np.float32).reshape(1, 2, 1, 1)
    shares = dv.attribute(net, x, "y", 0, "lrp_epsilon", epsilon=1.0).map.ravel()
    np.testing.assert_allclose(shares, [6 / 4 * 3, -4 / 4 * 3])  # z + epsilon = 4
    shares = dv.attribute(net, x, "y", 0, "lrp_z_plus").map.ravel()
    np.testing.assert_allclose(shares, [3, 0])  # only the first contributes positively
    shares = dv.attribute(net, -x, "y", 0, "lrp_z_plus").map.ravel()
    np.testing.assert_allclose(shares, [0, -1])  # z = -6 + 4 + 1: now only the second does


@pytest.mark.parametrize("method", ["lrp_epsilon", "lrp_z_plus"])
def test_relevance_of_a_folded_batch_norm(tmp_path: Path, method: str) -> None:
    """BatchNorm and Scale above a convolution are part of its weights, as if folded into them."""
    norms = (
        layer("bn", "BatchNorm", "c", "c"),
        layer("scale", "Scale", "c", "c", "scale_param { bias_term: true }"),
    )
    end = (relu("relu", "c"), conv("y", "c", 3))
    folded = net_text(conv("c", "data", 4, 3), *end, data=(1, 2, 7, 8))
    text = net_text(conv("c", "data", 4, 3), *norms, *end, data=(1, 2, 7, 8))
    w, b, mean, gain, shift = (
        noise(4, 2, 3, 3),
        noise(4),
        noise(4),
        noise(4, seed=3),
        noise(4, seed=4),
    )
    variance = np.abs(noise(4, seed=5)) + 0.5
    last = (noise(3, 4, 1, 1), noise(3, seed=6))
    factor = gain / np.sqrt(variance + 1e-5)
    whole = load_text(
        "torch",
        tmp_path,
        text,
        arrays(c=(w, b), bn=(mean, variance, [1]), scale=(gain, shift), y=last),
    )
    expected = load_text(
        "torch",
        tmp_path,
        folded,
        arrays(c=(w * factor[:, None, None, None], (b - mean) * factor + shift), y=last),
    )
    x = noise(1, 2, 7, 8, seed=7)
    one, other = (dv.attribute(net, x, "y", 1, method).map for net in (whole, expected))
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


def test_relevance_is_gradient_times_input_where_all_is_piecewise_linear(tmp_path: Path) -> None:
    """Of a net without biases, by the epsilon rule (Ancona et al. 2018, arXiv:1711.06104)."""
    bilinear = "interp_param { zoom_factor: 2 }"
    text = net_text(
        conv("c", "data", 4, 3, "pad: 1 bias_term: false"),
        layer("pool", "Pooling", "c", "pool mask", "pooling_param { kernel_size: 2 stride: 2 }"),
        layer("up", "Upsample", "pool mask", "up", "upsample_param { scale: 2 }"),
        layer("blocks", "Upsample", "up", "blocks", "upsample_param { scale: 2 }"),
        layer("reorg", "Reorg", "blocks", "reorg", "reorg_param { stride: 2 }"),
        conv("d", "reorg", 4, 3, "bias_term: false"),
        relu("relu", "d"),
        layer("interp", "Interp", "d", "interp", bilinear),
        conv("y", "interp", 3, 3, "bias_term: false"),
        data=(1, 2, 8, 8),
    )
    net, x = load_text("torch", tmp_path, text), 20 * noise(1, 2, 8, 8)
    found = dv.attribute(net, x, "y", 1, "lrp_epsilon", "center", epsilon=1e-30).map
    expected = dv.attribute(net, x, "y", 1, "gradient_x_input", "center").map
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_relevance_passes_through_a_normalization(tmp_path: Path) -> None:
    """As through a product with a constant."""
    text = net_text(layer("y", "Normalize", "data"), data=(1, 2, 3, 4))
    net, x = load_text("torch", tmp_path, text), noise(1, 2, 3, 4)
    y = net.forward(x, ["y"])["y"][0]
    expected = np.zeros_like(y)
    expected[1, 2, 3] = y[1, 2, 3]
    found = dv.attribute(net, x, "y", 1, "lrp_epsilon", (2, 3)).map
    np.testing.assert_array_equal(found, expected)


@pytest.mark.pycaffe
@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("lrp")])
def test_both_engines_agree(caffe: object, tmp_path: Path, method: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(TEXT)
    weights = weights_for(path)
    ours, theirs = (load_text(name, tmp_path, TEXT, weights) for name in ("torch", "pycaffe"))
    for name, position in (("ip", "all"), ("conv2", "all"), ("conv2", (1, 2))):
        one, other = (dv.attribute(net, X, name, 2, method, position) for net in (ours, theirs))
        assert one.map.any()
        np.testing.assert_allclose(one.map, other.map, atol=1e-3 * np.abs(other.map).max())
        assert one.activation == pytest.approx(other.activation, rel=1e-4)


@pytest.mark.pycaffe
def test_relevance_needs_the_torch_engine(caffe: object, tmp_path: Path) -> None:
    net = load_text("pycaffe", tmp_path, TEXT)
    with pytest.raises(EngineError, match="needs the torch engine, but this net runs on pycaffe"):
        dv.attribute(net, X, "ip", 0, "lrp_z_plus")


@pytest.mark.parametrize(
    ("method", "parameters", "error", "message"),
    [
        ("grad_camm", {}, UnknownNameError, "no attribution method named 'grad_camm'; did you"),
        ("smooth_grad", {"steps": 3}, UnknownNameError, "no parameter named 'steps' in method"),
        ("smooth_grad", {"samples": 0}, SettingsError, "samples must be a whole number of at"),
        ("smooth_grad", {"noise_level": -1}, SettingsError, "noise_level must be a number above"),
        ("integrated_gradients", {"steps": 2.5}, SettingsError, "steps must be a whole number"),
        ("integrated_gradients", {"batch_size": 0}, SettingsError, "batch_size must be a whole"),
        ("integrated_gradients", {"baseline": "gray"}, SettingsError, "baseline must be 'mean'"),
        ("integrated_gradients", {"baseline": np.ones(5)}, SettingsError, r"got shape \(5,\)"),
        ("occlusion", {"window": 13}, SettingsError, r"window \(13, 13\) is larger than the im"),
        ("occlusion", {"window": 3, "stride": 4}, SettingsError, "leaves pixels out"),
        ("grad_cam", {"cam_layer": "prob"}, SettingsError, "does not lead from the image to 'ip'"),
        ("grad_cam", {"cam_layer": "conv9"}, UnknownNameError, "no layer or blob named 'conv9'"),
        ("lrp_epsilon", {"epsilon": 0}, SettingsError, "epsilon must be a number above 0; got 0"),
    ],
)
def test_errors(
    small: Net, method: str, parameters: dict[str, object], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        dv.attribute(small, X, "ip", 0, method, **parameters)


def test_a_layer_without_a_rule_is_named(small: Net) -> None:
    with pytest.raises(EngineError, match=r"no rule for layer 'prob' \(Softmax\)"):
        dv.attribute(small, X, "prob", 0, "lrp_epsilon")


def test_more_errors(small: Net) -> None:
    with pytest.raises(SettingsError, match="layer 'ip' has no unit 5; it has 5"):
        dv.attribute(small, X, "ip", 5)
    with pytest.raises(ImageError, match="expected one image as the net's input"):
        dv.attribute(small, np.repeat(X, 2, axis=0), "ip", 0)
    with pytest.raises(SettingsError, match="set cam_layer"):
        dv.attribute(small, X, "conv1", 0, "grad_cam")
