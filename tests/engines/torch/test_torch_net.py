"""The torch engine beyond the contract: modes in numpy, what is computed, and error messages."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.torch.device import choose_device, full_precision
from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.errors import EngineError, OutOfMemoryError
from deepvis_caffe.resources import pip_install

# conv1 (1x1, 3 -> 4), ReLU in place, conv2 (1x1, 4 -> 2), ReLU in place: matrices over pixels
CHAIN = net_text(
    conv("conv1", "data", 4),
    relu("relu1", "conv1"),
    conv("conv2", "conv1", 2),
    relu("relu2", "conv2"),
    data=(1, 3, 2, 2),
)
W1, W2 = noise(4, 3, seed=5), noise(2, 4, seed=6)
B1, B2 = noise(4, seed=7), noise(2, seed=8)
WEIGHTS = arrays(conv1=(W1[:, :, None, None], B1), conv2=(W2[:, :, None, None], B2))


@pytest.fixture
def chain(tmp_path: Path) -> Net:
    return load_text("torch", tmp_path, CHAIN, WEIGHTS)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the layers that run, in order."""
    names: list[str] = []
    plain = Layer.check

    def counted(self, bottoms):
        names.append(self.layer.name)
        plain(self, bottoms)

    monkeypatch.setattr(Layer, "check", counted)
    return names


def down(dy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The diff below a 1x1 convolution."""
    return np.einsum("oc,nohw->nchw", weight, dy)


def up(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.einsum("oc,nchw->nohw", weight, x) + bias[:, None, None]


RELU = {
    "gradient": lambda dy, x: dy * (x > 0),
    "deconv": lambda dy, x: np.maximum(dy, 0),
    "guided": lambda dy, x: np.maximum(dy, 0) * (x > 0),
}


@pytest.mark.parametrize("mode", RELU)
def test_modes_by_hand(chain: Net, mode: str) -> None:
    x = noise(3, 3, 2, 2)
    dy = noise(3, 2, 2, 2, seed=9)
    hidden = up(x, W1, B1)
    output = up(np.maximum(hidden, 0), W2, B2)
    chain.forward(x)
    for seed, start in {"relu2": RELU[mode](dy, output), "conv2": dy}.items():
        expected = down(RELU[mode](down(start, W2), hidden), W1)
        got = chain.backward(seed, dy, mode)["data"]
        np.testing.assert_allclose(got, expected, atol=1e-5)
    # the ascent path takes the same rules
    chain.evaluate(torch.tensor(x), "conv2")
    got = chain.input_gradient(torch.tensor(dy), mode)
    np.testing.assert_allclose(got, chain.backward("conv2", dy, mode)["data"], atol=1e-6)


@pytest.mark.parametrize("ignore", [False, True])
def test_lrn_passes_deconv_through_where_it_is_ignored(tmp_path: Path, ignore: bool) -> None:
    params = f"lrn_param {{ local_size: 3 alpha: 9 deconv_ignore: {str(ignore).lower()} }}"
    net = load_text(
        "torch", tmp_path, net_text(layer("l", "LRN", "data", "l", params), data=(1, 4, 2, 2))
    )
    dy = noise(1, 4, 2, 2, seed=2)
    net.forward(noise(1, 4, 2, 2))
    gradient = net.backward("l", dy)["data"]
    assert np.abs(gradient - dy).max() > 0.1
    np.testing.assert_array_equal(
        net.backward("l", dy, "deconv")["data"], dy if ignore else gradient
    )
    np.testing.assert_array_equal(net.backward("l", dy, "guided")["data"], gradient)


# -- what is computed ----------------------------------------------------------------------------


def test_nothing_runs_unasked_and_once_asked_for_nothing_runs_twice(
    chain: Net, ran: list[str]
) -> None:
    x = noise(1, 3, 2, 2)
    chain.forward(x, [])
    assert ran == []
    (first,) = chain.forward(x, ["conv1"]).values()
    assert ran == ["conv1"]  # and its ReLU with it
    ran.clear()
    chain.backward("conv1", noise(1, 4, 2, 2))  # nothing was recorded so far
    assert ran == ["conv1"]
    chain.backward("relu2", noise(1, 2, 2, 2))  # the same pass, extended
    chain.read(["relu1"])
    assert ran == ["conv1", "relu1", "conv2", "relu2"]
    chain.backward("relu2", noise(1, 2, 2, 2), "guided")
    assert len(ran) == 4

    ran.clear()
    (again,) = chain.forward(x, ["conv1"]).values()  # records now, as it was needed the last time
    chain.backward("conv1", noise(1, 4, 2, 2))
    assert ran == ["conv1", "relu1"]
    np.testing.assert_array_equal(again, first)


def test_evaluate_stops_at_its_layer(chain: Net, ran: list[str]) -> None:
    chain.evaluate(torch.zeros(1, 3, 2, 2), "conv1")
    assert ran == ["conv1"]


def test_several_layers_take_one_pass_that_stops_at_the_last(chain: Net, ran: list[str]) -> None:
    chain.evaluate_layers(torch.zeros(1, 3, 2, 2), ["conv2", "relu1", "data", "conv1"])
    assert ran == ["conv1", "relu1", "conv2"]


def test_a_branch_that_is_not_requested_does_not_run(tmp_path: Path, ran: list[str]) -> None:
    text = net_text(conv("left", "data", 1), conv("right", "data", 1), data=(1, 1, 1, 1))
    load_text("torch", tmp_path, text).forward(np.ones((1, 1, 1, 1)), ["right"])
    assert ran == ["right"]


def test_changing_what_was_passed_in_changes_nothing(chain: Net) -> None:
    x = noise(1, 3, 2, 2)
    chain.forward(x, ["conv1"])
    x[:] = 100
    lazily = chain.backward("relu2", np.ones((1, 2, 2, 2)), blobs=["data"])["data"]
    chain.forward(noise(1, 3, 2, 2))
    np.testing.assert_array_equal(chain.backward("relu2", np.ones((1, 2, 2, 2)))["data"], lazily)


def test_a_source_has_a_diff(tmp_path: Path) -> None:
    text = net_text(
        layer("dummy", "DummyData", "", "dummy", "dummy_data_param { shape { dim: 1 dim: 2 } }"),
        layer("sum", "Eltwise", "data dummy", "sum", "eltwise_param { coeff: 2 coeff: 3 }"),
        data=(1, 2),
    )
    net = load_text("torch", tmp_path, text)
    net.forward(np.ones((1, 2)))
    diffs = net.backward("sum", np.array([[1, 10]]), blobs=["data", "dummy"])
    np.testing.assert_array_equal(diffs["data"], [[2, 20]])
    np.testing.assert_array_equal(diffs["dummy"], [[3, 30]])


def test_layers_that_only_hand_on_have_diffs_of_their_own(tmp_path: Path) -> None:
    text = net_text(
        layer("flat", "Flatten", "data", "flat", "flatten_param { axis: 1 end_axis: 1 }"),
        layer("drop", "Dropout", "data"),
        layer("same", "Reshape", "data", "same", "reshape_param { shape { dim: 0 dim: 0 } }"),
        layer("split", "Split", "data", "twin"),
        layer("sum", "Eltwise", "data flat drop same twin", "sum",
              "eltwise_param { coeff: 1 coeff: 2 coeff: 3 coeff: 4 coeff: 5 }"),
        data=(1, 1),
    )  # fmt: skip
    net = load_text("torch", tmp_path, text)
    net.forward(np.ones((1, 1)))
    diffs = net.backward("sum", np.ones((1, 1)), blobs=["data", "flat", "drop", "same", "twin"])
    assert [diff.item() for diff in diffs.values()] == [15, 2, 3, 4, 5]


def test_no_diff_gets_through_a_layer_without_a_gradient(tmp_path: Path) -> None:
    text = net_text(layer("which", "ArgMax", "data"), data=(1, 3))
    net = load_text("torch", tmp_path, text)
    net.forward(np.eye(3))
    diffs = net.backward("which", np.ones((3, 1, 1)), blobs=["data", "which"])
    np.testing.assert_array_equal(diffs["data"], np.zeros((3, 3)))
    np.testing.assert_array_equal(diffs["which"], np.ones((3, 1, 1)))
    net.evaluate(torch.eye(3), "which")
    np.testing.assert_array_equal(net.input_gradient(torch.ones(3, 1, 1)), np.zeros((3, 3)))


def test_ascent_sets_other_inputs_to_zero(tmp_path: Path) -> None:
    text = net_text(layer("sum", "Eltwise", "data extra"), data=(1, 1, 2, 2), extra=(1, 1, 2, 2))
    net = load_text("torch", tmp_path, text)
    x = torch.rand(3, 1, 2, 2)
    np.testing.assert_array_equal(net.evaluate(x, "sum"), x)


# -- errors --------------------------------------------------------------------------------------


def test_a_net_of_unknown_layers_only_has_nothing_to_read(tmp_path: Path) -> None:
    text = net_text(
        layer("odd", "Detector", "data"), layer("even", "Convolutional", "odd"), data=(1, 1, 1, 1)
    )
    net = load_text("torch", tmp_path, text, {})
    assert {name: one.type for name, one in net.opaque.items()} == {
        "odd": "Detector",
        "even": "Convolutional",
    }
    assert "did you mean 'Convolution'?" in net.opaque["even"].reason
    assert net.outputs == ("data",)
    with pytest.raises(EngineError, match=r"layer 'odd' \(Detector\) cannot run: the torch engine"):
        net.forward(noise(1, 1, 1, 1), ["odd"])


def test_an_input_that_does_not_fit_through_an_inner_product(tmp_path: Path) -> None:
    fc = layer("fc6", "InnerProduct", "conv1", "fc6", "inner_product_param { num_output: 2 }")
    net = load_text("torch", tmp_path, net_text(conv("conv1", "data", 3), fc, data=(1, 1, 4, 4)))
    for act in (lambda x: net.forward(x), lambda x: net.evaluate(torch.tensor(x), "fc6")):
        with pytest.raises(EngineError) as caught:
            act(noise(2, 1, 5, 5))
        message = str(caught.value)
        assert "'fc6' (InnerProduct)" in message
        assert "conv1 (2, 3, 5, 5)" in message
        assert "(2, 75)" in message  # needed
        assert "(2, 48)" in message  # there
    assert net.forward(noise(2, 1, 5, 5), ["conv1"])["conv1"].shape == (2, 3, 5, 5)


def test_an_input_smaller_than_a_kernel(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, net_text(conv("conv1", "data", 1, 3), data=(1, 1, 4, 4)))
    with pytest.raises(EngineError, match=r"'conv1' \(Convolution\) cannot run on data \(1, 1, 2"):
        net.forward(noise(1, 1, 2, 2))


def test_an_error_within_torch_names_the_layer(tmp_path: Path, monkeypatch) -> None:
    net = load_text("torch", tmp_path, net_text(layer("l", "Sigmoid", "data"), data=(1, 1, 1, 1)))

    def out_of_memory(*bottoms):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "sigmoid", out_of_memory)
    with pytest.raises(
        OutOfMemoryError, match=r"memory for layer 'l' \(Sigmoid\) on data \(1, 1, "
    ):
        net.forward(noise(1, 1, 1, 1))


def test_input_gradient_once_after_each_evaluate(chain: Net) -> None:
    with pytest.raises(EngineError, match="once after each evaluate"):
        chain.input_gradient(torch.zeros(1))
    top = chain.evaluate(torch.zeros(1, 3, 2, 2), "conv2")
    chain.input_gradient(top)
    with pytest.raises(EngineError, match="once after each evaluate"):
        chain.input_gradient(top)


def test_a_diff_of_another_shape(chain: Net) -> None:
    chain.evaluate(torch.zeros(1, 3, 2, 2), "conv2")
    with pytest.raises(EngineError, match=r"'conv2': .* \(1, 2, 2, 2\), got .* \(1, 2, 3, 3\)"):
        chain.input_gradient(torch.zeros(1, 2, 3, 3))
    chain.forward(np.zeros((1, 3, 2, 2)))
    with pytest.raises(EngineError, match=r"'conv2': .* \(1, 2, 2, 2\), got .* \(1, 2, 3, 3\)"):
        chain.backward("conv2", np.zeros((1, 2, 3, 3)))


def test_weights_that_are_read_only(tmp_path: Path) -> None:
    frozen = {name: tuple(blob.copy() for blob in blobs) for name, blobs in WEIGHTS.items()}
    for blob in [blob for blobs in frozen.values() for blob in blobs]:
        blob.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = load_text("torch", tmp_path, CHAIN, frozen)
    x = noise(1, 3, 2, 2)
    hidden = np.maximum(up(x, W1, B1), 0)
    np.testing.assert_allclose(net.forward(x, ["conv1"])["conv1"], hidden, atol=1e-6)


@pytest.mark.process
def test_without_torch_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; import deepvis_caffe.engines.torch"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "EngineError: the torch engine needs PyTorch" in ended.stderr
    assert pip_install("torch") in ended.stderr


def test_a_second_builder_for_a_type_is_refused() -> None:
    with pytest.raises(EngineError, match="'ReLU' is registered twice"):
        register("ReLU")(Layer)


@pytest.mark.parametrize(
    ("name", "message"), [("gpu", "known: auto, cpu, cuda"), ("cuda:99", "sees . CUDA device")]
)
def test_unknown_devices(name: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        choose_device(name)


@pytest.fixture
def tf32() -> Iterator[list[Any]]:
    """The two switches of TF32, both on."""
    switches = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield switches
    for switch, on in zip(switches, before, strict=True):
        switch.allow_tf32 = on


def allowed(switches: list[Any]) -> list[bool]:
    return [switch.allow_tf32 for switch in switches]


def test_full_precision_is_scoped(tf32: list[Any]) -> None:
    with full_precision(torch.device("cpu")):
        assert allowed(tf32) == [True, True]
    with full_precision(torch.device("cuda")):
        assert allowed(tf32) == [False, False]
    assert allowed(tf32) == [True, True]


def test_full_precision_holds_until_the_last_thread_is_out(tf32: list[Any]) -> None:
    first, second = (full_precision(torch.device("cuda")) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert allowed(tf32) == [False, False]
    second.__exit__(None, None, None)
    assert allowed(tf32) == [True, True]


@pytest.mark.process
def test_what_the_library_sets_for_the_process(tmp_path: Path) -> None:
    """Nothing: threads, precision, gradients and signals are as the host has them."""
    code = (
        "import atexit, signal, torch\n"
        "def state():\n"
        "    signals = [signal.getsignal(n) for n in signal.valid_signals()]\n"
        "    return (torch.get_num_threads(), torch.is_grad_enabled(),\n"
        "        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, signals)\n"
        "before = state()\n"
        "import numpy as np, deepvis_caffe as dv\n"
        f"net = dv.load_net({str(tmp_path / 'net.prototxt')!r}, None, 'torch', device='cpu')\n"
        "net.forward(np.ones((1, 1, 2, 2), np.float32))\n"
        "net.input_gradient(net.evaluate(torch.ones(1, 1, 2, 2), 'relu'))\n"
        "assert state() == before\n"
    )
    (tmp_path / "net.prototxt").write_text(
        net_text(layer("relu", "ReLU", "data"), data=(1, 1, 2, 2))
    )
    subprocess.run([sys.executable, "-c", code], check=True)
