"""Objectives: values by the published formulas, gradients by finite differences, and ascents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, ModelError, SettingsError, UnknownNameError
from deepvis_caffe.optimizer import GrayLevels
from deepvis_caffe.optimizer.objective import Objective
from deepvis_caffe.optimizer.target_layer import TargetLayer

o = dv.objectives
SIZE = 20
# Two branches, an in-place ReLU between two layers that are read, classes at the end.
TEXT = net_text(
    conv("a", "data", 6, 3),
    relu("relu_a", "a"),
    conv("b", "a", 5, 3, "stride: 2"),
    conv("c", "a", 4, 1),
    layer("smooth", "TanH", "c"),
    layer("fc", "InnerProduct", "b", "fc", "inner_product_param { num_output: 7 }"),
    data=(1, 3, SIZE, SIZE),
)
DIRECTION = np.array([0.5, -1, 0, 2, 1])
POINTED = np.array([1.0, 0.5, -1, 2, 0, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net")


@pytest.fixture
def net(engine: str, folder: Path) -> Net:
    return load_text(engine, folder, TEXT, mean=(100, 110, 120))


PHOTO = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def torch_function(a: object, fc: object) -> object:
    """Something that no other kind of objective is."""
    return (a.relu() ** 2).mean(dim=(1, 2, 3)) + fc[:, 2].sin() * fc[:, 3]  # type: ignore[attr-defined]


def gram_similarity(v: np.ndarray) -> np.ndarray:
    """Minus each image's mean cosine similarity of Gram matrices with the others."""
    flat = v.reshape(len(v), v.shape[1], -1)
    grams = [f @ f.T for f in flat]
    numbers = []
    for i, one in enumerate(grams):
        others = [g for j, g in enumerate(grams) if j != i]
        alike = [(one * g).sum() / np.sqrt((one**2).sum() * (g**2).sum()) for g in others]
        numbers.append(-np.mean(alike))
    return np.array(numbers)


def pointed(v: np.ndarray, u: np.ndarray, power: float) -> np.ndarray:
    """lucid's ``dot_compare``: dot times a power of the cosine, held at 0.1; mean of positions."""
    flat, u = v.reshape(*v.shape[:2], -1), u.reshape(*u.shape[:1], -1)
    dot = (flat * u).sum(axis=1)
    size = np.sqrt((flat**2).sum(axis=1)) * np.sqrt((u**2).sum(axis=0))
    return (dot * np.maximum(dot / size, 0.1) ** power).mean(axis=1)


Values = dict[
    str, np.ndarray
]  # at the start of backward passes, float64, of three images and PHOTO
CASES: dict[str, tuple[Objective, Callable[[Values, Values], np.ndarray]]] = {
    "a unit": (o.unit("b", 2), lambda v, p: v["b"][:, 2, 4, 4]),
    "at a position": (o.unit("b", 2, (0, 3)), lambda v, p: v["b"][:, 2, 0, 3]),
    "units": (o.unit("b", (1, 3), "all"), lambda v, p: v["b"][:, [1, 3]].sum((1, 2, 3))),
    "a neuron of a vector": (o.unit("fc", 6), lambda v, p: v["fc"][:, 6]),
    "a channel": (o.channel("a", 1), lambda v, p: v["a"][:, 1].mean((1, 2))),
    "a direction": (o.direction("b", DIRECTION), lambda v, p: v["b"][:, :, 4, 4] @ DIRECTION),
    "a cosine direction": (
        o.cosine_direction("a", POINTED, power=2),
        lambda v, p: pointed(v["a"], np.repeat(POINTED[:, None], 18 * 18, 1), 2),
    ),
    "a cosine direction of a vector": (
        o.cosine_direction("fc", [1, 2, 0, 0, -1, 0, 3], "center", power=1),
        lambda v, p: pointed(v["fc"][..., None], np.array([1.0, 2, 0, 0, -1, 0, 3])[:, None], 1),
    ),
    "a layer": (o.layer("c"), lambda v, p: (v["c"] ** 2).sum((1, 2, 3)) / 2),
    "a layer's mean": (
        o.layer("a", "mean"), lambda v, p: (v["a"] ** 2).sum((1, 2, 3)) / 2 / 18**2,
    ),
    "a log probability": (
        o.log_probability("fc", 3), lambda v, p: log_softmax(v["fc"], axis=1)[:, 3],
    ),
    "a log probability in a map": (
        o.log_probability("b", 1, "mean"),
        lambda v, p: log_softmax(v["b"], axis=1)[:, 1].mean((1, 2)),
    ),
    "a match": (
        o.match("b", PHOTO),
        lambda v, p: -((v["b"] - p["b"]) ** 2).sum((1, 2, 3)) / (p["b"] ** 2).sum(),
    ),
    "a caricature": (o.caricature("a", PHOTO), lambda v, p: pointed(v["a"], p["a"][0], 1)),
    "diversity": (o.diversity("a"), lambda v, p: gram_similarity(v["a"])),
    "a function": (
        o.function(torch_function, "a", "fc"),
        lambda v, p: (np.maximum(v["a"], 0) ** 2).mean((1, 2, 3))
        + np.sin(v["fc"][:, 2]) * v["fc"][:, 3],
    ),
    "the image itself": (
        -0.01 * o.layer("data", "mean"), lambda v, p: -0.01 * (v["data"] ** 2).sum((1, 2, 3)) / 800,
    ),
    "a sum": (
        o.unit("fc", 1) + 0.5 * o.unit("smooth", 2) - o.channel("a", 3) / 4,
        lambda v, p: v["fc"][:, 1] + 0.5 * v["smooth"][:, 2, 9, 9] - v["a"][:, 3].mean((1, 2)) / 4,
    ),
}  # fmt: skip


def values_of(net: Net, x: np.ndarray) -> Values:
    """What backward passes start from, each by a pass of its own."""
    array = net.ops.asarray(x)
    names = ("a", "b", "c", "smooth", "fc")
    found = {name: net.ops.numpy(net.evaluate(array, name)).astype(float) for name in names}
    return {**found, "data": x.astype(float)}


def numbers(net: Net, objective: Objective, x: np.ndarray) -> np.ndarray:
    evaluate = objective.bind(net, {})
    values = net.evaluate_layers(net.ops.asarray(x), objective.layers)
    return np.array(net.ops.for_numbers.numpy(evaluate(values)[0]), float)


@pytest.mark.parametrize("case", CASES)
def test_its_value_is_the_formulas_and_its_gradient_that_of_finite_differences(
    net: Net, case: str
) -> None:
    objective, formula = CASES[case]
    x = 40 * noise(3, 3, SIZE, SIZE)
    photo = values_of(net, net.preprocessor(PHOTO)[None])
    expected = formula(values_of(net, x), photo)
    np.testing.assert_allclose(numbers(net, objective, x), expected, rtol=2e-4, atol=1e-5)
    evaluate = objective.bind(net, {})
    _, diffs = evaluate(net.evaluate_layers(net.ops.asarray(x), objective.layers))
    gradient = net.ops.numpy(net.layers_gradient(diffs)).astype(float)
    step = 1e-2 * noise(*x.shape, seed=9)
    if case == "a function":  # its ReLU is not smooth: a step that crosses no kink is shorter
        step /= 10
    before, after = (formula(values_of(net, x + sign * step), photo).sum() for sign in (-1, 1))
    slope = (gradient * step).sum()
    assert slope == pytest.approx((after - before) / 2, rel=2e-2, abs=1e-4 * abs(expected).sum())
    assert abs(slope) > 1e-6


@pytest.mark.parametrize("case", [name for name in CASES if name != "diversity"])
def test_gradient_ascent_raises_it(net: Net, case: str) -> None:
    goal, rate = CASES[case][0], dv.AscentParams().rate
    (run,) = dv.optimize(net, goal, preset=3, iterations=12, rate=rate, seeds=[3])
    assert run.activations[-1] > run.activations[0]


def test_more_diversity_makes_seeds_less_alike(net: Net) -> None:
    goal = o.unit("fc", 1)
    plain, diverse = (
        dv.optimize(net, one, seeds=range(3), iterations=15)
        for one in (goal, goal + 200 * o.diversity("a"))
    )

    def alike(runs: dv.Runs) -> float:
        x = np.stack([run.image for run in runs])
        return float(-gram_similarity(values_of(net, x)["a"]).mean())

    assert alike(diverse) < alike(plain)


@pytest.mark.parametrize(
    ("objective", "layer_", "unit", "position"),
    [
        (o.unit("b", 2), "b", 2, "center"),
        (o.unit("b", (1, 3), (0, 1)), "b", (1, 3), (0, 1)),
        (o.unit("b", 2, "all"), "b", 2, "all"),
        (o.layer("a"), "a", "layer", "all"),
    ],
)
def test_a_plain_objective_is_what_the_units_are(
    net: Net, objective: Objective, layer_: str, unit: object, position: object
) -> None:
    (ours,) = dv.optimize(net, objective, iterations=5)
    (plain,) = dv.optimize(net, layer_, [unit], position=position, iterations=5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(ours.image, plain.image)
    assert (ours.layer, ours.unit, ours.window) == (plain.layer, plain.unit, plain.window)
    assert (ours.first_top is None) == (plain.first_top is None)


def test_the_part_of_the_image_that_all_terms_see_is_enough(net: Net) -> None:
    """The gradient in the window is the whole image's there, and that is 0 outside of it."""
    goal = o.unit("b", 2, (1, 6)) + 2 * o.unit("c", 3, (4, 9)) - o.unit("a", 0, (3, 13))
    windows = TargetLayer.of_objective(net, goal)[0].windows(net, "auto")
    rows, columns = windows["a"].rows, windows["a"].columns
    assert {window.box for window in windows.values()} == {windows["a"].box}
    assert windows["a"].size < (SIZE, SIZE)
    x = 30 * noise(2, 3, SIZE, SIZE)

    def gradient(x: np.ndarray, origins: dict[str, tuple[int, ...]]) -> np.ndarray:
        evaluate = goal.bind(net, origins)
        _, diffs = evaluate(net.evaluate_layers(net.ops.asarray(x), goal.layers))
        return net.ops.numpy(net.layers_gradient(diffs))

    whole = gradient(x, {})
    origins = {}
    for name, window in windows.items():
        block = goal.block(net, name)
        assert block is not None
        origins[name] = (block[0] - window.index[0], block[1] - window.index[1])
    part = gradient(x[..., rows, columns], origins)
    np.testing.assert_allclose(part, whole[..., rows, columns], atol=1e-5 * abs(whole).max())
    outside = whole.copy()
    outside[..., rows, columns] = 0
    assert not outside.any()
    (run,) = dv.optimize(net, goal, iterations=3)
    assert run.window == windows["a"].box


def test_minimizing_is_maximizing_the_negative(net: Net) -> None:
    goal = o.unit("b", 1) + o.channel("a", 2)
    (down,) = dv.optimize(net, goal, iterations=6, sign=-1)
    (negative,) = dv.optimize(net, -goal, iterations=6)
    np.testing.assert_array_equal(down.image, negative.image)
    np.testing.assert_allclose(down.activations, -negative.activations, rtol=1e-6)


def test_an_inversion_comes_near_the_image(net: Net) -> None:
    """The first layer of this net keeps nearly all of an image: what matches it is that image."""
    x = net.preprocessor(PHOTO)
    goal = o.match("a:raw", PHOTO)
    params = dv.AscentParams(start="mean", iterations=300, rate=GrayLevels(2))
    (run,) = dv.optimize(net, goal, preset=params)
    assert run.best_value > 0.01 * run.activations[0]
    assert np.corrcoef(run.image.ravel(), x.ravel())[0, 1] > 0.98


# -- as text -------------------------------------------------------------------------------------

LAYERS = st.sampled_from(["pool10", "fire5/concat", "conv1:raw", "a b", "x+y", "c-1"])
POSITIONS = st.sampled_from(["center", "all", "mean", (3, 4), (0,)])
UNITS = st.lists(st.integers(0, 999), min_size=1, max_size=3, unique=True)
TERMS = st.one_of(
    st.builds(o.unit, LAYERS, UNITS, POSITIONS),
    st.builds(o.layer, LAYERS, POSITIONS),
)
FACTORS = st.sampled_from([1, -1, 0.5, -0.1, 20, 1e-05])


@given(st.lists(st.tuples(FACTORS, TERMS), min_size=1, max_size=4))
def test_text_reads_back_as_the_same_objective(terms: list[tuple[float, Objective]]) -> None:
    total = sum((f * one for f, one in terms[1:]), terms[0][0] * terms[0][1])
    read = o.parse(str(total))
    assert str(read) == str(total)
    assert (1.0 * read).record() == total.record()


@pytest.mark.parametrize(
    "text",
    ["", "pool10", "pool10:", ":3", "pool10:3x", "pool10:3@", "pool10:3@top", "a:1 + ", "2*"],
)
def test_what_is_not_an_objective_is_an_error_that_shows_how_to_write_one(text: str) -> None:
    with pytest.raises(SettingsError, match="each term is written LAYER:UNIT"):
        o.parse(text)


def test_names_differ_where_what_is_maximized_differs() -> None:
    goals = [
        o.unit("a", 1) + o.unit("b", 1),
        o.unit("a", 1) + 1.5 * o.unit("b", 1),
        o.direction("a", POINTED) + o.unit("b", 1),
        o.direction("a", -POINTED) + o.unit("b", 1),
        o.match("b", PHOTO),
        o.match("b", PHOTO[::-1]),
        (o.unit("a", 1) + o.unit("b", 1)).named("ears"),
    ]
    names = [goal.name for goal in goals]
    assert len(set(names)) == len(names)
    assert names[-1].startswith("ears-")
    assert not any(set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_.+-") for name in names)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "error", "words"),
    [
        (lambda: o.unit("nowhere", 1) + o.unit("b", 1), (UnknownNameError, ModelError), "nowhere"),
        (lambda: o.unit("a", 1) + o.unit("b", 5), SettingsError, "has no unit 5"),
        (lambda: o.unit("b", 2.5), SettingsError, "a channel's number"),
        (lambda: o.unit("b", "layer"), SettingsError, "a channel's number"),
        (lambda: o.unit("b", "two"), SettingsError, "have no names"),
        (lambda: o.unit("b", "two") + o.unit("a", 1), SettingsError, "have no names"),
        (lambda: o.unit("b", 2, "middle"), SettingsError, "'mean'"),
        (lambda: o.unit("b", 1, (20, 0)) + o.unit("a", 1), SettingsError, r"\(20, 0\)"),
        (lambda: o.unit("b", 1) * float("nan"), SettingsError, "finite"),
        (lambda: o.direction("b", [1, 2]) + o.unit("a", 1), SettingsError, "5 channels"),
        (lambda: o.cosine_direction("b", [1, 2]), SettingsError, "5 numbers"),
        (lambda: o.cosine_direction("b", DIRECTION, "all"), SettingsError, "'all'"),
        (lambda: o.cosine_direction("b", DIRECTION, power=-1), SettingsError, "at least 0"),
        (lambda: o.match("b", "missing.png"), ImageError, "missing.png"),
        (lambda: o.log_probability("b", 9), SettingsError, "has no unit 9"),
        (lambda: o.function(lambda a: a.sum(), "a"), SettingsError, r"shape \(1,\)"),
        (lambda: o.function(lambda a: 3, "a"), SettingsError, "got int"),
        (lambda: o.function(lambda a: a.detach().sum((1, 2, 3)), "a"), SettingsError, "detached"),
        (lambda: o.function(torch_function), SettingsError, "name the layers"),
        (lambda: [o.unit("b", 1), "b"], SettingsError, "got 'b'"),
    ],
)  # fmt: skip
def test_what_cannot_be_maximized_is_a_clear_error(
    net: Net, goal: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        dv.optimize(net, goal(), iterations=1)  # type: ignore[arg-type]


def test_text_is_an_objective_where_it_names_no_layer(net: Net) -> None:
    (run,) = dv.optimize(net, "fc:1 + 0.5*a:2@mean", iterations=4)
    (same,) = dv.optimize(net, o.unit("fc", 1) + 0.5 * o.channel("a", 2), iterations=4)
    np.testing.assert_array_equal(run.image, same.image)
    (raw,) = dv.optimize(net, "a:raw", [2], iterations=4)
    assert raw.layer == "a:raw"


def test_units_and_objectives_exclude_each_other(net: Net) -> None:
    with pytest.raises(SettingsError, match="leave units and position out"):
        dv.optimize(net, o.unit("b", 1), units=[2])
    with pytest.raises(SettingsError, match="choose the units of layer 'b'"):
        dv.optimize(net, "b")


def test_the_other_operands_are_refused_as_python_does() -> None:
    for wrong in (lambda: o.unit("a", 1) + 2, lambda: o.unit("a", 1) * o.unit("a", 2)):
        with pytest.raises(TypeError):
            wrong()
