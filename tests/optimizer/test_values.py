"""Lists of values in AscentParams: what they replace, records and presets, names in errors."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.array_ops import normal
from helpers.engine_nets import conv, layer, load_text, net_text, relu
from helpers.fake_nets import FakeNet, bumps

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer import AscentParams, Constant, ascent_params, optimize, preset
from deepvis_caffe.optimizer import parameterizations as p
from deepvis_caffe.optimizer import regularizers as r
from deepvis_caffe.optimizer import transforms as t
from deepvis_caffe.optimizer.params import in_words
from deepvis_caffe.optimizer.presets import params_from_record, read_presets, save_preset
from deepvis_caffe.optimizer.start import start_digest

SHAPE = (3, 8, 7)
EVERY_REGULARIZER = [
    r.diversity(1.5),
    r.total_variation(0.3),
    r.decay(0.02),
    r.blur(1.5, every=2),
    r.clip_small_values(3),
    r.clip_small_norms(4),
    r.clip_small_benefits(5),
    r.clip_small_contributions(6),
]
AS_NUMBERS = {
    "diversity": 1.5,
    "total_variation": 0.3,
    "decay": 0.02,
    "blur_width": 1.5,
    "blur_every": 2,
    "value_percentile": 3,
    "norm_percentile": 4,
    "benefit_percentile": 5,
    "contribution_percentile": 6,
}


def halved(x: Any, g: Any, t: int) -> Any:
    return x / 2


def darkened(x: Any, g: Any, t: int) -> Any:
    return x - 1


# -- lists and numbers ---------------------------------------------------------------------------


def test_a_list_of_regularizers_is_the_same_as_the_numbers(ops: ArrayOps) -> None:
    net = FakeNet(bumps(normal(2, *SHAPE, scale=40)), 2, SHAPE, ops)
    numbers = AscentParams(iterations=20, **AS_NUMBERS)
    listed = AscentParams(iterations=20, regularizers=EVERY_REGULARIZER)
    assert numbers.chosen_regularizers == listed.chosen_regularizers
    for some in (numbers, listed), (numbers.but(blur_end=0.2), _with_falling_blur(listed)):
        one, other = (optimize(net, "unit", [0, 1], [3, 4], preset=params) for params in some)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a.image, b.image)


def _with_falling_blur(params: AscentParams) -> AscentParams:
    falling = [
        r.falling_blur(1.5, 0.2, every=2) if isinstance(one, r.blur) else one
        for one in params.chosen_regularizers
    ]
    return params.but(regularizers=falling)


def test_values_replace_a_presets_numbers() -> None:
    changed = ascent_params("best", regularizers=[r.decay(0.5)], parameterization=p.pixels())
    assert changed.chosen_regularizers == (r.decay(0.5),)
    assert changed.decay == 0
    assert (changed.fourier, changed.decorrelate) == (0, 0)
    assert changed.chosen_parameterization == p.pixels()
    assert changed.chosen_transforms == preset("best").chosen_transforms
    none = ascent_params("best", transforms=[], regularizers=[])
    assert none.chosen_transforms == none.chosen_regularizers == ()
    assert not none.has_transforms
    assert none.fourier == preset("best").fourier
    # and back
    again = changed.but(regularizers=None, decay=0.1)
    assert again.chosen_regularizers == (r.decay(0.1),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"regularizers": [r.decay(0.1)], "blur_width": 1, "blur_every": 2},
            r"regularizers replaces blur_width, blur_every: .*decay\(fraction=0.1\) and blur_wi",
        ),
        ({"transforms": [t.flip()], "jitter": 0.1}, "transforms replaces jitter"),
        ({"parameterization": p.maco(), "fourier": 1}, "parameterization replaces fourier"),
    ],
)
def test_both_in_one_call(given: dict[str, Any], message: str) -> None:
    for make in (partial(ascent_params, 3), partial(ascent_params, "best"), AscentParams):
        with pytest.raises(SettingsError, match=message):
            make(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"regularizers": r.decay(0.1)}, r"regularizers must be a list; got decay\(fraction=0.1"),
        ({"transforms": "flip"}, "transforms must be a list; got 'flip'"),
        (
            {"regularizers": [r.decay(0.1), 0.3]},
            r"regularizers\[1\] must be a regularizer such as .*; got 0.3",
        ),
        ({"transforms": [None]}, r"transforms\[0\] must be a transform such as .*; got None"),
        ({"transforms": [t.flip]}, r"got flip, the class: write flip\(...\)"),
        ({"transforms": [r.decay(0.1)]}, r"must be a transform .*; got decay\(fraction=0.1\)"),
        ({"regularizers": [t.flip()]}, r"must be a regularizer .*; got flip\(\)"),
        ({"parameterization": "maco"}, r"such as fourier\(1.15\) or maco\(\); got 'maco'"),
        ({"parameterization": p.maco}, r"got maco"),
    ],
)
def test_what_is_not_a_value(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ascent_params(3, **given)


def test_images_that_depend_on_each_other_are_known() -> None:
    assert AscentParams(diversity=1).compares_images
    assert AscentParams(regularizers=[r.decay(0.1), r.diversity(1)]).compares_images
    assert not AscentParams(regularizers=[r.decay(0.1), halved]).compares_images
    assert not AscentParams(decay=0.1).compares_images


# -- a user's own regularizers -------------------------------------------------------------------


def test_functions_and_values_apply_in_order(ops: ArrayOps) -> None:
    start = np.full(SHAPE, 40.0)
    seen = []

    def watched(x: Any, g: Any, t: int) -> Any:
        seen.append((ops.numpy(x), ops.numpy(g), t))
        return x

    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE, ops)
    listed = [watched, halved, r.decay(0.5), darkened, watched]
    run = optimize(
        net, "unit", 0, preset=AscentParams(regularizers=listed, iterations=2), start=start
    )
    (before, gradient, step), (after, _, _) = seen
    assert step == 0
    np.testing.assert_allclose(gradient, net_gradient(net, start), rtol=1e-5)
    np.testing.assert_allclose(after, before / 2 / 2 - 1, rtol=1e-5)
    np.testing.assert_allclose(net.seen[1], after)
    assert len(run[0].activations) == 2


def net_gradient(net: FakeNet, x: np.ndarray) -> np.ndarray:
    return net.formula(x[None].astype(np.float32))[1](np.ones((1, 1)))


def test_a_users_own_value(ops: ArrayOps) -> None:
    class towards_gray(r.Regularizer):
        def bind(self, info: Any) -> Any:
            return lambda x, g, t: x * (1 - t / info.steps)

    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE, ops)
    own = optimize(net, "unit", 0, iterations=6, regularizers=[towards_gray()])[0]
    same = optimize(net, "unit", 0, iterations=6, regularizers=[lambda x, g, t: x * (1 - t / 6)])[0]
    np.testing.assert_array_equal(own.image, same.image)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, g, t: None, r"returned NoneType; expected \w+ of shape \(2, 3, 8, 7\)"),
        (lambda x, g, t: x[:1], r"returned shape \(1, 3, 8, 7\); expected \w+ of shape \(2, 3,"),
        (lambda x, g, t: x.sum(axis=1), r"returned shape \(2, 8, 7\)"),
        (lambda x, g, t: 3.0, "returned float"),
    ],
)
def test_a_function_that_returns_no_images_is_named(
    ops: ArrayOps, function: Any, message: str
) -> None:
    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE, ops)
    with pytest.raises(SettingsError, match="regularizer .*lambda> " + message):
        optimize(net, "unit", 0, [0, 1], regularizers=[function])


def test_arrays_of_another_library_are_named() -> None:
    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE)
    with pytest.raises(SettingsError, match="returned Tensor; expected ndarray"):
        optimize(net, "unit", 0, regularizers=[lambda x, g, t: torch.from_numpy(x)])


def test_types_and_graphs_of_torch_do_not_pile_up(ops: ArrayOps) -> None:
    weight = torch.ones((), requires_grad=True)

    def learned(x: Any, g: Any, t: int) -> Any:
        return x * weight.double() if isinstance(x, torch.Tensor) else x.astype(float)

    def after(x: Any, g: Any, t: int) -> Any:
        attached.append(isinstance(x, torch.Tensor) and x.requires_grad)
        return x

    attached: list[bool] = []
    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE, ops)
    given = optimize(net, "unit", 0, iterations=5, regularizers=[learned, after])[0]
    assert attached == [False] * 4
    plain = optimize(net, "unit", 0, iterations=5, regularizers=[])[0]
    np.testing.assert_array_equal(given.image, plain.image)
    assert given.image.dtype == np.float32


def test_on_either_engine(engine: str, tmp_path: Path) -> None:
    # one step, by the engine's own backward pass of what is shown
    text = net_text(
        conv("conv1", "data", 4, 3, "pad: 1"),
        relu("relu1", "conv1"),
        layer("fc", "InnerProduct", "conv1", "", "inner_product_param { num_output: 5 }"),
        data=(1, *SHAPE),
    )
    net = load_text(engine, tmp_path, text, mean=(104, 117, 123))
    x = normal(*SHAPE, scale=30)
    run = optimize(
        net,
        "fc",
        2,
        preset=AscentParams(
            transforms=[lambda x: torch.roll(x, 2, 3) * 1.5],
            regularizers=[halved],
            rate=Constant(1000),
            iterations=2,
            start=x,
        ),
    )[0]
    shown = np.roll(x, 2, 2)[None] * 1.5
    net.forward(shown.astype(np.float32))
    gradient = np.roll(net.backward("fc", np.eye(5, dtype=np.float32)[[2]])["data"] * 1.5, -2, 3)
    assert np.abs(1000 * gradient).max() > 1
    np.testing.assert_allclose(run.image, (x + 1000 * gradient[0]) / 2, rtol=1e-4, atol=1e-3)
    composed = optimize(net, "fc", 2, preset=COMPOSED.but(iterations=8, parameterization=p.maco()))
    assert composed[0].stop == "finished"
    assert np.isfinite(composed[0].image).all()


# -- records -------------------------------------------------------------------------------------

COMPOSED = AscentParams(
    transforms=[
        t.jitter(0.07),
        t.scale(0.1),
        t.rotation(5),
        t.octaves(2),
        t.flip(),
        t.noise(4),
        t.random_resized_crop(0.5),
        t.coarse_to_fine(0.5),
    ],
    regularizers=[
        *EVERY_REGULARIZER,
        r.falling_blur(2, 0.5),
        r.falling_decay(0.1),
        r.falling_total_variation(0.5),
    ],
    parameterization=p.fourier(1.15, decorrelate=0.85),
)


def test_values_come_back_from_their_record(tmp_path: Path) -> None:
    record = COMPOSED.record()
    assert record["regularizers"][2] == {"type": "decay", "fraction": 0.02}
    assert record["transforms"][3] == {"type": "octaves", "count": 2, "factor": 1.4}
    assert record["parameterization"] == {"type": "fourier", "power": 1.15, "decorrelate": 0.85}
    for params in (COMPOSED, AscentParams(parameterization=p.maco(), transforms=[])):
        assert params_from_record(json.loads(json.dumps(params.record()))) == params
    path = tmp_path / "presets.json"
    save_preset(path, "mine", COMPOSED)
    assert read_presets(path) == {"mine": COMPOSED}
    known = {**t.TRANSFORMS, **r.REGULARIZERS, **p.PARAMETERIZATIONS}
    listed = [*COMPOSED.chosen_transforms, *COMPOSED.chosen_regularizers]
    assert known.keys() - {"pixels", "maco", "fourier"} == {type(one).__name__ for one in listed}


def test_functions_and_arrays_are_recorded_by_digests() -> None:
    spectrum = np.abs(np.fft.rfft2(normal(*SHAPE)))

    def record(*functions: Any, **more: Any) -> dict[str, Any]:
        return json.loads(json.dumps(AscentParams(regularizers=functions, **more).record()))

    once, again = record(halved)["regularizers"][0], record(halved)["regularizers"][0]
    assert once == again
    assert once["callable"] == f"{__name__}.halved"
    assert once["source"] != record(darkened)["regularizers"][0]["source"]

    def by(factor: float) -> Any:
        return lambda x, g, t: x * factor

    assert record(by(2)) == record(by(2))
    assert record(by(2)) != record(by(3))  # of the same source, with another value in it
    assert record(partial(darkened, t=1)) != record(partial(darkened, t=2))
    module, other = (torch.nn.Conv2d(3, 3, 1) for _ in range(2))
    shown = [AscentParams(transforms=[one]).record()["transforms"] for one in (module, other)]
    assert shown[0] != shown[1]  # other weights
    assert shown[0] == AscentParams(transforms=[module]).record()["transforms"]
    assert record(np.add)["regularizers"] == [{"callable": "numpy.add"}]
    whole = record(parameterization=p.maco(spectrum), start=normal(*SHAPE))
    assert set(whole["parameterization"]) == {"type", "spectrum"}
    assert set(whole["parameterization"]["spectrum"]) == set(whole["start"]) == {"array"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"regularizers": 3}, "regularizers must be a list; got 3"),
        ({"regularizers": [3]}, "a regularizer must be an object such as"),
        ({"regularizers": [{"type": "deca"}]}, "no regularizer named 'deca'.*did you mean 'decay'"),
        ({"regularizers": [{"type": "decay"}]}, "regularizer decay lacks fraction"),
        ({"regularizers": [{"type": "decay", "x": 1}]}, "no parameter of decay named 'x'"),
        ({"transforms": [{"type": "jitter", "fraction": "a"}]}, "fraction of jitter cannot be 'a'"),
        ({"transforms": [{"type": "jitter", "fraction": 2}]}, "fraction of jitter must be"),
        ({"transforms": [{"callable": "a.b"}]}, "transform was b, and the record has only"),
        ({"parameterization": {"type": "macro"}}, "did you mean 'maco'"),
        (
            {"parameterization": {"type": "maco", "spectrum": {"array": "ab"}}},
            "spectrum of maco was an array, and the record has only its digest; pass it again",
        ),
        ({"start": {"array": "ab"}}, "start was an array, and the record has only its digest"),
    ],
)
def test_records_that_are_not_right(record: dict[str, Any], message: str) -> None:
    with pytest.raises((SettingsError, UnknownNameError), match=message):
        params_from_record(record)


def test_what_is_read_of_functions_and_arrays_compares_and_does_not_run() -> None:
    functions = AscentParams(regularizers=[halved, r.decay(0.1)], transforms=[torch.neg])
    spectrum = AscentParams(parameterization=p.maco(np.abs(np.fft.rfft2(normal(*SHAPE)))))
    start = AscentParams(start=normal(*SHAPE))
    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE)
    for params, missing in (
        (functions, "and the record has only its digest; pass it again"),
        (spectrum, "spectrum of maco was an array"),
        (start, "start was an array"),
    ):
        record = json.loads(json.dumps(params.record()))
        read = params_from_record(record, partly=True)
        assert read == params_from_record(record, partly=True)
        assert read.record() == record
        with pytest.raises(SettingsError, match=missing):
            optimize(net, "unit", 0, preset=read.but(iterations=2))
    read = params_from_record(functions.record(), partly=True)
    assert in_words(read) == "regularizers halved, decay(fraction=0.1), transforms neg"
    assert start_digest(params_from_record(start.record(), partly=True).start) == start_digest(
        start.start
    )


def test_parameters_are_keys() -> None:
    again = AscentParams(
        transforms=COMPOSED.transforms,
        regularizers=list(COMPOSED.regularizers or ()),
        parameterization=p.fourier(1.15, decorrelate=0.85),
    )
    assert {COMPOSED: 1}[again] == 1
    assert again.but(transforms=[t.flip()]) != COMPOSED
    spectra = [np.ones((3, 8, 4)), np.ones((3, 8, 4)), np.zeros((3, 8, 4))]
    one, same, other = (AscentParams(parameterization=p.maco(some)) for some in spectra)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other


def test_as_text() -> None:
    params = AscentParams(
        transforms=[t.jitter(0.07), t.flip()], regularizers=[r.blur(0.5, every=4), halved]
    )
    assert in_words(params) == (
        "regularizers blur(width=0.5, every=4), halved, transforms jitter(fraction=0.07), flip()"
    )
    assert in_words(AscentParams(regularizers=[])) == "no regularization"
    assert "parameterization maco()" in in_words(AscentParams(parameterization=p.maco()))
