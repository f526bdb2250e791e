"""Batch sizes: what is measured decides, memory and the number of images limit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, load_text, net_text

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.optimizer import batching
from deepvis_caffe.optimizer.batching import resolve_batch_size, split


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


def test_split() -> None:
    assert [list(part) for part in split(range(9), 8)] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert split([], 8) == []
    assert np.concatenate(split(range(100), 7)).tolist() == list(range(100))


def test_less_than_one(net) -> None:
    with pytest.raises(SettingsError, match="batch_size must be at least 1; got 0"):
        resolve_batch_size(net, "a", 0)
