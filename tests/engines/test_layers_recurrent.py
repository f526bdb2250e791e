"""Recurrent layers: stock ones against real Caffe, forks' against loops of their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.agreement import assert_engines_agree
from helpers.engine_nets import arrays, layer, load_text, net_text, noise

from deepvis_caffe.engines.base import Net

T, N, H = 4, 2, 3  # steps, sequences, size of the state


def flagged(x: np.ndarray) -> np.ndarray:
    """Standard normal values; of (T, N) they become flags: 0 where a sequence begins."""
    return (x > -0.5).astype(np.float32) if x.shape == (T, N) else x


@pytest.mark.pycaffe
@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
@pytest.mark.parametrize("static", ["", " static"])
def test_stock_layers_are_caffes(caffe, kind: str, static: str) -> None:
    params = f"recurrent_param {{ num_output: {H} }}"
    inputs = {"data": (T, N, 5), "on": (T, N), **({"static": (N, 7)} if static else {})}
    text = net_text(layer("y", kind, f"data on{static}", "y", params), **inputs)
    assert_engines_agree(text, flagged)


@pytest.mark.pycaffe
@pytest.mark.parametrize(("kind", "states"), [("LSTM", "h c"), ("RNN", "h")])
def test_states_that_are_exposed(caffe, kind: str, states: str, tmp_path: Path) -> None:
    """Values are Caffe's. Its diffs of states are not the gradient, so that is by differences."""
    params = f"recurrent_param {{ num_output: {H} expose_hidden: true }}"
    tops = "y " + " ".join(f"{state}_end" for state in states.split())
    inputs = {"data": (T, N, 2, 2), "on": (T, N), **dict.fromkeys(states.split(), (1, N, H))}
    text = net_text(layer("y", kind, f"data on {states}", tops, params), **inputs)
    ours = load_text("torch", tmp_path, text)
    theirs = load_text("pycaffe", tmp_path, text, ours.model.weights)
    x = {name: flagged(noise(*shape, seed=len(name))) for name, shape in inputs.items()}
    found, expected = ours.forward(x), theirs.forward(x)
    assert list(found) == tops.split()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
    ours.forward(x)
    dy = noise(1, N, H, seed=9)
    for source in ("data", *states.split()):
        dx = ours.backward("h_end", dy, blobs=[source])[source]
        way = noise(*x[source].shape, seed=10)
        up, down = (
            ours.forward({**x, source: x[source] + sign * 1e-2 * way})["h_end"] for sign in (1, -1)
        )
        slope = float(((up - down) * dy).sum() / 2e-2)
        np.testing.assert_allclose((dx * way).sum(), slope, rtol=1e-2, atol=1e-3)
        ours.forward(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_lstm(
    x: np.ndarray, flags: np.ndarray, w_x: np.ndarray, w_h: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Step by step, sequence by sequence, unit by unit, as caffe-lstm's forward pass goes."""
    top = np.zeros((len(x), H))
    for n in range(N):
        h, c = np.zeros(H), np.zeros(H)
        for t in range(len(x) // N):
            row = t * N + n
            gates = w_x @ x[row] + bias
            if flags[row]:
                gates = gates + w_h @ h
            for d in range(H):
                i, o = sigmoid(gates[d]), sigmoid(gates[2 * H + d])
                f = sigmoid(gates[H + d]) if flags[row] else 0
                c[d] = f * c[d] + i * np.tanh(gates[3 * H + d])
                top[row, d] = o * np.tanh(c[d])
            h = top[row]
    return top


def packed(tmp_path: Path, flags: str = "") -> Net:
    params = f"lstm_param {{ num_output: {H} batch_size: {N} }}"
    inputs = {"data": (T * N, 5), **({"on": (T * N,)} if flags else {})}
    text = net_text(layer("y", "Lstm", f"data {flags}", "y", params), **inputs)
    weights = arrays(y=(noise(4 * H, 5), noise(4 * H, H, seed=2), noise(4 * H, seed=3)))
    return load_text("torch", tmp_path, text, weights)


def test_an_lstm_whose_steps_lie_below_each_other(tmp_path: Path) -> None:
    net = packed(tmp_path)
    x = noise(T * N, 5, seed=4)
    begins = np.repeat(np.arange(T) > 0, N)
    expected = slow_lstm(x, begins, *net.model.weights["y"])
    np.testing.assert_allclose(net.forward(x)["y"], expected, rtol=1e-5, atol=1e-6)


def test_its_flags_say_where_a_sequence_continues(tmp_path: Path) -> None:
    net = packed(tmp_path, "on")
    x, flags = noise(T * N, 5, seed=4), np.array([0, 0, 1, 1, 0, 1, 1, 1], np.float32)
    expected = slow_lstm(x, flags, *net.model.weights["y"])
    found = net.forward({"data": x, "on": flags})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_its_gradient_by_finite_differences(tmp_path: Path) -> None:
    net = packed(tmp_path)
    x, dy = noise(T * N, 5, seed=4), noise(T * N, H, seed=5)
    begins = np.repeat(np.arange(T) > 0, N)
    weights = [blob.astype(np.float64) for blob in net.model.weights["y"]]
    net.forward(x)
    found = net.backward("y", dy)["data"]
    for index in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-5
        up, down = (slow_lstm(x + sign * step, begins, *weights) for sign in (1, -1))
        np.testing.assert_allclose(found[index], ((up - down) * dy).sum() / 2e-5, atol=1e-4)


def test_a_continuation_indicator_begins_every_sequence_at_the_first_step(tmp_path: Path) -> None:
    params = "continuation_indicator_param { time_step: 3 batch_size: 2 }"
    text = net_text(
        layer("on", "ContinuationIndicator", "", "on", params),
        layer("y", "LSTM", "data on", "y", "recurrent_param { num_output: 3 }"),
        data=(3, 2, 5),
    )
    net = load_text("torch", tmp_path, text)
    x = noise(3, 2, 5)
    found = net.forward(x, ["on", "y"])
    np.testing.assert_array_equal(found["on"], [[0, 0], [1, 1], [1, 1]])
    same = net_text(
        layer("y", "LSTM", "data on", "y", "recurrent_param { num_output: 3 }"),
        data=(3, 2, 5),
        on=(3, 2),
    )
    (tmp_path / "given").mkdir()
    given = load_text("torch", tmp_path / "given", same, {"y": net.model.weights["y"]})
    np.testing.assert_array_equal(found["y"], given.forward({"data": x, "on": found["on"]})["y"])
