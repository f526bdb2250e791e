"""What can be maximized: values and diffs against numpy and finite differences, names, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.optimizer.readers import TargetBatch
from deepvis_caffe.optimizer.targets import (
    Direction,
    check_targets,
    name_of,
    read_directions,
)

VALUES = np.random.default_rng(0).normal(0, 1, (3, 4, 5, 6)).astype(np.float32)
SOUTH = Direction((0.5, 0, -2, 1), "south")


def read(objective: TargetBatch, ops: ArrayOps, values: np.ndarray = VALUES):
    on_host = np.asarray if ops.on_host else ops.numpy
    return [one if one is None else on_host(one) for one in objective(ops.asarray(values))]


CASES = {
    "a unit": ([2, 0, 1], (1, 2), lambda v: [v[0, 2, 1, 2], v[1, 0, 1, 2], v[2, 1, 1, 2]]),
    "sums": ([(0, 3), (1,), (2, 1)], (0, 0), lambda v: [
        v[0, 0, 0, 0] + v[0, 3, 0, 0], v[1, 1, 0, 0], v[2, 2, 0, 0] + v[2, 1, 0, 0]]),
    "a direction": ([SOUTH] * 3, (4, 5), lambda v: np.array(SOUTH.vector) @ v[:, :, 4, 5].T),
    "a whole channel": ([3, 3, (0, 1)], None, lambda v: [
        v[0, 3].sum(), v[1, 3].sum(), v[2, :2].sum()]),
    "a layer": (["layer"] * 3, None, lambda v: (v**2).sum((1, 2, 3)) / 2),
    "a layer at a place": (["layer"] * 3, (2, 2), lambda v: (v[:, :, 2, 2] ** 2).sum(1) / 2),
}  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("case", CASES)
def test_activation_and_diff(ops: ArrayOps, case: str, sign: int) -> None:
    targets, where, expected = CASES[case]
    activation, _, diff, _ = read(TargetBatch(ops, targets, (4, 5, 6), where, sign), ops)
    np.testing.assert_allclose(activation, expected(VALUES), rtol=1e-5)
    # the diff is the activation's gradient: exact for linear ones, to second order for a layer
    step = np.random.default_rng(1).normal(0, 1e-3, VALUES.shape)
    double = VALUES.astype(np.float64)
    slope = np.array(expected(double + step)) - np.array(expected(double - step))
    np.testing.assert_allclose(2 * (diff * step).sum((1, 2, 3)), sign * slope, rtol=1e-3)


def test_on_top(ops: ArrayOps) -> None:
    values = np.array([[1, 5, 3, 2], [1, 5, 3, 2], [1, 5, 3, 2]], np.float32)
    for targets, expected in [
        ([1, 2, 0], [True, False, False]),
        ([(2, 1), (0, 3), (1,)], [True, False, True]),
        ([Direction((0, 1, 0, 0))] * 3, [False] * 3),
        (["layer"] * 3, [False] * 3),
    ]:
        on_top = read(TargetBatch(ops, targets, (4,), None), ops, values)[1]
        assert on_top.tolist() == expected, targets


@pytest.mark.parametrize("targets", [[2, 0, 2], [(0, 3), 3, (0, 3)], [SOUTH] * 3])
def test_narrowed_reads_the_same_from_fewer_channels(ops: ArrayOps, targets: list) -> None:
    whole = TargetBatch(ops, targets, (4, 5, 6), (1, 1))
    narrow = whole.narrowed()
    assert narrow.channels == {1: (0, 2), 0: (0, 3)}.get(len(targets) - 2) or narrow.channels
    some = VALUES[:, list(narrow.channels)]
    activation, on_top, diff, _ = read(narrow, ops, some)
    wide = read(whole, ops)
    np.testing.assert_allclose(activation, wide[0], rtol=1e-6)
    np.testing.assert_array_equal(diff, wide[2][:, list(narrow.channels)])
    assert set(range(4)) - set(narrow.channels) == set(np.flatnonzero(~wide[2].any((0, 2, 3))))
    # of those channels alone
    named = [[] if one is SOUTH else [one] if isinstance(one, int) else one for one in targets]
    highest = np.array(narrow.channels)[some[:, :, 1, 1].argmax(axis=1)]
    assert on_top.tolist() == [int(one) in own for one, own in zip(highest, named, strict=True)]


def test_narrowed_with_others(ops: ArrayOps) -> None:
    values = np.array([[1, 5, 3, 2], [1, 5, 6, 2], [1, 5, 3, 7]], np.float32)
    narrow = TargetBatch(ops, [1, 1, (1, 0)], (4,), None).narrowed([2, 1])
    assert narrow.channels == (0, 1, 2)
    activation, on_top, diff, highest = read(narrow, ops, values[:, :3])
    assert activation.tolist() == [5, 5, 6]
    assert highest.tolist() == [1, 2, 1]
    assert on_top.tolist() == [True, False, True]
    assert diff.tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 0]]


def test_a_layer_is_not_narrowed(ops: ArrayOps) -> None:
    whole = TargetBatch(ops, ["layer"], (4,), None)
    assert whole.narrowed() is whole


def test_an_infinite_channel_that_does_not_count(ops: ArrayOps) -> None:
    values = np.array([[1, np.inf, 3]], np.float32)
    with np.errstate(invalid="ignore"):  # as in the loop
        assert read(TargetBatch(ops, [0], (3,), None), ops, values)[0].tolist() == [1]


def test_a_large_sums_name_is_a_files() -> None:
    one, other = tuple(range(151, 269)), tuple(range(151, 268))
    assert name_of(one).startswith("151+152+...+268-")
    assert len({name_of(one), name_of(other), name_of((*one[:-2], 266, 268))}) == 3
    assert name_of(tuple(range(10, 30))) == "+".join(map(str, range(10, 30)))
    assert max(len(name_of(tuple(range(900, 900 + n)))) for n in range(2, 100)) <= 100


def test_a_sum_of_one_unit_is_that_unit() -> None:
    assert check_targets([(3, 3), [2, 1]], (4,), "fc") == [3, (2, 1)]


def test_names() -> None:
    assert [name_of(target) for target in (130, (130, 340), "layer")] == [130, "130+340", "layer"]
    one, other = Direction((1, 2), "d"), Direction((1, 3), "d")
    assert name_of(one).startswith("d-")
    assert name_of(one) != name_of(other)
    assert name_of(one) == name_of(Direction((1.0, 2.0), "d"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (4, r"'fc' has no unit 4; it has 4, numbered 0 to 3"),
        ((1, 4), r"no unit 4"),
        ("all", r"no unit 'all'"),
        (True, r"no unit True"),
        (1.5, r"no unit 1.5"),
        (Direction((1, 2)), r"has 2 numbers, and layer 'fc' has 4 channels"),
    ],
)
def test_bad_targets(target: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_targets([target], (4, 2, 2), "fc")


@pytest.mark.parametrize(
    ("vector", "name", "message"),
    [
        ((0, 0), "d", "not all 0"),
        ((), "d", "one finite number per channel"),
        ((1, np.nan), "d", "one finite number per channel"),
        ((1,), "../d", "letters, digits"),
        ((1,), "7", "start with a letter"),
        ((1,), "layer", "not be 'layer'"),
    ],
)
def test_bad_directions(vector: tuple, name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Direction(vector, name)


def test_directions_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "cats.npy", np.array([[1, 2], [3, 4]], np.float32))
    assert read_directions(tmp_path / "cats.npy") == [
        Direction((1, 2), "cats-0"),
        Direction((3, 4), "cats-1"),
    ]
    np.save(tmp_path / "one.npy", np.array([1, 2]))
    assert read_directions(tmp_path / "one.npy") == [Direction((1, 2), "one")]
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("1 2")
    for bad in ("objects.npy", "text.npy", "missing.npy"):
        with pytest.raises(SettingsError, match=f"cannot read directions from .*{bad}"):
            read_directions(tmp_path / bad)
