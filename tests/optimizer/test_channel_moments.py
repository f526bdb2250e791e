"""Channel moments: their formula in numpy, gradients by finite differences, and their effect."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.array_ops import KINDS, normal
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu

import deepvis_caffe as dv
from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer import Constant, GrayLevels
from deepvis_caffe.optimizer import transforms as t
from deepvis_caffe.optimizer.channel_moments import (
    Moments,
    departure,
    moment_layers,
    photograph_crops,
    photograph_values,
)

o = dv.objectives
SIZE = 24
TEXT = net_text(
    conv("a", "data", 6, 3),
    relu("relu_a", "a"),
    conv("thin", "a", 4, 1),
    conv("b", "thin", 5, 3, "stride: 2"),
    conv("beside", "a", 3, 3),
    layer("pool", "Pooling", "b", "pool", "pooling_param { pool: AVE global_pooling: true }"),
    layer("fc", "InnerProduct", "b", "fc", "inner_product_param { num_output: 7 }"),
    data=(1, 3, SIZE, SIZE),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net")


@pytest.fixture
def net(engine: str, folder: Path) -> Net:
    return load_text(engine, folder, TEXT, mean=(100, 110, 120))


def test_the_departure_is_the_formulas(ops: ArrayOps) -> None:
    values = {"a": normal(3, 5, 7, 6, scale=9) + 4, "b": normal(3, 2, 3, 3, seed=1)}
    moments, expected = {}, 0
    for place, (name, value) in enumerate(values.items()):
        channels = value.shape[1]
        means, deviations = (abs(normal(channels, seed=place + k)) + 1 for k in (2, 5))
        ones = np.full(channels, 0.5)
        moments[name] = Moments(means, ones, deviations, 2 * ones)
        apart = ((value.mean(axis=(2, 3)) - means) / 0.5) ** 2
        apart = apart + (value.std(axis=(2, 3)) - deviations) ** 2
        expected = expected + apart.mean(axis=1) / 2
    found, _ = departure(ops, moments)({name: ops.asarray(of) for name, of in values.items()})
    np.testing.assert_allclose(ops.for_numbers.numpy(found), expected, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    values = normal(2, 4, 5, 6)
    moments = Moments(*(abs(normal(4, seed=seed)) + 0.5 for seed in range(4)))
    departs = departure(KINDS["numpy"], {"a": moments})
    _, diffs = departs({"a": values})
    step = 1e-5 * normal(*values.shape, seed=9)
    before, after = (departs({"a": values + sign * step})[0] for sign in (-1, 1))
    slopes = (diffs["a"] * step).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(slopes, (after - before) / 2, rtol=1e-4)


def test_a_constant_map_has_a_finite_gradient(ops: ArrayOps) -> None:
    ones = np.ones(2)
    departs = departure(ops, {"a": Moments(ones, ones, ones, ones)})
    _, diffs = departs({"a": ops.asarray(np.zeros((1, 2, 3, 3)))})
    assert np.isfinite(ops.numpy(diffs["a"])).all()


# -- photographs ---------------------------------------------------------------------------------


def test_crops_are_parts_of_photographs() -> None:
    """Each is found in its photograph by cross-correlation, at some size, mirrored or not."""
    names = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle")
    crops = photograph_crops(Preprocessor((3, 40, 60)), 10)
    found = []
    for place, crop in enumerate(crops):
        photograph = dv.sample_image(names[place % 5])[..., ::-1]  # BGR
        height, width = photograph.shape[:2]
        best = -1.0
        for part in np.linspace(0.34, 1, 34):
            side = part * min(height / 40, width / 60)
            small = cv2.resize(photograph, None, fx=1 / side, fy=1 / side, interpolation=3)
            for shown in (crop, crop[..., ::-1]):
                template = np.ascontiguousarray(shown.transpose(1, 2, 0).clip(0, 255))
                if small.shape[0] >= 40 and small.shape[1] >= 60:
                    matched = cv2.matchTemplate(
                        small.astype(np.float32), template.astype(np.float32), cv2.TM_CCOEFF_NORMED
                    )
                    best = max(best, float(matched.max()))
        found.append(best)
    assert min(found) > 0.9


def test_moments_are_those_of_the_nets_own_values(net: Net) -> None:
    found = photograph_values(net, ["a", "b"], ["fc"])
    x = photograph_crops(net.preprocessor)
    arrays = net.evaluate_layers(net.ops.asarray(x), ["a", "b", "fc"])
    values = {name: net.ops.numpy(array) for name, array in arrays.items()}
    np.testing.assert_allclose(found.values["fc"], values["fc"], rtol=1e-4, atol=1e-3)
    for name in ("a", "b"):
        maps, of = values[name].astype(float), found.moments[name]
        for take, mean, spread in (
            (np.mean, of.mean, of.mean_spread),
            (np.std, of.deviation, of.deviation_spread),
        ):
            each = take(maps, axis=(2, 3))
            np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-3, atol=1e-3)
            floor = 0.01 * maps.std(axis=(2, 3)).mean()
            np.testing.assert_allclose(spread, each.std(axis=0) + floor, rtol=1e-2)


def test_photographs_depart_by_two(net: Net) -> None:
    x = net.ops.asarray(photograph_crops(net.preprocessor))
    departs = departure(net.ops, photograph_values(net, ["a", "b"]).moments)
    numbers, _ = departs(net.evaluate_layers(x, ["a", "b"]))
    assert net.ops.for_numbers.numpy(numbers).mean() == pytest.approx(2, rel=0.1)


# -- which layers --------------------------------------------------------------------------------


def test_the_wide_convolutions_below_are_compared(net: Net) -> None:
    assert moment_layers(net, ["fc"]) == ("a", "b")
    assert moment_layers(net, ["b"]) == ("a",)
    assert moment_layers(net, ["a"]) == ()


def test_nets_of_other_things_than_photographs_compare_none(engine: str, folder: Path) -> None:
    gray = load_text(
        engine, folder, net_text(conv("a", "data", 4, 3), conv("b", "a", 3, 3), data=(1, 1, 9, 9))
    )
    assert moment_layers(gray, ["b"]) == ()
    plain, natural = (
        dv.optimize(gray, "b", 1, iterations=4, position="all", naturalness=strength)[0]
        for strength in (0, 5)
    )
    np.testing.assert_array_equal(plain.image, natural.image)


def test_many_convolutions_are_sampled_evenly(folder: Path) -> None:
    names = [f"c{number}" for number in range(40)]
    layers = [conv(name, below, 2, 3, "pad: 1") for below, name in pairwise(["data", *names])]
    deep = load_text("torch", folder, net_text(*layers, data=(1, 3, 8, 8)))
    chosen = moment_layers(deep, ["c39"])
    assert len(chosen) == 16
    assert (chosen[0], chosen[-1]) == ("c0", "c38")
    places = [names.index(name) for name in chosen]
    assert set(np.diff(places)) <= {2, 3}


# -- in an ascent --------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["fc", "map", "objective", "layer"])
def test_the_ascents_gradient_is_that_of_activation_and_departure(net: Net, goal: str) -> None:
    """One step of rate 1 is the gradient: against finite differences of the definition."""
    strength, layer_ = 3.0, "fc" if goal in ("fc", "objective") else "b"
    if goal == "objective":
        arguments: tuple[object, ...] = (o.unit("fc", 3) + 0.5 * o.unit("fc", 1),)
    else:
        arguments = (layer_, "layer" if goal == "layer" else 3)
    params = dv.AscentParams(
        iterations=2,
        rate=Constant(1),
        naturalness=strength,
        start=20 * noise(1, 3, SIZE, SIZE)[0],
        transforms=[t.noise(0)],  # changes nothing, but that the last image is kept, not the best
    )
    more = {"position": "all"} if goal in ("map", "layer") else {}
    (run,) = dv.optimize(net, *arguments, preset=params, **more)  # type: ignore[arg-type]
    x = 20 * noise(1, 3, SIZE, SIZE)[0]
    below = moment_layers(net, [layer_])

    def values(images: np.ndarray) -> dict[str, np.ndarray]:
        found = net.evaluate_layers(net.ops.asarray(images), [*below, layer_])
        return {name: net.ops.numpy(of).astype(float) for name, of in found.items()}

    of_photographs = values(photograph_crops(net.preprocessor))
    own = of_photographs[layer_]

    def activation(held: np.ndarray) -> np.ndarray:
        if goal == "layer":
            return np.asarray((held**2).sum(axis=(1, 2, 3)) / 2)
        weights = {3: 1.0, 1: 0.5} if goal == "objective" else {3: 1.0}
        summed = held.reshape(*held.shape[:2], -1).sum(axis=2)
        return np.asarray(sum(weight * summed[:, unit] for unit, weight in weights.items()))

    if goal in ("objective", "layer"):
        spread = activation(own).std()
    else:
        spread = np.sqrt(own.reshape(*own.shape[:2], -1).sum(axis=2).var(axis=0).mean())
    least = {name: 0.01 * of_photographs[name].std(axis=(2, 3)).mean() for name in below}

    def definition(image: np.ndarray) -> float:
        held, apart = values(image[None]), 0.0
        for name in below:
            for take in (np.mean, np.std):
                each = take(of_photographs[name], axis=(2, 3))
                score = take(held[name], axis=(2, 3)) - each.mean(axis=0)
                apart += ((score / (each.std(axis=0) + least[name])) ** 2).mean() / len(below)
        return float(activation(held[layer_])[0] - strength * spread * apart)

    gradient = (run.image - x).astype(float)
    length = np.sqrt((gradient**2).sum())
    step = 0.3 / length * gradient
    slope = (definition(x + step) - definition(x - step)) / 0.6
    assert slope == pytest.approx(length, rel=0.05)


@pytest.mark.parametrize("crop", ["auto", "off"])
def test_a_unit_that_sees_a_part_of_the_image_is_left_alone(net: Net, crop: str) -> None:
    plain, natural = (
        dv.optimize(net, "b", 1, iterations=4, naturalness=strength, crop=crop)[0]  # type: ignore[arg-type]
        for strength in (0, 5)
    )
    np.testing.assert_array_equal(plain.image, natural.image)


def test_it_leads_to_natural_moments(net: Net) -> None:
    departs = departure(net.ops, photograph_values(net, ["a", "b"]).moments)

    def apart(image: np.ndarray) -> float:
        x = net.ops.asarray(image[None])
        return float(net.ops.for_numbers.numpy(departs(net.evaluate_layers(x, ["a", "b"]))[0])[0])

    plainly: Any = {"preset": 3, "iterations": 60, "rate": GrayLevels(3)}
    plain, natural = (
        dv.optimize(net, "fc", 2, naturalness=strength, **plainly)[0] for strength in (0, 20)
    )
    assert apart(natural.image) < 0.5 * apart(plain.image)
    (alone,) = dv.optimize(net, o.channel_moments("a", "b"), **plainly)
    assert alone.best_value == pytest.approx(-apart(alone.image), rel=1e-3)
    assert apart(alone.image) < apart(natural.image)


def test_a_layer_without_maps_has_no_moments(net: Net) -> None:
    with pytest.raises(SettingsError, match=r"layer 'fc' has no feature maps .* got shape \(7,\)"):
        dv.optimize(net, o.channel_moments("a", "fc"), iterations=2)
    with pytest.raises(SettingsError, match="name the layers"):
        o.channel_moments()
