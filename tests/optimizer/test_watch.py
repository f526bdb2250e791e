"""Watching an ascent: snapshots show the net's input, and the net is free between steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu
from helpers.fake_nets import FakeNet, bumps

from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps, TorchOps
from deepvis_caffe.optimizer import AscentParams, GrayLevels, Snapshot, optimize

SHAPE = (3, 8, 7)
CENTERS = np.random.RandomState(0).normal(0, 30, (4, *SHAPE))

SMALL = net_text(
    conv("conv1", "data", 4, 3, "pad: 1 stride: 2"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"),
    conv("conv2", "pool1", 5, 3),
    layer("norm", "LRN", "conv2"),
    layer("fc", "InnerProduct", "norm", "", "inner_product_param { num_output: 6 }"),
    layer("prob", "Softmax", "fc"),
    data=(1, 3, 24, 20),
)

# Every operator that reads the step's gradient, and the rate that reads its activation.
PLAIN = {"contribution_percentile": 40, "norm_percentile": 10, "blur_width": 0.7, "blur_every": 2}
MOVED = {"jitter": 0.1, "rotation": 5, "fourier": 1.0, "decorrelate": 0.5}


@pytest.fixture(params=[NumpyOps(), TorchOps()], ids=["numpy", "torch"])
def ops(request: pytest.FixtureRequest) -> ArrayOps:
    return request.param


# (layer, crop): conv2's unit runs on a window, the others on whole images
@pytest.mark.parametrize("name", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("changes", [PLAIN, MOVED], ids=["plain", "moved"])
def test_other_passes_between_steps_change_nothing(
    engine: str, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    net = load_text(engine, tmp_path, SMALL, mean=(104, 117, 123))
    params = AscentParams(iterations=12, rate=GrayLevels(3), **changes)
    units, seeds = [1, 3], [0, 1]
    alone = optimize(net, name, units, seeds, params, batch_size=4)
    assert (alone[0].window is None) == (name == "fc")

    def use(step: Snapshot) -> None:
        count = 1 + step.step % 3
        net.forward(noise(count, 3, 24, 20, seed=step.step) * 50, blobs=["prob"])
        diff = noise(count, 4, 12, 10, seed=step.step)
        net.backward("conv1", diff, mode=["gradient", "deconv", "guided"][step.step % 3])
        net.read(["conv2"])
        if step.step % 2:  # another ascent leaves nothing behind either
            net.input_gradient(net.evaluate(net.ops.asarray(noise(2, 3, 24, 20)), "fc"))

    watched = optimize(net, name, units, seeds, params, batch_size=4, watch=use)
    for one, other in zip(alone, watched, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.activations, other.activations)
        assert one.best_iteration == other.best_iteration
        assert len(other.activations) == 12


def test_the_last_pass_is_there_after_every_step(engine: str, tmp_path: Path) -> None:
    """What was run before an ascent goes on between its steps, without a forward pass."""
    net = load_text(engine, tmp_path, SMALL, mean=(104, 117, 123))
    frame, diff = noise(1, 3, 24, 20) * 50, noise(1, 5, 4, 3)
    net.forward(frame, blobs=["conv1"])
    expected = net.read(["prob"])["prob"], net.backward("conv2", diff)["data"]
    net.forward(frame, blobs=["conv1"])

    def check(step: Snapshot) -> None:
        np.testing.assert_array_equal(net.read(["prob"])["prob"], expected[0])
        np.testing.assert_array_equal(net.backward("conv2", diff)["data"], expected[1])

    params = AscentParams(iterations=4, rate=GrayLevels(3))
    assert optimize(net, "conv2", 2, 1, params, watch=check)[0].stop == "finished"


def test_what_is_seen_is_what_the_net_saw(ops: ArrayOps) -> None:
    net = FakeNet(bumps(CENTERS), 4, SHAPE, ops)
    seen: list[Snapshot] = []
    params = AscentParams(iterations=5, rate=GrayLevels(9), decay=0.1)
    runs = optimize(net, "unit", [2, 0], [4, 7, 8], params, batch_size=3, watch=seen.append)
    assert [(one.step, one.steps) for one in seen] == [(t, 5) for t in range(5)] * 2
    assert [list(one.runs) for one in seen[::5]] == [
        [(2, 4), (2, 7), (2, 8)],
        [(0, 4), (0, 7), (0, 8)],
    ]
    for one, images in zip(seen, net.seen, strict=True):  # long after its step, too
        np.testing.assert_array_equal(one.images(), images)
    best = runs[4]
    assert best.best_iteration is not None
    step = seen[5 + best.best_iteration]
    np.testing.assert_array_equal(step.pictures()[1], best.picture())
    np.testing.assert_array_equal(step.pictures(symmetric=True)[1], best.symmetric_picture())


def test_nothing_is_copied_that_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    net = FakeNet(bumps(CENTERS), 4, SHAPE)
    copied: list[int] = []
    plain = NumpyOps.numpy
    monkeypatch.setattr(
        NumpyOps, "numpy", lambda self, x: copied.append(x.nbytes) or plain(self, x)
    )
    params = AscentParams(iterations=6, rate=GrayLevels(9))
    optimize(net, "unit", 2, 1, params)
    without = list(copied)
    copied.clear()
    optimize(net, "unit", 2, 1, params, watch=lambda step: None)
    assert copied == without
    copied.clear()
    optimize(net, "unit", 2, 1, params, watch=lambda step: step.pictures() and None)
    assert sum(copied) - sum(without) == 6 * 4 * np.prod(SHAPE)


def test_progress_then_watch_then_cancel() -> None:
    net = FakeNet(bumps(CENTERS), 4, SHAPE)
    said: list[Any] = []

    def cancel() -> bool:
        said.append("?")
        return len(net.seen) == 2

    (run,) = optimize(
        net,
        "unit",
        1,
        1,
        AscentParams(iterations=9, rate=GrayLevels(2)),
        progress=lambda done, total: said.append(done),
        watch=lambda step: said.append((step.step,)),
        cancel=cancel,
    )
    assert said == [1, (0,), "?", 2, (1,), "?"]
    assert (run.stop, len(run.activations)) == ("cancelled", 2)


def test_the_step_at_which_all_have_ended_is_seen_too() -> None:
    net = FakeNet(lambda x: (0 * x[:, :1, 0, 0], lambda diff: 0 * x), 1, SHAPE)
    seen: list[int] = []
    params = AscentParams(iterations=50, rate=GrayLevels(2))
    (run,) = optimize(net, "unit", 0, 1, params, watch=lambda step: seen.append(step.step))
    assert (run.stop, seen) == ("zero gradient", [0])
