"""`optimize`: its results and their order, how it stops, and errors for bad requests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, relu
from helpers.fake_nets import FakeNet, bumps, linear

import deepvis_caffe
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError, SettingsError, UnknownNameError
from deepvis_caffe.image import read_image
from deepvis_caffe.optimizer import (
    AscentParams,
    Constant,
    GrayLevels,
    Progress,
    ascent_params,
    optimize,
)

SHAPE = (3, 8, 7)
CENTERS = np.random.RandomState(0).normal(0, 30, (4, *SHAPE))

SMALL = net_text(
    conv("conv1", "data", 4, 3, "pad: 1"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    layer("fc", "InnerProduct", "pool1", "", "inner_product_param { num_output: 5 }"),
    layer("prob", "Softmax", "fc"),
    layer("flat", "Reshape", "fc", "", "reshape_param { shape { dim: -1 } }"),
    data=(2, 3, 12, 10),
)


@pytest.fixture
def net() -> FakeNet:
    return FakeNet(bumps(CENTERS), 4, SHAPE)


@pytest.fixture
def small(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, SMALL, mean=(104, 117, 123))


def assert_gradient_ascent(net: Any, layer: str, sign: int = 1, **options: Any) -> None:
    """Every step goes up (or down), and the first by what the gradient predicts."""
    rate = Progress(max_lr=1e9, desired=1e-3)
    params = AscentParams(iterations=8, rate=rate, start="mean", sign=sign)
    for run in optimize(net, layer, [0, 1], preset=params, **options):
        if run.stop == "finished":
            own = run.activations[run.redirected_steps :]
            steps = sign * np.diff(own.astype(np.float64))
            assert (steps > 0).all()
            if not run.redirected_steps:  # at once in a region where it is smooth
                assert steps[0] == pytest.approx(1e-3, rel=0.2)
        else:
            assert run.stop == "zero gradient"


def test_a_number_of_seeds_counts_them_as_the_command_line_does(small: Net) -> None:
    counted = optimize(small, "fc", [1], seeds=3, iterations=2)
    listed = optimize(small, "fc", [1], seeds=[0, 1, 2], iterations=2)
    assert [run.seed for run in counted] == [0, 1, 2]
    for one, other in zip(counted, listed, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("name", ["conv1", "relu1", "pool1", "fc", "prob"])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_kind_of_layer_is_maximized(small: Net, name: str, sign: int) -> None:
    assert_gradient_ascent(small, name, sign)


def test_whole_channels_and_positions_are_maximized(small: Net) -> None:
    assert_gradient_ascent(small, "conv1", position="all")
    assert_gradient_ascent(small, "conv1", position=(0, 9))


# -- order, batches, progress --------------------------------------------------------------------


@pytest.mark.parametrize(("units", "seeds"), [([], 1), (1, []), ([], [])])
def test_no_units_or_seeds_are_no_results(small: Net, units: Any, seeds: Any) -> None:
    assert optimize(small, "fc", units, seeds, iterations=2) == []


def test_results_show_themselves(net: FakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepvis_caffe.optimizer.result.SHOWN", 2)
    runs = optimize(net, "unit", [0, 1], range(2), iterations=1)
    first, second = runs[0]._repr_html_(), runs[1]._repr_html_()
    assert first != second
    assert runs._repr_html_() == f"{first}{second}<p>and 2 more</p>"
    assert "more" not in optimize(net, "unit", [0, 1], iterations=1)._repr_html_()


@pytest.mark.parametrize(
    ("preset", "changes", "named"),
    [
        (2, {"blur_width": 3}, r"blur_width would have no effect: .* got 3(\.0)? and 0$"),
        (
            3,
            {"blur_width": 0, "blur_end": 0.1},
            r"blur_end would have no effect: .* got 0(\.0)? and",
        ),
        (2, {"blur_width": 3, "blur_end": 1}, "blur_width and blur_end would have no effect"),
    ],
)
def test_a_blur_that_would_do_nothing(preset: int, changes: dict, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        ascent_params(preset, **changes)
    assert ascent_params(preset, **{**changes, "blur_width": 1, "blur_every": 2}).blurs
    assert not ascent_params(3, blur_width=0).blurs


def test_results_come_by_unit_then_seed(net: FakeNet) -> None:
    runs = optimize(net, "unit", [2, 0], seeds=range(3), iterations=2, batch_size=4)
    assert [(r.unit, r.seed) for r in runs] == [(2, 0), (2, 1), (2, 2), (0, 0), (0, 1), (0, 2)]


def test_each_run_starts_from_its_seeds_noise(net: FakeNet) -> None:
    runs = optimize(net, "unit", 1, seeds=[3, 8], iterations=1)
    for run in runs:
        noise = np.random.RandomState(run.seed).normal(0, 10, SHAPE)
        np.testing.assert_allclose(run.image, noise, rtol=1e-6)


def test_noise_is_in_gray_levels_of_the_nets_own_pixels() -> None:
    net = FakeNet(bumps(CENTERS), 4, SHAPE, mean=0.5, raw_scale=1)
    run = optimize(net, "unit", 1, seeds=[3], iterations=1)[0]
    noise = np.random.RandomState(3).normal(0, 10, SHAPE) / 255
    np.testing.assert_allclose(run.image, noise, rtol=1e-6)


def test_uniform_start_covers_all_pixels(net: FakeNet) -> None:
    run = optimize(net, "unit", 1, seeds=[3], iterations=1, start="uniform")[0]
    expected = np.random.RandomState(3).uniform(0, 255, SHAPE) - 100
    np.testing.assert_allclose(run.image, expected, atol=1e-4)


def test_batches_are_of_nearly_equal_size(net: FakeNet) -> None:
    optimize(net, "unit", 0, seeds=range(9), iterations=1, batch_size=8)
    assert [len(seen) for seen in net.seen] == [4, 5]
    net.seen.clear()
    optimize(net, "unit", 0, seeds=range(9), iterations=1)
    assert [len(seen) for seen in net.seen] == [9]


def test_progress_counts_image_steps(net: FakeNet) -> None:
    seen: list[tuple[int, int]] = []
    optimize(
        net,
        "unit",
        0,
        seeds=range(3),
        iterations=2,
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 6), (2, 6), (4, 6), (6, 6)]


def test_progress_arrives_where_runs_end_early() -> None:
    net = FakeNet(linear(np.zeros((1, *SHAPE))), 1, SHAPE)
    seen: list[tuple[int, int]] = []
    runs = optimize(
        net, "unit", 0, iterations=50, progress=lambda done, total: seen.append((done, total))
    )
    assert runs[0].stop == "zero gradient"
    assert len(net.seen) < 50
    assert seen[-1] == (50, 50)


def test_numbers_of_numpy_are_numbers(net: FakeNet) -> None:
    runs = optimize(net, "unit", np.arange(4)[1:3], seeds=[np.int64(3)], iterations=1)
    assert [(run.unit, run.seed) for run in runs] == [(1, 3), (2, 3)]
    assert json.dumps(runs[0].record()["unit"]) == "1"


def test_numpy_numbers_are_parameters_too(net: FakeNet) -> None:
    changes = {"decay": np.float32(0.25), "blur_every": np.int16(2), "sign": np.int64(-1)}
    given = {"iterations": np.int64(3), "rate": np.float32(3), **changes}
    run = optimize(net, "unit", 1, **given)[0]  # type: ignore[arg-type]
    record = json.loads(json.dumps(run.record()))["params"]
    assert (record["iterations"], record["rate"]) == (3, {"type": "Constant", "lr": 3})
    assert [record[name] for name in ("decay", "blur_every", "push")] == [0.25, 2, -1]


def test_positions_of_numpy(small: Net) -> None:
    runs = optimize(small, "conv1", 0, position=np.array([3, 4]), iterations=3)
    plain = optimize(small, "conv1", 0, position=(3, 4), iterations=3)
    np.testing.assert_array_equal(runs[0].image, plain[0].image)
    assert json.loads(json.dumps(runs[0].record()["position"])) == [3, 4]


# -- layers that mix the images of a batch -------------------------------------------------------

MIXING = net_text(
    conv("conv1", "data", 4, 3),
    layer("norm", "BatchNorm", "conv1", "", "batch_norm_param { use_global_stats: false }"),
    layer("row", "Reshape", "conv1", "", "reshape_param { shape { dim: 1 dim: -1 } }"),
    layer("fc", "InnerProduct", "row", "", "inner_product_param { num_output: 3 }"),
    data=(1, 3, 9, 8),
)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("norm", "'norm' .* \\(use_global_stats: false"),
        ("row", r"'row' has shape \(1, 168\) for one image and \(1, 336\) for two"),
        ("fc", r"'fc' has shape \(1, 3\) for one image and \(1, 3\) for two"),
    ],
)
def test_images_that_would_mix_run_one_at_a_time(
    engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    net = load_text(engine, tmp_path, MIXING, mean=0)
    together = optimize(net, name, [2, 0], seeds=[4, 5], preset=3, iterations=4)
    (warning,) = caplog.messages
    assert re.search(f"one at a time.*{why}", warning)
    caplog.clear()
    for run in together:
        (alone,) = optimize(net, name, run.unit, [run.seed], preset=3, iterations=4, batch_size=1)
        np.testing.assert_array_equal(run.image, alone.image)
        np.testing.assert_array_equal(run.activations, alone.activations)
    assert not caplog.messages
    assert optimize(net, "conv1", 0, [1, 2], preset=3, iterations=2)  # keeps them apart
    assert not caplog.messages


def test_a_net_made_for_one_batch_size_says_so(tmp_path: Path) -> None:
    text = net_text(
        layer("rows", "Reshape", "data", "", "reshape_param { shape { dim: 4 dim: -1 } }"),
        layer("all", "Reshape", "data", "", "reshape_param { shape { dim: 4 dim: 48 } }"),
        data=(4, 3, 4, 4),
    )
    net = load_text("torch", tmp_path, text)
    with pytest.raises(EngineError, match=r"'rows' has shape \(4, 12\) for one image"):
        optimize(net, "rows", 0)
    with pytest.raises(EngineError, match=r"the net cannot run with batch size 1: .*'all'"):
        optimize(net, "all", 0)


def test_cancelling_keeps_what_there_is(net: FakeNet) -> None:
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(0)
        return len(asked) == 7

    runs = optimize(net, "unit", 0, range(6), iterations=5, batch_size=2, cancel=cancel)
    assert [(run.seed, run.stop, len(run.activations)) for run in runs] == [
        (0, "finished", 5),
        (1, "finished", 5),
        (2, "cancelled", 2),
        (3, "cancelled", 2),
    ]
    full = optimize(net, "unit", 0, seeds=[2], iterations=5)[0]
    np.testing.assert_array_equal(runs[2].activations, full.activations[:2])


def test_an_interrupt_passes_through(net: FakeNet) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize(net, "unit", 0, iterations=5, progress=interrupt)
    assert len(net.seen) == 1


# -- parameters ----------------------------------------------------------------------------------


def test_presets_are_the_papers_table() -> None:
    table = [
        (p.decay, p.blur_width, p.blur_every, p.norm_percentile, p.contribution_percentile)
        for p in (ascent_params(number, "paper") for number in (1, 2, 3, 4))
    ]
    assert table == [
        (0, 0.5, 4, 50, 0),
        (0.3, 0, 0, 20, 0),
        (0.0001, 1.0, 4, 0, 0),
        (0, 0.5, 4, 0, 90),
    ]
    assert [ascent_params(n, "paper").rate for n in (1, 2, 3, 4)] == [
        Progress(100, 2),
        Constant(100),
        Constant(100),
        Progress(1e8, 2),
    ]
    assert [ascent_params(n, "paper").iterations for n in (1, 2, 3, 4)] == [500, 750, 1000, 1000]


def test_the_automatic_rate_takes_fewer_steps_than_the_paper() -> None:
    assert [ascent_params(n).iterations for n in (1, 2, 3, 4)] == [300] * 4
    assert ascent_params(3, iterations=7).iterations == 7
    assert ascent_params(3, Constant(2)).iterations == 1000
    assert ascent_params(AscentParams(iterations=40)).iterations == 40


def test_rates_by_word_number_and_object() -> None:
    assert all(isinstance(ascent_params(number).rate, GrayLevels) for number in (1, 2, 3, 4))
    assert ascent_params(1, 30).rate == Constant(30)
    assert ascent_params(1, Progress(1, 2)).rate == Progress(1, 2)
    own = AscentParams(rate=Constant(7), decay=0.5)
    assert ascent_params(own) == ascent_params(own, "paper") == own
    assert ascent_params(own, value_percentile=2.0, iterations=3) == AscentParams(
        rate=Constant(7), decay=0.5, value_percentile=2.0, iterations=3
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 1}, "decay must be a fraction, at least 0 and less than 1; got 1"),
        ({"blur_width": -1}, "blur_width must be a number of pixels"),
        ({"blur_width": float("nan")}, "blur_width must be a number of pixels"),
        ({"blur_every": 1.5}, "blur_every must be a whole number"),
        ({"norm_percentile": 100}, "norm_percentile must be a percentile"),
        ({"iterations": 0}, "iterations must be a whole number of steps, at least 1"),
        ({"sign": 2}, "sign must be 1"),
        ({"rate": "fast"}, "rate must be 'auto', 'paper', a number"),
    ],
)
def test_a_parameter_out_of_range_is_a_clear_error(
    net: FakeNet, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((SettingsError, UnknownNameError), match=message):
        optimize(net, "unit", 0, **changes)


def test_an_unknown_name_is_an_error_that_names_the_nearest(net: FakeNet) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'blur_width'"):
        optimize(net, "unit", 0, blur_widht=1)
    with pytest.raises(UnknownNameError, match="no preset named '5'; known: 1, 2, 3, 4"):
        optimize(net, "unit", 0, preset=5)
    with pytest.raises(UnknownNameError, match="did you mean 'noise'"):
        optimize(net, "unit", 0, start="nose")


def test_bad_layers_units_and_positions(small: Net) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'conv1'"):
        optimize(small, "conv", 0)
    with pytest.raises(SettingsError, match=r"'fc' has no unit 5; it has 5, numbered 0 to 4"):
        optimize(small, "fc", [0, 5])
    with pytest.raises(SettingsError, match="no unit -1"):
        optimize(small, "fc", -1)
    with pytest.raises(SettingsError, match="position must be 'center', 'all'"):
        optimize(small, "conv1", 0, position="middle")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"\(12, 0\) is not in layer 'conv1'.*12 x 10"):
        optimize(small, "conv1", 0, position=(12, 0))
    with pytest.raises(SettingsError, match=r"'fc', which has no map"):
        optimize(small, "fc", 0, position=(0, 0))
    with pytest.raises(EngineError, match=r"'flat' has shape .* is not the batch axis"):
        optimize(small, "flat", 0)
    with pytest.raises(SettingsError, match="batch_size must be at least 1; got 0"):
        optimize(small, "fc", 0, batch_size=0)
    with pytest.raises(SettingsError, match=r"'130' is out of range: the layer has 5 units"):
        optimize(small, "fc", "130")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="a seed must be a whole number from 0"):
        optimize(small, "fc", 0, seeds=[-1])
    with pytest.raises(SettingsError, match=r"seeds must be .*at least 1.* as \[0\]; got 0"):
        optimize(small, "fc", 0, seeds=0)


# -- results -------------------------------------------------------------------------------------


def test_a_result_says_how_it_came_about(net: FakeNet) -> None:
    run = optimize(net, "unit", 1, seeds=[4], preset=3, iterations=3, position="all")[0]
    assert (run.engine, run.version) == ("fake", deepvis_caffe.__version__)
    record = json.loads(json.dumps(run.record()))
    assert record["objective"] == run.activations.tolist()
    with pytest.warns(DeprecationWarning, match="objective is now called activations"):
        assert run.objective is run.activations
    assert (record["unit"], record["seed"], record["position"]) == (1, 4, "all")
    assert record["params"]["rate"] == {"type": "GrayLevels", "levels": GrayLevels().levels}
    assert record["params"]["blur_width"] == 1.0


def swapped_about_zero(x: np.ndarray) -> np.ndarray:
    return (x[::-1] / np.abs(x).max()).transpose(1, 2, 0)


def test_a_result_shows_itself(net: FakeNet) -> None:
    run = optimize(net, "unit", 1, iterations=3)[0]
    side = -(-192 // max(run.picture().shape[:2]))  # of a pixel: a small picture is no stamp
    blocks = np.kron(run.picture(), np.ones((side, side, 1), np.uint8))
    np.testing.assert_array_equal(read_image(run._repr_png_()), blocks)
    swapped = np.rint(run.image[::-1] + 100).astype(np.uint8).transpose(1, 2, 0)
    np.testing.assert_array_equal(run.picture(), swapped)
    about_zero = np.rint(127.5 + 127.5 * swapped_about_zero(run.image)).astype(np.uint8)
    np.testing.assert_array_equal(run.symmetric_picture(), about_zero)
    assert run._repr_html_().count("data:image/png;base64,") == 2
    assert "unit unit 1, seed 0" in run._repr_html_()
