"""A net with opaque layers loads, and all that does not depend on them works as without them.

        data -- conv1 - relu1 -+- conv2 ---------- sum -- fc
                               |                    |
                               +- odd (unknown) - after
                               +- wide (5 x 5 kernel on 4 x 4 pixels: does not fit)

`conv2` works; `odd` and `wide` are opaque; `after`, `sum` and `fc` need `odd`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.dataset.scan import learned_layers
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import EngineError, ModelError, WeightsError
from deepvis_caffe.model.model import load_model
from deepvis_caffe.optimizer.run import optimize
from deepvis_caffe.viewer.state.catalogue import catalogue

BELOW = [conv("conv1", "data", 3, 3), relu("relu1", "conv1"), conv("conv2", "conv1", 2, 3)]
TEXT = net_text(
    *BELOW,
    layer("odd", "MyHead", "conv1", "", "my_param { strange: 7 }"),
    conv("wide", "conv1", 2, 5),
    layer("after", "Pooling", "odd", "", "pooling_param { kernel_size: 1 }"),
    layer("sum", "Eltwise", "conv2 after"),
    layer("fc", "InnerProduct", "sum", "", "inner_product_param { num_output: 2 }"),
    data=(1, 2, 6, 6),
)
ALONE = net_text(*BELOW, data=(1, 2, 6, 6))
WEIGHTS = arrays(
    conv1=(noise(3, 2, 3, 3), noise(3)), conv2=(noise(2, 3, 3, 3, seed=2), noise(2, seed=3))
)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT, WEIGHTS)


@pytest.fixture
def alone(engine: str, tmp_path: Path) -> Net:
    """The same net as if the opaque layers and what needs them had never been written."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return load_text(engine, folder, ALONE, WEIGHTS)


def test_each_is_named_once_with_its_reason_and_what_depends_on_it(net: Net) -> None:
    assert list(net.opaque) == ["odd", "wide"]
    assert net.opaque["odd"].type == "MyHead"
    assert "'MyHead'" in net.opaque["odd"].reason
    assert net.opaque["odd"].dependents == ("after", "sum", "fc")
    assert "the kernel spans (5, 5) pixels" in net.opaque["wide"].reason
    assert net.opaque["wide"].dependents == ()
    reasons = {info.name: info.why_not for info in net.layers}
    assert [name for name, why in reasons.items() if not why] == ["data", "conv1", "relu1", "conv2"]
    assert reasons["fc"].startswith("needs layer 'odd' (MyHead), which cannot run: ")


def test_the_rest_has_the_values_of_the_net_without_them(net: Net, alone: Net) -> None:
    x = noise(3, 2, 6, 6)
    assert net.outputs == ("conv2",)
    np.testing.assert_array_equal(net.forward(x)["conv2"], alone.forward(x)["conv2"])
    diff = noise(3, 2, 2, 2)
    for mode in ("gradient", "deconv", "guided"):
        ours, theirs = (one.backward("conv2", diff, mode)["data"] for one in (net, alone))
        np.testing.assert_array_equal(ours, theirs)
        assert ours.any()


def test_the_ascent_the_scan_and_the_viewer_take_the_rest(net: Net, alone: Net) -> None:
    ours, theirs = (optimize(one, "conv2", [1], seeds=[2], iterations=3) for one in (net, alone))
    np.testing.assert_array_equal(ours[0].image, theirs[0].image)
    assert learned_layers(net) == learned_layers(alone) == ("conv1", "conv2")
    assert catalogue(net) == catalogue(alone)


@pytest.mark.parametrize("blob", ["odd", "wide", "fc"])
def test_asking_for_what_cannot_run_says_why(net: Net, blob: str) -> None:
    x = noise(1, 2, 6, 6)
    for act in (
        lambda: net.forward(x, [blob]),
        lambda: net.reduce(x, [blob], lambda name, value: 0),
        lambda: net.evaluate(net.ops.asarray(x), blob),
        lambda: optimize(net, blob, [0], iterations=1),
    ):
        with pytest.raises(EngineError, match=rf"layer '{blob}' \(\w+\) cannot run: "):
            act()


def test_each_is_warned_of_once(
    engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_text(engine, tmp_path, TEXT, WEIGHTS)
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "cannot run 'odd' (MyHead)" in line]) == 1
    assert len([line for line in said if "cannot run 'wide' (Convolution)" in line]) == 1
    assert "nor can 3 layer(s) that depend on them" in "".join(said)


def test_below_an_opaque_layer_in_place_the_own_output_is_shown(
    engine: str, tmp_path: Path
) -> None:
    text = net_text(BELOW[0], layer("act", "MyAct", "conv1", "conv1"), data=(1, 2, 6, 6))
    net = load_text(engine, tmp_path, text, {"conv1": WEIGHTS["conv1"]})
    assert learned_layers(net) == net.outputs == ("conv1:raw",)
    (entry,) = catalogue(net)
    assert (entry.name, entry.layer) == ("conv1:raw", "conv1:raw")
    with pytest.raises(EngineError, match="'conv1:raw', the value before it, still works"):
        net.forward(noise(1, 2, 6, 6), ["conv1"])
    assert optimize(net, "conv1:raw", [0], iterations=2)[0].activations[1] != 0


def test_a_net_of_which_nothing_works_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(net_text(conv("wide", "data", 2, 5), data=(1, 1, 4, 4)))
    with pytest.raises(ModelError, match=r"prototxt: layer 'wide' \(Convolution\): the kernel"):
        load_model(tmp_path / "net.prototxt", None)


def test_a_larger_input_runs_below_the_first_inner_product(engine: str, tmp_path: Path) -> None:
    """The reason blames the input's size, not the weights."""
    fc = layer("fc", "InnerProduct", "conv1", "", "inner_product_param { num_output: 2 }")
    text = net_text(BELOW[0], fc, data=(1, 2, 6, 6))
    weights = {"conv1": WEIGHTS["conv1"], **arrays(fc=(noise(2, 48), noise(2)))}
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    large = load_net(path, weights, engine, device="cpu", input_shapes={"data": (1, 2, 9, 7)})
    assert list(large.opaque) == ["fc"]
    assert "input size" in large.opaque["fc"].reason
    assert "(2, 105)" in large.opaque["fc"].reason  # 3 channels of 7 x 5
    small = load_net(path, weights, engine, device="cpu")
    x = noise(1, 2, 9, 7)
    part = small.forward(x[:, :, :6, :6], ["conv1"])["conv1"]
    np.testing.assert_allclose(large.forward(x)["conv1"][:, :, :4, :4], part, rtol=1e-5, atol=1e-5)
    with pytest.raises(WeightsError, match="belong to different nets"):
        load_net(path, {**weights, **arrays(fc=(noise(2, 49), noise(2)))}, engine, device="cpu")


def test_what_only_chooses_has_no_gradient_and_says_so(engine: str, tmp_path: Path) -> None:
    text = net_text(
        *BELOW, layer("best", "ArgMax", "conv2", "", "argmax_param { axis: 1 }"), data=(1, 2, 6, 6)
    )
    net = load_text(engine, tmp_path, text, WEIGHTS)
    assert set(np.unique(net.forward(noise(1, 2, 6, 6))["best"])) <= {0.0, 1.0}
    assert {one.name for one in net.layers if not one.differentiable} == {"best"}
    with pytest.raises(EngineError, match=r"'best' has no gradient: .*'best' \(ArgMax\)"):
        optimize(net, "best", [0], iterations=1)
