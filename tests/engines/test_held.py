"""Nets with several inputs on both engines: which one is the image, and the others' values.

The nets are linear in each input, so values and gradients are worked out by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise
from helpers.image_sets import write_folder

from deepvis_caffe.attribution.score import Score
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError, UnknownNameError
from deepvis_caffe.image import read_image

SHAPE = (1, 2, 4, 5)
ONE = arrays(c=[np.full((1, 2, 1, 1), 3)], d=[np.full((1, 2, 1, 1), 5)])
BIASLESS = "bias_term: false"
PAIR = net_text(
    conv("c", "data", 1, 1, BIASLESS),
    conv("d", "data_p", 1, 1, BIASLESS),
    layer("sum", "Eltwise", "c d"),
    data=SHAPE,
    data_p=SHAPE,
)
MASKED = net_text(
    layer("masked", "Eltwise", "data mask", "", "eltwise_param { operation: PROD }"),
    conv("c", "masked", 1, 1, BIASLESS),
    data=SHAPE,
    mask=SHAPE,
)


def load(engine: str, folder: Path, text: str, **options: Any) -> Net:
    names = [name for name in ONE if f'name: "{name}"' in text]
    return load_text(engine, folder, text, {name: ONE[name] for name in names}, **options)


def ascent(net: Net, name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value and gradient of the sum of a layer, as an ascent sees them."""
    value = net.ops.numpy(net.evaluate(net.ops.asarray(x), name)).copy()
    diff = net.ops.asarray(np.ones_like(value))
    return value, net.ops.numpy(net.input_gradient(diff)).copy()


def total(x: np.ndarray) -> np.ndarray:
    return x.sum(1, keepdims=True)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("options", "own", "other", "gradient"),
    [
        ({}, 3, 0, 3),
        ({"inputs": {"data_p": 2}}, 3, 5 * 2 * 2, 3),
        ({"inputs": {"data_p": "image"}}, 3 + 5, 0, 3 + 5),
        ({"image_input": "data_p"}, 5, 0, 5),
        ({"image_input": "data_p", "inputs": {"data": "image"}}, 3 + 5, 0, 3 + 5),
    ],
)
def test_a_pair_is_computed_from_the_image_and_what_the_other_holds(
    engine, tmp_path, images, options, own, other, gradient
):
    net = load(engine, tmp_path, PAIR, **options)
    x = noise(images, *SHAPE[1:])
    value, dx = ascent(net, "sum", x)
    np.testing.assert_allclose(value, own * total(x) + other, atol=1e-5)
    np.testing.assert_allclose(dx, np.full_like(x, gradient), atol=1e-5)
    given = {net.image_input(): x, **net.other_inputs(x)}
    assert set(given) == {"data", "data_p"}
    values = net.forward(given, ["sum"])["sum"]
    np.testing.assert_allclose(values, value, atol=1e-5)
    one = net.forward({net.image_input(): x[:1], **net.other_inputs(x[:1])}, ["sum"])["sum"]
    saliency = Score.of_values(net, one, "sum", 0).gradients(x[:1])[0]
    np.testing.assert_allclose(saliency, gradient * np.repeat(one[0], 2, axis=0), atol=1e-4)


def test_the_batch_may_change_from_one_evaluation_to_the_next(engine, tmp_path):
    net = load(engine, tmp_path, PAIR, inputs={"data_p": 1})
    for images in (1, 4, 2, 2):
        x = noise(images, *SHAPE[1:])
        np.testing.assert_allclose(ascent(net, "sum", x)[0], 3 * total(x) + 10, atol=1e-5)


def test_a_scan_holds_the_other_inputs_where_an_ascent_does(engine, tmp_path):
    mask = noise(3, 8, 10, seed=7)
    text = MASKED.replace("dim: 2 dim: 4 dim: 5", "dim: 3 dim: 8 dim: 10")
    weights = arrays(c=[np.full((1, 3, 1, 1), 2)])
    net = load_text(engine, tmp_path, text, weights, inputs={"mask": mask})
    folder = write_folder(tmp_path / "images", 5)
    x = np.stack([net.preprocessor(read_image(path)) for path in folder.rglob("*.png")])
    highest = (2 * total(x * mask)).max((1, 2, 3))
    scan = scan_images(net, open_source(folder), ScanParams(("c",), 1), None, 2).layers["c"]
    np.testing.assert_allclose([scan.low[0], scan.high[0]], [highest.min(), highest.max()], 1e-5)
    np.testing.assert_allclose(ascent(net, "c", x)[0].max((1, 2, 3)), highest, 1e-5)


def test_the_value_of_an_input_is_reported_if_a_layer_reads_it(engine, tmp_path, caplog):
    load(engine, tmp_path, MASKED)
    assert "input 'mask' is held at 0; the setting inputs (--inputs)" in caplog.text
    caplog.clear()
    unread = net_text(conv("c", "data", 1, 1, BIASLESS), data=SHAPE, more=(1, 2))
    load(engine, tmp_path, unread)
    load(engine, tmp_path, MASKED, inputs={"mask": 0.5})  # who chose it knows
    assert "held at" not in caplog.text


def test_a_layer_that_does_not_see_the_image_says_what_it_sees(engine, tmp_path):
    net = load(engine, tmp_path, PAIR)
    assert net.held_below("sum") == ["input 'data_p' is held at 0"]
    assert net.held_below("c") == []
    net.check_gradient("sum")
    with pytest.raises(
        EngineError,
        match=r"layer 'd' has no gradient: it does not depend on the image, 'data', but only on "
        r"'data_p', held at 0\. .*--image-input data_p\) .*--inputs data_p:image\)",
    ):
        net.check_gradient("d")
    inputs = layer("in", "Input", "", "data data_p", "input_param { shape { SHAPE } }")
    of_one_layer = net_text(
        inputs.replace("SHAPE", " ".join(f"dim: {size}" for size in SHAPE)),
        *PAIR.splitlines()[3:],
    )
    with pytest.raises(EngineError, match="'d' has no gradient: it does not depend on the image"):
        load(engine, tmp_path, of_one_layer).check_gradient("d")
    load(engine, tmp_path, PAIR, inputs={"data_p": "image"}).check_gradient("d")
    load(engine, tmp_path, PAIR, image_input="data_p").check_gradient("d")


def test_receptive_fields_are_those_of_the_image(engine, tmp_path):
    text = net_text(conv("c", "data", 1, 3), conv("d", "data_p", 1, 1), data=SHAPE, data_p=SHAPE)
    for options, expected in (
        ({}, {"c": (3, 3), "d": None}),
        ({"image_input": "data_p"}, {"c": None, "d": (1, 1)}),
        ({"inputs": {"data_p": "image"}}, {"c": (3, 3), "d": (1, 1)}),
    ):
        net = load_text(engine, tmp_path, text, **options)
        fields = {one.name: one.receptive_field for one in net.layers}
        for name, size in expected.items():
            assert (fields[name] and fields[name].size) == size


def test_the_image_comes_second(engine, tmp_path):
    text = net_text(
        layer("q", "InnerProduct", "im_info", "", "inner_product_param { num_output: 2 }"),
        conv("c", "data", 1, 1, BIASLESS),
        im_info=(1, 3),
        data=SHAPE,
    )
    net = load_text(engine, tmp_path, text)
    assert net.image_input() == "data"
    assert net.preprocessor.shape == SHAPE[1:]
    np.testing.assert_array_equal(net.other_inputs(noise(*SHAPE))["im_info"], [[4, 5, 1]])
    assert net.forward({"data": noise(*SHAPE), "im_info": np.ones((1, 3))}, ["c"])["c"].any()
    with pytest.raises(UnknownNameError, match="no input named 'dta'; did you mean 'data'"):
        load_text(engine, tmp_path, text, image_input="dta")


def test_a_fingerprint_knows_what_is_held(tmp_path):
    prints = [
        load("torch", tmp_path, PAIR, **options).fingerprint
        for options in (
            {},
            {"inputs": {"data_p": 0}},
            {"inputs": {"data_p": 1}},
            {"inputs": {"data_p": "image"}},
            {"image_input": "data_p"},
        )
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
