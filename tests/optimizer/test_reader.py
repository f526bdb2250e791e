"""Rivals: whatever is left out, who is on top first is what all channels would have said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.array_ops import OPS
from helpers.engine_nets import conv, load_text, net_text, relu
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import deepvis_caffe as dv
from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps
from deepvis_caffe.optimizer.ascent import FEW, LOOK_EVERY, Reader
from deepvis_caffe.optimizer.objectives import Objective

UNITS = 40


class Script:
    """A net whose values are written down: one array (N, units) a step."""

    def __init__(self, ops: ArrayOps, steps: NDArray[np.float32], saves: bool = True) -> None:
        self.ops, self.steps, self.saves = ops, steps, saves
        self.asked: list[tuple[int, tuple[int, ...] | None]] = []

    def saves_channels(self, name: str) -> bool:
        return self.saves

    def evaluate(self, t: int, name: str, channels: tuple[int, ...] | None = None) -> object:
        self.asked.append((t, channels))
        values = self.steps[t]
        return self.ops.asarray(values if channels is None else values[:, channels])


def follow(net: Script, targets: list, every: int) -> list[int | None]:
    """When each image's unit is first told to be on top; its activations are checked."""
    reader = Reader(net, "unit", Objective(net.ops, targets, (UNITS,), None))  # type: ignore[arg-type]
    first: list[int | None] = [None] * len(targets)
    for t, values in enumerate(net.steps):
        reading = reader(t)
        sums = [values[i, list(np.atleast_1d(one))].sum() for i, one in enumerate(targets)]
        np.testing.assert_allclose(reading.activation, sums, rtol=1e-6)
        for i in np.flatnonzero(reading.on_top):
            first[i] = t if first[i] is None else first[i]
        if t % every == 0:
            reader.look(net.ops.for_numbers.asarray([one is None for one in first], np.bool_))
    return first


def by_all(steps: NDArray[np.float32], targets: list) -> list[int | None]:
    """The same by looking at everything."""
    on_top = [
        [int(step[i].argmax()) in np.atleast_1d(one) for step in steps]
        for i, one in enumerate(targets)
    ]
    return [told.index(True) if True in told else None for told in on_top]


@pytest.mark.parametrize("ops", OPS.values(), ids=OPS)
@settings(max_examples=40, deadline=None)
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


def test_what_is_read() -> None:
    """One unit that leads from step 9 on, below 5, which from step 6 on is below 8."""
    steps = np.zeros((20, 1, UNITS), np.float32)
    steps[:, 0, 5], steps[6:, 0, 8], steps[9:, 0, 2] = 3, 4, 5
    steps[7:, 0, 2] += 3.5
    net = Script(NumpyOps(), steps)
    assert follow(net, [2], 4) == [9]
    few, more = (2, 5), (2, 5, 8)
    assert net.asked == [
        (0, None),
        *((t, few) for t in range(1, 7)),
        (7, few),  # 3.5 beats 5's 3, so that all are asked:
        (7, None),  # ... 8 has 4
        (8, None),
        (9, more),
        (9, None),  # on top
        *((t, None) for t in range(10, 13)),  # until the next look
        *((t, (2,)) for t in range(13, 20)),
    ]


def test_images_that_have_ended_are_not_asked_about() -> None:
    """Both lie below 5; the second, which has ended, then beats it."""
    steps = np.zeros((6, 2, UNITS), np.float32)
    steps[:, :, 5], steps[3:, 1, 2] = 3, 4
    net = Script(NumpyOps(), steps)
    reader = Reader(net, "unit", Objective(net.ops, [2, 2], (UNITS,), None))  # type: ignore[arg-type]
    for t in range(6):
        reading = reader(t)
        assert not reading.on_top.any()
        reader.look(np.array([True, t < 2]))
    assert net.asked == [(0, None), *((t, (2, 5)) for t in range(1, 6))]


def test_rivals_that_are_many_give_way_to_the_last() -> None:
    """Another one leads at every look; never is more than a part of the layer read."""
    steps = np.zeros((60, 1, UNITS), np.float32)
    for t in range(60):
        steps[t, 0, 1 + t // 2] = 2 + t % 2  # the unit beats last time's rival
    steps[:, 0, 0] = 1
    net = Script(NumpyOps(), steps)
    assert follow(net, [0], 1) == [None]
    sizes = {t: len(channels) for t, channels in net.asked if channels}
    assert max(sizes.values()) == UNITS // FEW
    assert min(size for t, size in sizes.items() if t > 40) < 5


def test_rivals_are_not_looked_at_where_that_is_dear_or_saves_nothing() -> None:
    steps = np.tile(np.arange(UNITS, dtype=np.float32), (3, 1, 1))
    for ops, saves in ((OPS["device"], True), (OPS["numpy"], False)):
        net = Script(ops, steps, saves)
        follow(net, [2], 1)
        assert net.asked == [(0, None), (1, None), (2, None)]


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
    steps = 2 * LOOK_EVERY
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
        assert (run.met_top and run.met_top.iteration) == first
        if run.met_top and first:
            np.testing.assert_array_equal(run.met_top.image, seen[first][i])
            later += 1
    assert later
