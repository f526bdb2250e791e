"""The first 30 steps on each engine against a slow ascent over a net written out in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu
from helpers.slow_ascent import RATES, Run, maximize
from scipy.signal import convolve, correlate

from deepvis_caffe.engines.base import Net
from deepvis_caffe.optimizer import AscentResult, Constant, Progress, Progress01, optimize

STEPS = 30
HEIGHT, WIDTH, UNITS = 18, 15, 6
MEAN = np.array([104, 117, 123], np.float64)[:, None, None]

TEXT = net_text(
    conv("conv1", "data", 4, 3),
    relu("relu1", "conv1"),
    layer("fc", "InnerProduct", "conv1", "", f"inner_product_param {{ num_output: {UNITS} }}"),
    layer("prob", "Softmax", "fc"),
    data=(1, 3, HEIGHT, WIDTH),
)
KERNELS = noise(4, 3, 3, 3, seed=3) / 5
BIASES = noise(4, seed=4)
DENSE = noise(UNITS, 4 * (HEIGHT - 2) * (WIDTH - 2), seed=5) / 1000
WEIGHTS = {"conv1": (KERNELS, BIASES), "fc": (DENSE, np.zeros(UNITS, np.float32))}


def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """conv1 below its ReLU, fc and prob for one image."""
    maps = np.stack([correlate(x, kernel, "valid")[0] for kernel in KERNELS.astype(np.float64)])
    maps += BIASES[:, None, None]
    fc = DENSE.astype(np.float64) @ np.maximum(maps, 0).ravel()
    exp = np.exp(fc - fc.max())
    return maps, fc, exp / exp.sum()


def to_input(diff: np.ndarray) -> np.ndarray:
    """The gradient at the image for a diff (4, h, w) at conv1."""
    return sum(
        np.stack([convolve(one, channel, "full") for channel in kernel])
        for one, kernel in zip(diff, KERNELS.astype(np.float64), strict=True)
    )


def value_and_gradient(name: str, unit: int, x: np.ndarray) -> tuple[float, np.ndarray]:
    maps, fc, prob = forward(x)
    if name == "conv1":
        row, column = maps.shape[1] // 2, maps.shape[2] // 2
        diff = np.zeros_like(maps)
        diff[unit, row, column] = 1
        return maps[unit, row, column], to_input(diff)
    value, at_fc = fc[unit], np.eye(UNITS)[unit]
    if name == "prob":
        value, at_fc = prob[unit], prob[unit] * (at_fc - prob)
    at_relu = (DENSE.astype(np.float64).T @ at_fc).reshape(maps.shape)
    return value, to_input(at_relu * (maps > 0))


class Case(NamedTuple):
    """The same parameters for both sides, each side's names."""

    ours: dict[str, Any]
    slow: dict[str, Any]
    layer: str = "fc"


# The four presets: decay, width, every, n_pct, c_pct and the rate, as the paper's table has them.
CASES = {
    "preset 1": Case(
        {"preset": 1, "rate": "paper"},
        {"rate": RATES["progress"](100, 2), "width": 0.5, "every": 4, "norm_pct": 50},
    ),
    "preset 2": Case(
        {"preset": 2, "rate": "paper"},
        {"rate": RATES["constant"](100), "decay": 0.3, "norm_pct": 20},
    ),
    "preset 3": Case(
        {"preset": 3, "rate": "paper"},
        {"rate": RATES["constant"](100), "decay": 0.0001, "width": 1.0, "every": 4},
    ),
    "preset 4": Case(
        {"preset": 4, "rate": "paper"},
        {"rate": RATES["progress"](1e8, 2), "width": 0.5, "every": 4, "contribution_pct": 90},
    ),
    "signed contribution": Case(
        {"preset": 3, "rate": Constant(50), "benefit_percentile": 40},
        {
            "rate": RATES["constant"](50),
            "decay": 0.0001,
            "width": 1.0,
            "every": 4,
            "benefit_pct": 40,
        },
    ),
    "small values, downward": Case(
        {"preset": 3, "rate": Progress(100, 0.5), "value_percentile": 30, "sign": -1},
        {
            "rate": RATES["progress"](100, 0.5),
            "decay": 0.0001,
            "width": 1.0,
            "every": 4,
            "value_pct": 30,
            "sign": -1,
        },
    ),
    "progress01 of a probability": Case(
        {"preset": 3, "rate": Progress01(1e6, 0.02, 0.1)},
        {
            "rate": RATES["progress01"](1e6, 0.02, 0.1),
            "decay": 0.0001,
            "width": 1.0,
            "every": 4,
        },
        "prob",
    ),
    "middle of a map": Case(
        {"preset": 3, "rate": Constant(5), "norm_percentile": 20},
        {
            "rate": RATES["constant"](5),
            "decay": 0.0001,
            "width": 1.0,
            "every": 4,
            "norm_pct": 20,
        },
        "conv1",
    ),
}


def slow(case: Case, unit: int, seed: int) -> Run:
    x = np.random.RandomState(seed).normal(0, 10, (3, HEIGHT, WIDTH))
    return maximize(
        lambda x: value_and_gradient(case.layer, unit, x),
        x,
        0 - MEAN,
        255 - MEAN,
        STEPS,
        **case.slow,
    )


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT, WEIGHTS, mean=(104, 117, 123))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_first_steps_are_those_of_a_slow_ascent(net: Net, name: str) -> None:
    case = CASES[name]
    runs = optimize(
        net, case.layer, [0, 3], seeds=[0, 5], iterations=STEPS, crop="off", **case.ours
    )
    assert [(run.unit, run.seed) for run in runs] == [(0, 0), (0, 5), (3, 0), (3, 5)]
    for run in runs:
        assert_same(run, slow(case, run.unit, run.seed), case.ours.get("sign", 1))


def assert_same(run: AscentResult, expected: Run, sign: int) -> None:
    values = sign * np.array(expected.values)
    reach = np.ptp(values)
    np.testing.assert_allclose(run.activations, values, atol=1e-3 * reach)
    assert run.best_iteration is not None
    assert sign * run.best_value == pytest.approx(max(expected.values), abs=1e-3 * reach)
    np.testing.assert_allclose(run.image, expected.images[run.best_iteration], atol=0.05)
    assert reach > 0
