"""Whichever channels are left out, the first top is the same as with all channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.array_ops import ON_EACH_KIND
from helpers.engine_nets import conv, load_text, net_text, relu
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import deepvis_caffe as dv
from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps
from deepvis_caffe.optimizer.ascent import CHECK_EVERY
from deepvis_caffe.optimizer.readers import TargetBatch, TargetReader

UNITS = 40


class Script:
    """A net whose values are written down: one array (N, units) a step."""

    def __init__(self, ops: ArrayOps, steps: NDArray[np.float32], saves: bool = True) -> None:
        self.ops, self.steps, self.saves = ops, steps, saves

    def saves_channels(self, name: str) -> bool:
        return self.saves

    def evaluate(self, t: int, name: str, channels: tuple[int, ...] | None = None) -> object:
        values = self.steps[t]
        return self.ops.asarray(values if channels is None else values[:, channels])


def follow(net: Script, targets: list, every: int) -> list[int | None]:
    """When each image's unit is first told to be on top; its activations are checked."""
    reader = TargetReader(net, "unit", TargetBatch(net.ops, targets, (UNITS,), None))  # type: ignore[arg-type]
    first: list[int | None] = [None] * len(targets)
    for t, values in enumerate(net.steps):
        activation, on_top = reader(t)
        sums = [values[i, list(np.atleast_1d(one))].sum() for i, one in enumerate(targets)]
        read = net.ops.for_numbers.numpy
        np.testing.assert_allclose(read(activation), sums, rtol=1e-6)
        for i in np.flatnonzero(read(on_top)):
            first[i] = t if first[i] is None else first[i]
        if t % every == 0:
            reader.narrow(np.array([one is None for one in first]))
    return first


def by_all(steps: NDArray[np.float32], targets: list) -> list[int | None]:
    """The same by looking at everything."""
    on_top = [
        [int(step[i].argmax()) in np.atleast_1d(one) for step in steps]
        for i, one in enumerate(targets)
    ]
    return [told.index(True) if True in told else None for told in on_top]


@pytest.mark.slow
@settings(max_examples=40, **(ON_EACH_KIND | {"derandomize": False}))
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 16]), st.booleans())
def test_who_is_on_top_first_is_what_all_channels_say(
    ops: ArrayOps, seed: int, every: int, saves: bool
) -> None:
    """Random walks of whole numbers, so that there are ties, each unit with a drift upwards."""
    rng = np.random.default_rng(seed)
    targets = [int(rng.integers(UNITS)), (3, 7), int(rng.integers(UNITS))]
    steps = rng.integers(-2, 3, (50, 3, UNITS)).cumsum(axis=0).astype(np.float32)
    for i, one in enumerate(targets):
        steps[:, i, np.atleast_1d(one)] += rng.choice([0, 0.5, 3]) * np.arange(50)[:, None]
    net = Script(ops, steps, saves)
    assert follow(net, targets, every) == by_all(steps, targets)


def test_images_that_have_ended_do_not_matter() -> None:
    """Both lie below 5; the second, which has ended, then overtakes it."""
    steps = np.zeros((6, 2, UNITS), np.float32)
    steps[:, :, 5], steps[3:, 1, 2] = 3, 4
    net = Script(NumpyOps(), steps)
    reader = TargetReader(net, "unit", TargetBatch(net.ops, [2, 2], (UNITS,), None))  # type: ignore[arg-type]
    for t in range(6):
        _, on_top = reader(t)
        assert not on_top.any()
        reader.narrow(np.array([True, t < 2]))


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["b", "pool"])
def test_an_ascent_finds_the_first_image_that_a_whole_pass_finds(
    layer: str, engine: str, tmp_path: Path
) -> None:
    pool = 'layer { name: "pool" type: "Pooling" bottom: "b" top: "pool" '
    pool += "pooling_param { pool: AVE global_pooling: true } }"
    text = net_text(
        conv("a", "data", 4, 3), relu("relu_a", "a"), conv("b", "a", 48, 3), pool,
        data=(1, 3, 12, 12),
    )  # fmt: skip
    net = load_text(engine, tmp_path, text, mean=100)
    seen: list[NDArray[np.float32]] = []
    steps = 2 * CHECK_EVERY
    runs = dv.optimize(
        net,
        layer,
        units=[3, 26, 35, 43],
        seeds=[0, 1],
        preset=1,
        iterations=steps,
        crop="off",
        watch=lambda step: seen.append(step.images()),
    )
    assert len(seen) == steps
    later = 0
    for i, run in enumerate(runs):
        values = net.forward(np.stack([images[i] for images in seen]), [layer])[layer]
        height, width = values.shape[2:]
        told = list(values[:, :, height // 2, width // 2].argmax(axis=1) == run.unit)
        first = told.index(True) if True in told else None
        assert (run.first_top and run.first_top.iteration) == first
        if run.first_top and first:
            np.testing.assert_array_equal(run.first_top.image, seen[first][i])
            later += 1
    assert later
