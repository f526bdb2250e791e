"""Transforms: outputs against scipy, adjoints by the identity <T x, y> = <x, T* y>."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers.array_ops import KINDS, batch_info, normal
from helpers.fake_nets import FakeNet, bumps, linear
from scipy.ndimage import affine_transform

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import EngineError, SettingsError
from deepvis_caffe.optimizer import AscentParams, Constant, optimize
from deepvis_caffe.optimizer import transforms as t
from deepvis_caffe.optimizer.batch_info import BatchInfo

SHAPE = (3, 9, 8)
SEEDS = [4, 0, 7]


def info(ops: ArrayOps, **more: Any) -> BatchInfo:
    given = {"seeds": SEEDS, "units": [0] * 3, "steps": 5, **more}
    return batch_info(ops, *SHAPE[1:], **given)


def shifted_square(x: torch.Tensor) -> torch.Tensor:
    """Circular translation: its adjoint is the translation back."""
    return torch.roll(x, (2, -1), (2, 3))


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Of another size, which is brought back."""
    return torch.nn.functional.avg_pool2d(x, 2)


LINEAR = {
    "jitter": [t.jitter(0.3)],
    "scale": [t.scale(0.5)],
    "rotation": [t.rotation(60)],
    "octaves": [t.octaves(3, 1.5)],
    "flip": [t.flip()],
    "random_resized_crop": [t.random_resized_crop(0.3, 0.9)],
    "function": [shifted_square],
    "another size": [pooled],
    "several": [t.jitter(0.2), t.flip(), shifted_square, t.rotation(20), t.scale(0.2), pooled],
}


@pytest.mark.parametrize("name", list(LINEAR))
def test_adjoints(ops: ArrayOps, name: str) -> None:
    x, y = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    show = t.composed(LINEAR[name], info(ops))
    for step in range(3):
        seen, adjoint = show(ops.asarray(x), step)
        shown, back = ops.numpy(seen), ops.numpy(adjoint(ops.asarray(y)))
        assert np.abs(shown - x).max() > 0.1 or name in ("octaves", "flip")
        for image in range(3):
            forth = (shown[image].astype(float) * y[image]).sum()
            assert (x[image] * back[image]).sum() == pytest.approx(forth, rel=1e-5, abs=1e-5)


def test_noise_is_added_and_leaves_gradients_alone(ops: ArrayOps) -> None:
    x, y = normal(3, 3, 60, 60, scale=30), ops.asarray(normal(3, 3, 60, 60))
    batch = batch_info(ops, 60, 60, seeds=SEEDS, steps=5)
    show = t.composed([t.noise(4)], batch)
    drawn = []
    for step in range(2):
        seen, adjoint = show(ops.asarray(x), step)
        assert adjoint(y) is y
        drawn += list(ops.numpy(seen) - x)
    for one in drawn:
        assert one.std() == pytest.approx(4, rel=0.05)
        assert abs(one.mean()) < 0.2
    correlation = np.corrcoef([one.ravel() for one in drawn])
    assert np.abs(correlation - np.eye(6)).max() < 0.05  # each image and step its own
    twice = ops.numpy(t.composed([t.noise(4), t.noise(4)], batch)(ops.asarray(x), 0)[0]) - x
    assert twice.std() == pytest.approx(4 * np.sqrt(2), rel=0.05)  # and each of a list


# -- what is shown -------------------------------------------------------------------------------


def shown_by_scipy(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            affine_transform(one, affine[:, :2], affine[:, 2], order=1, mode="grid-constant")
            for one in image
        ]
    )


def test_flip_mirrors_half_of_the_time(ops: ArrayOps) -> None:
    x = normal(3, *SHAPE)
    batch = info(ops, steps=41)
    show = t.composed([t.flip()], batch)
    mirrored = 0
    for step in range(40):
        for image, seen in zip(x, ops.numpy(show(ops.asarray(x), step)[0]), strict=True):
            is_mirrored = np.allclose(seen, image[..., ::-1], atol=1e-5)
            assert is_mirrored or np.allclose(seen, image, atol=1e-5)
            mirrored += is_mirrored
    assert 40 < mirrored < 80


def test_a_crop_lies_within_the_image_and_is_shown_at_full_size() -> None:
    batch = info(KINDS["numpy"], steps=300)
    maps = t.affine_maps([t.random_resized_crop(0.25, 0.75).move(batch)], batch)
    sides = maps[..., 0, 0]
    np.testing.assert_array_equal(sides, maps[..., 1, 1])
    np.testing.assert_array_equal(maps[..., 0, 1], 0)
    assert 0.25 <= sides.min() < 0.27 < 0.73 < sides.max() <= 0.75
    size = np.array(SHAPE[1:])
    first = maps @ [-0.5, -0.5, 1]  # the outer corners of the first and of the last pixel
    last = maps @ [size[0] - 0.5, size[1] - 0.5, 1]
    assert (first >= -0.5 - 1e-9).all()
    assert (last <= size - 0.5 + 1e-9).all()
    # at the edges too, on every side
    assert (first.min(axis=(0, 1)) < -0.3).all()
    assert (last.max(axis=(0, 1)) > size - 0.7).all()


def test_affine_transforms_beside_each_other_make_one_warp(ops: ArrayOps) -> None:
    x = normal(3, *SHAPE)
    listed = [t.rotation(40), t.flip(), t.jitter(0.2), t.scale(0.4)]
    batch = info(ops)
    turn, mirror, shift, zoom = (one.move(batch) for one in listed)
    seen = ops.numpy(t.composed(listed, batch)(ops.asarray(x), 1)[0])
    backward = ops.numpy(t.composed(listed[::-1], batch)(ops.asarray(x), 1)[0])
    np.testing.assert_allclose(seen, backward, atol=1e-5)
    middle = (np.array(SHAPE[1:]) - 1) / 2
    for image, (angle, sign) in enumerate(zip(turn.angle[1], mirror.mirror[1], strict=True)):
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, sign]) / zoom.zoom[1, image]
        origin = middle + shift.shift[1, image] - matrix @ middle
        expected = shown_by_scipy(x[image], np.column_stack([matrix, origin]))
        np.testing.assert_allclose(seen[image], expected, atol=1e-4)


def test_two_of_a_kind_draw_different_numbers() -> None:
    batch = info(KINDS["numpy"])
    once = t.jitter(0.1).move(batch).shift
    maps: list[np.ndarray] = []
    ops = KINDS["numpy"]
    original = type(ops).warps
    try:
        type(ops).warps = lambda self, *given: maps.append(given[0]) or original(self, *given)
        t.composed([t.jitter(0.1), t.jitter(0.1)], batch)
    finally:
        type(ops).warps = original
    (both,) = maps  # one warp
    second = both[0, :, :, 2] - once[0]
    assert np.abs(second).max() <= 0.9
    assert np.abs(second - once[0]).max() > 0.1


def test_a_transform_is_drawn_from_its_images_seed_alone() -> None:
    alone = info(KINDS["numpy"], seeds=[7], units=[0])
    beside = info(KINDS["numpy"])
    for one in (t.jitter(0.1), t.flip(), t.random_resized_crop(0.2)):
        np.testing.assert_array_equal(
            t.affine_maps([one.move(alone)], alone)[:, 0],
            t.affine_maps([one.move(beside)], beside)[:, 2],
        )
    x = normal(3, *SHAPE)
    shown = t.composed([t.noise(3)], beside)(x, 0)[0]
    np.testing.assert_array_equal(t.composed([t.noise(3)], alone)(x[2:], 0)[0][0], shown[2])


def test_a_list_is_the_same_as_the_numbers(ops: ArrayOps) -> None:
    net = FakeNet(bumps(normal(2, *SHAPE, scale=40)), 2, SHAPE, ops)
    numbers = AscentParams(jitter=0.1, scale=0.2, rotation=20, octaves=2, iterations=9)
    listed = AscentParams(
        transforms=[t.octaves(2), t.jitter(0.1), t.scale(0.2), t.rotation(20)], iterations=9
    )
    one, other = (optimize(net, "unit", 1, [3], preset=params)[0] for params in (numbers, listed))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.activations, other.activations)


# -- functions of torch tensors ------------------------------------------------------------------


def curved(x: torch.Tensor) -> torch.Tensor:
    return x + 0.01 * x * x


def test_a_functions_adjoint_is_its_gradient(ops: ArrayOps) -> None:
    x, y = normal(3, *SHAPE, scale=30), normal(3, *SHAPE)
    seen, adjoint = t.composed([curved], info(ops))(ops.asarray(x), 0)
    np.testing.assert_allclose(ops.numpy(seen), x + 0.01 * x * x, rtol=1e-5)
    np.testing.assert_allclose(ops.numpy(adjoint(ops.asarray(y))), y * (1 + 0.02 * x), atol=1e-4)


class Blended(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x


def by_step(x: torch.Tensor, step: int) -> torch.Tensor:
    return x * (step + 2)


def with_option(x: torch.Tensor, factor: float = 3.0) -> torch.Tensor:
    return x * factor


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (Blended(), 0.5),
        (by_step, 3),
        (with_option, 3),
        (partial(with_option, factor=7.0), 7),
        (lambda x, t=0: x * (t + 5), 6),
        (torch.neg, -1),
        (lambda x: x.double() * 4, 4),
    ],
)
def test_what_can_be_called_is_shown(
    ops: ArrayOps, function: Callable[..., Any], factor: float
) -> None:
    x = normal(3, *SHAPE)
    given = ops.asarray(x)
    seen, adjoint = t.composed([function], info(ops))(given, 1)
    np.testing.assert_allclose(ops.numpy(seen), factor * x, rtol=1e-5)
    np.testing.assert_allclose(ops.numpy(adjoint(given)), factor * x, rtol=1e-5)
    assert seen.dtype == given.dtype


def test_a_function_may_write_into_what_it_is_given(ops: ArrayOps) -> None:
    x, y = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    given = ops.asarray(x)
    before = ops.numpy(given)
    seen, adjoint = t.composed([lambda image: image.mul_(3)], info(ops))(given, 0)
    np.testing.assert_allclose(ops.numpy(seen), 3 * x, rtol=1e-5)
    np.testing.assert_allclose(ops.numpy(adjoint(ops.asarray(y))), 3 * y, rtol=1e-5)
    np.testing.assert_array_equal(ops.numpy(given), before)


def test_the_ascent_goes_through_a_function(ops: ArrayOps) -> None:
    # a = <w, roll(x)>, so a step is w rolled back; the last image is measured as it is
    w = normal(1, 1, *SHAPE, scale=3)
    net = FakeNet(linear(w), 1, SHAPE, ops)
    run = optimize(
        net,
        "unit",
        0,
        preset=AscentParams(
            transforms=[shifted_square], start="mean", rate=Constant(1), iterations=2
        ),
    )[0]
    np.testing.assert_allclose(run.image, np.roll(w[0, 0], (-2, 1), (1, 2)), atol=1e-5)
    np.testing.assert_array_equal(net.seen[-1][0], run.image)


def test_functions_in_a_row_may_change_the_size(ops: ArrayOps) -> None:
    # as in lucid: padded by 2, and 3 of that cut from the left and the right
    pad = partial(torch.nn.functional.pad, pad=(2, 2, 2, 2), mode="constant", value=0.5)
    x = normal(3, *SHAPE)
    listed = [pad, lambda x: x[..., 3:-3], lambda x: x[:, :, 1:-3]]
    seen, adjoint = t.composed(listed, info(ops))(ops.asarray(x), 0)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=0.5)
    cut = torch.from_numpy(padded[:, :, 1:-3, 3:-3])
    expected = torch.nn.functional.interpolate(cut, SHAPE[1:], mode="bilinear")
    np.testing.assert_allclose(ops.numpy(seen), expected, atol=1e-5)
    back = ops.numpy(adjoint(ops.asarray(np.ones_like(x))))
    assert (back[..., 0] == 0).all()  # cut away, in rows only on one side
    assert (back[:, :, 0, 1:-1] > 0).all()
    assert (back[:, :, -1] == 0).all()


# -- what cannot be a transform ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.detach(), "without a gradient with respect to the image"),
        (lambda x: torch.zeros_like(x), "without a gradient with respect to the image"),
        (lambda x: x[:2], r"returned shape \(2, 3, 9, 8\) for images of shape \(3, 3, 9, 8\); "),
        (lambda x: x[:, :1], r"returned shape \(3, 1, 9, 8\).* expected \(3, 3, height, width\)"),
        (lambda x: x.sum(), r"returned shape \(\)"),
        (lambda x: None, "returned NoneType; expected a torch tensor"),
        (lambda x: x.detach().cpu().numpy(), "returned ndarray; expected a torch tensor"),
    ],
)
def test_a_function_that_is_not_a_transform_is_named(
    ops: ArrayOps, function: Callable[..., Any], message: str
) -> None:
    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE, ops)
    with pytest.raises(SettingsError, match="transform .*lambda> .*" + message):
        optimize(net, "unit", 0, range(3), transforms=[function])


def test_a_gradient_that_does_not_reach_the_image(ops: ArrayOps) -> None:
    module = Blended()
    given = ops.asarray(normal(3, *SHAPE))
    show = t.composed([lambda x: module(torch.ones_like(x))], info(ops))
    _, adjoint = show(given, 0)
    with pytest.raises(SettingsError, match=r"transform .*lambda> .*without a gradient"):
        adjoint(given)


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    ops = KINDS["numpy"]
    t.composed([t.jitter(0.1), t.noise(2)], info(ops))(normal(3, *SHAPE), 0)
    with pytest.raises(EngineError, match=r"transform .*curved .* PyTorch is not installed"):
        t.composed([curved], info(ops))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: t.jitter(1), "fraction of jitter must be a fraction, .*; got 1"),
        (lambda: t.jitter("x"), "fraction of jitter must be .*; got 'x'"),
        (lambda: t.scale(-1), "by of scale must be a number from 0 to 3; got -1"),
        (lambda: t.rotation(float("nan")), "degrees of rotation must be .*; got nan"),
        (lambda: t.octaves(0), "count of octaves must be a whole number, at least 1"),
        (lambda: t.octaves(2, 5), "factor of octaves must be"),
        (lambda: t.noise(300), "gray_levels of noise must be"),
        (lambda: t.random_resized_crop(0), "smallest of random_resized_crop must be more than 0"),
        (lambda: t.random_resized_crop(0.5, 0.4), "at most largest, which is 0.4 .*; got 0.5"),
    ],
)
def test_a_parameter_out_of_range_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


# -- coarse to fine ------------------------------------------------------------------------------


def test_coarse_to_fine_shows_the_image_smaller_first(ops: ArrayOps) -> None:
    x, y = normal(3, *SHAPE), normal(3, 3, 5, 4, seed=1)
    batch = info(ops, steps=10, takes_size=lambda size: size == (5, 4))
    show = t.composed([t.coarse_to_fine(0.55, part=0.3)], batch)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x), (5, 4), mode="bilinear", antialias=True
    )
    for step in range(9):
        seen, adjoint = show(ops.asarray(x), step)
        if step >= 3:
            np.testing.assert_array_equal(ops.numpy(seen), x.astype(np.float32))
            continue
        np.testing.assert_allclose(ops.numpy(seen), expected, atol=1e-5)
        back = ops.numpy(adjoint(ops.asarray(y)))
        assert (x * back).sum() == pytest.approx((expected.numpy() * y).sum(), rel=1e-5)


def test_coarse_to_fine_shows_the_image_where_no_other_size_fits(ops: ArrayOps) -> None:
    x = ops.asarray(normal(3, *SHAPE))
    for batch in (info(ops), info(ops, takes_size=lambda size: False)):
        assert t.composed([t.coarse_to_fine(0.55)], batch)(x, 0)[0] is x
    with pytest.raises(SettingsError, match="coarse_to_fine must be the last"):
        t.composed([t.coarse_to_fine(0.55), t.flip()], info(ops))


@pytest.mark.parametrize("size", [0, -1, 1.5, "small"])
def test_coarse_to_fine_takes_a_fraction(size: Any) -> None:
    with pytest.raises(SettingsError, match="size of coarse_to_fine must be a fraction"):
        t.coarse_to_fine(size)
