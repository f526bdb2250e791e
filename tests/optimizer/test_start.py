"""Starting arrays, against the preprocessor and the images that one iteration returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.array_ops import normal
from helpers.fake_nets import FakeNet, bumps

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import ImageError, SettingsError, UnknownNameError
from deepvis_caffe.optimizer import AscentParams, optimize
from deepvis_caffe.optimizer.start import first_images, start_digest

SHAPE = (3, 8, 7)


@pytest.fixture
def net(ops: ArrayOps) -> FakeNet:
    return FakeNet(bumps(normal(2, *SHAPE, scale=40)), 2, SHAPE, ops)


def started(net: FakeNet, start: Any, seeds: Any = (0,)) -> list[np.ndarray]:
    return [run.image for run in optimize(net, "unit", [1], seeds, iterations=1, start=start)]


def test_a_picture_is_preprocessed(net: FakeNet) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (20, 30, 3), np.uint8)
    for given in (picture, picture.astype(np.float32) / 255, picture.astype(float)):
        for image in started(net, given, [0, 5]):
            np.testing.assert_allclose(image, net.preprocessor(picture), atol=0.02)
    gray = picture[..., 0]
    np.testing.assert_allclose(started(net, gray)[0], net.preprocessor(gray), atol=1e-4)


def test_an_input_is_used_unchanged(net: FakeNet) -> None:
    x = normal(*SHAPE, scale=20)
    for given in (x, x.astype(np.float32), torch.from_numpy(x)):
        np.testing.assert_allclose(started(net, given, [3])[0], x, rtol=1e-6)


def test_several_are_one_for_each_seed(net: FakeNet) -> None:
    x = normal(4, *SHAPE, scale=20)
    for seeds in ([0, 1, 2, 3], [2, 0]):
        for seed, image in zip(seeds, started(net, x, seeds), strict=True):
            np.testing.assert_allclose(image, x[seed], rtol=1e-6)
    pictures = np.random.RandomState(0).randint(0, 256, (2, 9, 9, 3), np.uint8)
    np.testing.assert_allclose(
        started(net, pictures, [1])[0], net.preprocessor(pictures[1]), atol=1e-4
    )
    several = optimize(net, "unit", [0, 1], [0, 3], iterations=1, start=x, batch_size=1)
    for run in several:  # whatever shares a batch
        np.testing.assert_allclose(run.image, x[run.seed], rtol=1e-6)


def test_values_beyond_black_and_white_are_clipped(net: FakeNet) -> None:
    x = np.full(SHAPE, 900.0)
    np.testing.assert_allclose(started(net, x)[0], 255 - 100)


def test_what_it_was_is_kept_and_compared_by_value() -> None:
    x = normal(*SHAPE)
    one, other = AscentParams(start=x), AscentParams(start=x.copy())
    x[:] = 0  # the caller's own, later
    assert np.abs(one.start.array).max() > 1  # type: ignore[union-attr]
    assert one == other
    assert hash(one) == hash(other)
    assert one != AscentParams(start=x)
    assert one != AscentParams()
    assert {one: 1}[other] == 1
    assert one.but(decay=0.1) != one
    assert one.but(decay=0.1).start == one.start
    # the digest says type and shape too
    zeros = [np.zeros((3, 4)), np.zeros((4, 3)), np.zeros((4, 3), np.float32)]
    assert len({start_digest(AscentParams(start=some).start) for some in zeros}) == 3


def test_whether_another_seed_gives_another_image() -> None:
    assert not AscentParams(start=np.zeros(SHAPE)).differs_by_seed
    assert AscentParams(start=np.zeros((2, *SHAPE))).differs_by_seed
    assert not AscentParams(start="mean").differs_by_seed


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (np.zeros(SHAPE, int), ImageError, r"cannot be an array of int64 and shape \(3, 8, 7\)"),
        (np.zeros(5), ImageError, r"shape \(5,\)"),
        (np.full(SHAPE, np.nan), ImageError, "not finite"),
        (normal(2, 3, 9, 9), ImageError, r"has shape \(2, 3, 9, 9\).* expected \(N, 3, 8, 7\)"),
        (normal(1, *SHAPE), ImageError, "holds 1 images, .* seeds 0 to 0; got seed 1"),
        (normal(8, 7, 3), ImageError, "a picture of floats must lie in"),
        ([[1, 2]], SettingsError, "a picture's path or an array; got list"),
        ("nois", UnknownNameError, "did you mean 'noise'"),
    ],
)
def test_what_is_not_a_start(start: Any, error: type[Exception], message: str) -> None:
    net = FakeNet(bumps(normal(2, *SHAPE, scale=40)), 2, SHAPE)
    with pytest.raises(error, match=message):
        optimize(net, "unit", 1, [0, 1], iterations=1, start=start)


def test_the_words_for_a_start_still_do() -> None:
    preprocessor = FakeNet(bumps(normal(2, *SHAPE)), 2, SHAPE).preprocessor
    noise = first_images("noise", [3], preprocessor)[0]
    np.testing.assert_allclose(noise, np.random.RandomState(3).normal(0, 10, SHAPE), rtol=1e-6)
