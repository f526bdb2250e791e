"""Pointwise layers: the torch engine against real Caffe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.agreement import assert_engines_agree, few
from helpers.engine_nets import layer, net_text
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.pycaffe

SHAPE = (2, 3, 5, 4)


def positive(noise: np.ndarray) -> np.ndarray:
    return np.abs(noise) + 0.3


LAYERS: list[tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = [
    ("ReLU", "", np.asarray),
    ("ReLU", "relu_param { negative_slope: 0.2 }", np.asarray),
    ("ELU", "", np.asarray),
    ("ELU", "elu_param { alpha: 0.4 }", np.asarray),
    ("Sigmoid", "", np.asarray),
    ("TanH", "", np.asarray),
    ("AbsVal", "", np.asarray),
    ("BNLL", "", np.asarray),
    ("BNLL", "", lambda noise: 60 * noise),  # where exp(x) overflows
    ("Dropout", "dropout_param { dropout_ratio: 0.7 }", np.asarray),
    ("Threshold", "threshold_param { threshold: 0.3 }", np.asarray),
    ("Power", "", np.asarray),
    ("Power", "power_param { scale: 0.5 shift: 2 }", np.asarray),
    ("Power", "power_param { power: 2 scale: 0.5 shift: 0.1 }", np.asarray),
    ("Power", "power_param { power: 0.75 scale: 2 shift: 0.1 }", positive),
    ("Power", "power_param { power: -1.5 shift: 0.4 }", positive),
    ("Exp", "", np.asarray),
    ("Exp", "exp_param { base: 2 scale: 0.7 shift: -0.3 }", np.asarray),
    ("Log", "", positive),
    ("Log", "log_param { base: 10 scale: 3 shift: 0.2 }", positive),
]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("kind", "params", "values"), LAYERS)
def test_pointwise(
    caffe: Any,
    kind: str,
    params: str,
    values: Callable[[np.ndarray], np.ndarray],
    in_place: bool,
) -> None:
    if in_place and kind == "AbsVal":
        return  # Caffe refuses it
    top = "data" if in_place else "top"
    assert_engines_agree(net_text(layer("x", kind, "data", top, params), data=SHAPE), values)


@pytest.mark.parametrize("mode", ["deconv", "guided"])
@pytest.mark.parametrize("slope", [0, 0.3])
def test_modes_replace_a_relus_gradient(caffe: Any, mode: str, slope: float) -> None:
    params = f"relu_param {{ negative_slope: {slope} }}"
    assert_engines_agree(
        net_text(layer("relu", "ReLU", "data", "data", params), data=SHAPE), modes=(mode,)
    )


def test_values_at_the_kinks(caffe: Any) -> None:
    """Zeros: the gradient there is a convention, and Caffe's is the one to keep."""
    for kind in ("ReLU", "ELU", "AbsVal"):
        assert_engines_agree(
            net_text(layer("x", kind, "data", "top"), data=SHAPE), lambda noise: noise.round()
        )


@pytest.mark.parametrize("shared", ["true", "false"])
def test_prelu(caffe: Any, shared: str) -> None:
    params = f"prelu_param {{ channel_shared: {shared} }}"
    for shape in (SHAPE, (3, 4)):
        assert_engines_agree(net_text(layer("x", "PReLU", "data", "data", params), data=shape))


@few
@given(
    operation=st.sampled_from(["SUM", "PROD", "MAX"]),
    coefficients=st.lists(st.floats(-2, 2).filter(bool), min_size=2, max_size=4),
    weighted=st.booleans(),
    stable=st.booleans(),
    ties=st.booleans(),
)
def test_eltwise(
    caffe: Any,
    operation: str,
    coefficients: list[float],
    weighted: bool,
    stable: bool,
    ties: bool,
) -> None:
    params = f"operation: {operation} stable_prod_grad: {str(stable).lower()}"
    if operation == "SUM" and weighted:
        params += "".join(f" coeff: {c}" for c in coefficients)
    inputs = {f"in{i}": SHAPE for i in range(len(coefficients))}
    eltwise = layer("x", "Eltwise", " ".join(inputs), "", f"eltwise_param {{ {params} }}")
    # Equal values are a convention for MAX; a product without stable_prod_grad divides by them.
    values = np.round if ties and operation != "PROD" else np.asarray
    assert_engines_agree(net_text(eltwise, **inputs), values)


def test_eltwise_of_one_blob_twice(caffe: Any) -> None:
    params = "eltwise_param { operation: PROD }"
    assert_engines_agree(net_text(layer("x", "Eltwise", "data data", "", params), data=SHAPE))
