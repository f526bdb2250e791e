"""Batch sizes: chosen by measurement, limited by memory and the number of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.engine_nets import conv, load_text, net_text
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.optimizer import batching
from deepvis_caffe.optimizer.batching import cut, resolve_batch_size


@pytest.fixture
def net(tmp_path: Path):
    return load_text("torch", tmp_path, net_text(conv("a", "data", 4, 3), data=(1, 3, 10, 10)))


@pytest.mark.parametrize(
    ("per_image", "expected"),
    [({8: 4.0, 16: 2.0, 32: 1.95, 64: 1.0}, 16), ({8: 1.0, 16: 1.0}, 8), ({}, 128)],
)
def test_it_grows_while_an_image_gains(net, monkeypatch, per_image, expected) -> None:
    seconds = lambda net, layer, size, window: per_image.get(size, 1 / size)  # noqa: E731
    monkeypatch.setattr(batching, "seconds_per_image", seconds)
    assert resolve_batch_size(net, "a", images=200) == expected


def test_few_images_are_one_batch_and_nothing_is_measured(net, monkeypatch) -> None:
    monkeypatch.setattr(batching, "seconds_per_image", None)
    assert [resolve_batch_size(net, "a", images=n) for n in (1, 9, 16)] == [1, 9, 16]
    assert resolve_batch_size(net, "a", 5, images=200) == 5


def test_memory_limits_it(net, monkeypatch) -> None:
    # an image has 3 * 10 * 10 + 4 * 8 * 8 values of 4 bytes, counted three times
    one = 3 * 4 * (300 + 256)
    monkeypatch.setattr(type(net.ops), "free_memory", lambda self: 4 * 5.5 * one)
    assert resolve_batch_size(net, "a", images=200) == 5


def test_time_is_measured_on_the_real_net(net) -> None:
    assert resolve_batch_size(net, "a", images=20) in (8, 16)


def test_nine_seeds_in_batches_of_eight_are_four_and_five() -> None:
    runs = [(7, seed) for seed in range(9)]
    assert cut(runs, 8) == [runs[:4], runs[4:]]
    assert cut([], 8) == cut([], 8, whole=True) == []
    assert cut([(1, 0), (2, 0), (3, 0)], 2) == [[(1, 0)], [(2, 0), (3, 0)]]


def test_batches_of_whole_units() -> None:
    one, three = [(1, 0), (1, 1), (1, 2)], [(3, 0), (3, 1), (3, 2)]
    assert cut(one + three, 2, whole=True) == [one, three]
    assert cut(one + three, 5, whole=True) == [one, three]
    assert cut(one + three, 6, whole=True) == [one + three]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.dictionaries(st.integers(0, 20), st.lists(st.integers(0, 9), unique=True, max_size=9)),
    st.integers(1, 10),
    st.booleans(),
)
def test_batches_hold_every_run_once_and_in_order(
    seeds: dict[int, list[int]], most: int, whole: bool
) -> None:
    runs = [(unit, seed) for unit, some in seeds.items() for seed in some]
    batches = cut(runs, most, whole)
    assert [run for batch in batches for run in batch] == runs
    sizes = [len(batch) for batch in batches]
    if whole:
        places = [number for number, batch in enumerate(batches) for unit in {u for u, _ in batch}]
        assert len(places) == sum(map(bool, seeds.values()))  # no unit in two of them
        assert all(size <= max(most, *map(len, seeds.values())) for size in sizes)
    elif runs:
        assert len(sizes) == -(-len(runs) // most)
        assert max(sizes) - min(sizes) <= 1


def test_less_than_one(net) -> None:
    with pytest.raises(SettingsError, match="batch_size must be at least 1; got 0"):
        resolve_batch_size(net, "a", 0)
