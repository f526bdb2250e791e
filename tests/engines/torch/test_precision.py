"""bfloat16: how much it changes the results of a trained net, and where it is refused.

The oracle is the same net in float32. A value with 8 bits of precision is off by up to 1 part in
256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text
from scipy.stats import spearmanr

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.torch import precision as module
from deepvis_caffe.engines.torch.precision import choose_precision
from deepvis_caffe.errors import EngineError, UnknownNameError

DIGITS = Path(__file__).parents[2] / "fetch" / "held_out_digits.npz"
LAYERS = ("conv2", "ip2")
CPU = torch.device("cpu")


@pytest.fixture
def nets() -> tuple[Net, Net]:
    """The net of digits in float32 and in bfloat16."""
    exact, rough = (
        dv.zoo("lenet-digits", "torch", device="cpu", precision=one)
        for one in ("float32", "bfloat16")
    )
    return exact, rough


@pytest.fixture
def digits(nets: tuple[Net, Net]) -> np.ndarray:
    return np.stack([nets[0].preprocessor(image) for image in np.load(DIGITS)["images"]])


def strongest(values: np.ndarray) -> np.ndarray:
    """Of each image and unit the highest activation."""
    return values.reshape(*values.shape[:2], -1).max(2)


@pytest.mark.parametrize("name", LAYERS)
def test_activations_and_gradients(nets: tuple[Net, Net], digits: np.ndarray, name: str) -> None:
    exact, rough = (net.forward(digits, [name])[name] for net in nets)
    assert rough.dtype == np.float32
    assert 1e-4 < np.sqrt(((rough - exact) ** 2).mean() / (exact**2).mean()) < 0.004
    diff = np.zeros_like(exact)
    diff[:, strongest(exact).sum(0).argmax()] = 1
    one, other = (net.backward(name, diff)["data"].ravel() for net in nets)
    assert other.dtype == np.float32
    assert one @ other > 0.99 * np.sqrt((one @ one) * (other @ other))

    x, dy = (torch.tensor(array) for array in (digits, diff))  # the pass of an ascent
    np.testing.assert_allclose(nets[1].evaluate(x, name), rough, atol=0.02 * np.abs(exact).max())
    np.testing.assert_allclose(
        nets[1].input_gradient(dy).ravel(), other, atol=0.05 * np.abs(other).max()
    )


@pytest.mark.parametrize("name", LAYERS)
def test_the_order_of_top_images(nets: tuple[Net, Net], digits: np.ndarray, name: str) -> None:
    seen: list[Any] = []
    for net in nets:
        net.reduce(digits, [name], lambda blob, value: seen.append(value.numpy()))
    one, other = map(strongest, seen)
    units = np.flatnonzero(one.max(0) > 0)
    assert np.mean([spearmanr(one[:, unit], other[:, unit])[0] for unit in units]) > 0.998
    assert (one.argmax(0) == other.argmax(0))[units].mean() > 0.95


@pytest.mark.parametrize(("name", "unit"), [("conv2", 31), ("ip2", 3)])
def test_finished_pictures(nets: tuple[Net, Net], name: str, unit: int) -> None:
    (one,), (other,) = (dv.optimize(net, name, [unit], preset=3, iterations=60) for net in nets)
    assert other.activations.max() == pytest.approx(one.activations.max(), rel=0.05)
    levels = [run.preprocessor.show(run.image).astype(float) for run in (one, other)]
    assert 0 < np.abs(levels[0] - levels[1]).mean() < 12  # of 255


def test_results_of_either_are_kept_apart(nets: tuple[Net, Net]) -> None:
    assert [net.precision for net in nets] == ["float32", "bfloat16"]
    assert nets[0].fingerprint != nets[1].fingerprint


def test_layers_that_need_more_bits_refuse(tmp_path: Path) -> None:
    text = net_text(conv("a", "data", 4), layer("best", "ArgMax", "a", "best"), data=(1, 3, 2, 2))
    with pytest.raises(EngineError, match=r"layer 'best' \(ArgMax\) needs positions"):
        load_text("torch", tmp_path, text, precision="bfloat16")
    assert load_text("torch", tmp_path, text, precision="auto").precision == "float32"


def test_relevance_needs_float32(nets: tuple[Net, Net], digits: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r'needs precision="float32", but this net has .bfloat16'):
        dv.attribute(nets[1], digits[:1], "ip2", 3, method="lrp_epsilon")


def test_caffe_has_float32_only(tmp_path: Path, caffe: object) -> None:
    text = net_text(conv("a", "data", 4), data=(1, 3, 2, 2))
    with pytest.raises(EngineError, match=r"bfloat16.* needs the torch engine"):
        load_text("pycaffe", tmp_path, text, precision="bfloat16")
    assert load_text("pycaffe", tmp_path, text, precision="auto").precision == "float32"


@pytest.mark.parametrize(
    ("amx", "avx512", "vendor", "expected"),
    [
        (True, True, "GenuineIntel", "bfloat16"),
        (False, True, "GenuineIntel", "float32"),
        (False, True, "AuthenticAMD", "bfloat16"),
        (False, False, "AuthenticAMD", "float32"),
    ],
)
def test_auto_goes_by_the_processor(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, vendor: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(module, "_vendor", lambda: vendor)
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    assert choose_precision("auto", CPU, ()) == expected


def test_auto_is_safe_where_pytorch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):  # from PyTorch 2.6 on
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert choose_precision("auto", CPU, ()) == "float32"


def test_other_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"precision.*half.*bfloat16"):
        dv.zoo("lenet-digits", "torch", precision="half")  # type: ignore[arg-type]
