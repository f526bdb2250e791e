"""How far layers move, worked out by hand for a small net, on both engines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, relu

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, SettingsError
from deepvis_caffe.experiments.sensitivity import (
    Pair,
    Spread,
    frame_pairs,
    layers_spread,
    measure_sensitivity,
    noisy_pairs,
    sensitivity_layers,
)
from deepvis_caffe.image import write_image

LAYERS = ("map", "fc")


def small(engine: str, folder: Path, **options: float) -> Net:
    """Gray pictures of 2 x 2: unit 0 has their pixels, unit 1 what is over 20, unit 2 nothing."""
    scale = 255 / options.get("raw_scale", 255) / options.get("input_scale", 1)
    text = net_text(
        conv("map", "data", 3),
        relu("relu", "map"),
        layer("fc", "InnerProduct", "map", "", "inner_product_param { num_output: 2 }"),
        data=(1, 3, 2, 2),
    )
    pixels = np.zeros((3, 3, 1, 1))
    pixels[:2, 0] = scale
    sums = np.zeros((2, 12))
    sums[0, :4] = 1  # of unit 0's map
    weights = arrays(map=(pixels, [0, -20, 0]), fc=(sums, [0, 7]))
    return load_text(engine, folder, text, weights, mean=0, **options)


def write_pictures(folder: Path, *pictures: list[list[int]]) -> Path:
    for number, one in enumerate(pictures):
        gray = np.repeat(np.asarray(one, np.uint8)[..., None], 3, axis=2)
        write_image(folder / f"{number}.png", gray)
    return folder


@pytest.mark.parametrize("options", [{}, {"raw_scale": 1.0}, {"input_scale": 0.017}])
def test_two_frames_by_hand(engine: str, tmp_path: Path, options: dict[str, float]) -> None:
    net = small(engine, tmp_path, **options)
    source = open_source(write_pictures(tmp_path / "v", [[10, 10], [10, 10]], [[30, 30], [10, 10]]))
    spread = layers_spread(net, source, LAYERS)
    # Unit 0: six of eight values are 10 and two are 30, so their mean is 15.
    # Unit 1: six are 0 and two are 10.  fc's unit 0: 40 and 80; its unit 1 is always 7.
    zero, one, total = math.sqrt((6 * 5**2 + 2 * 15**2) / 8), math.sqrt(100 / 4 - 2.5**2), 20
    np.testing.assert_allclose(spread.layers["map"], [zero, one, 0], rtol=1e-5)
    np.testing.assert_allclose(spread.layers["fc"], [total, 0], rtol=1e-5)
    maps, fc = measure_sensitivity(net, frame_pairs(net, source), spread)
    # Two of four positions move: by 20 in unit 0, and by 10 in unit 1.
    np.testing.assert_allclose(maps.pairs, [(10 / zero + 5 / one) / 2], rtol=1e-5)
    np.testing.assert_allclose(fc.pairs, [40 / total], rtol=1e-5)
    assert (maps.layer, maps.type, maps.units, maps.constant) == ("map", "Convolution", 3, 1)
    assert (fc.layer, fc.type, fc.units, fc.constant) == ("fc", "InnerProduct", 2, 1)


def test_batches_do_not_matter_and_spread_may_be_of_other_images(
    engine: str, tmp_path: Path
) -> None:
    net, levels = small(engine, tmp_path), (10, 50, 30, 60, 20)
    frames = write_pictures(tmp_path / "v", *([[k, k], [k, k]] for k in levels))
    others = write_pictures(tmp_path / "o", [[0, 0], [0, 0]], [[200, 200], [200, 200]])
    source = open_source(frames)
    spread = layers_spread(net, open_source(others), LAYERS)
    # Unit 0 is 0 or 200 there, unit 1 is 0 or 180: their spread is half of that.
    steps = np.abs(np.diff(levels))
    over = np.abs(np.diff(np.maximum(np.array(levels) - 20, 0)))
    for size in (1, 3, None):
        maps, fc = measure_sensitivity(net, frame_pairs(net, source), spread, size)
        np.testing.assert_allclose(maps.pairs, (steps / 100 + over / 90) / 2, rtol=1e-5)
        np.testing.assert_allclose(fc.pairs, steps / 100, rtol=1e-5)
        assert maps.mean == pytest.approx(((steps / 100 + over / 90) / 2).mean())


def test_frames_beside_one_that_is_damaged_are_no_pair(tmp_path: Path) -> None:
    net = small("torch", tmp_path)
    folder = write_pictures(tmp_path / "v", *([[k, k], [k, k]] for k in (10, 20, 30, 40, 50)))
    (folder / "2.png").write_bytes(b"no")
    names = [pair.name for pair in frame_pairs(net, open_source(folder))]
    assert names == ["0.png to 1.png", "3.png to 4.png"]


@pytest.mark.parametrize("options", [{}, {"raw_scale": 1.0, "input_scale": 0.5}])
def test_noise_is_as_large_as_asked_for_and_stays_in_the_range(
    tmp_path: Path, options: dict[str, float]
) -> None:
    net = small("torch", tmp_path, **options)
    levels = ([[128, 128], [128, 128]], [[0, 0], [255, 255]])
    source = open_source(write_pictures(tmp_path / "v", *levels))

    def draw() -> list[Pair]:
        return list(noisy_pairs(net, source, 6.0, np.random.default_rng(5), repeats=400))

    pairs = draw()
    scale = net.preprocessor.pixel_scale
    gray = np.stack([(pair.changed - pair.x) / scale for pair in pairs[:400]])
    # 4800 draws: a standard deviation is known to 1 %, a mean to 0.1.
    assert gray.std() == pytest.approx(6, rel=0.04)
    assert abs(gray.mean()) < 0.35
    assert len({pair.changed.tobytes() for pair in pairs}) == 800
    edge = np.stack([(pair.changed - pair.x) / scale for pair in pairs[400:]])
    assert edge[:, :, 0].min() == 0
    assert edge[:, :, 1].max() == 0
    assert (edge == 0).mean() == pytest.approx(0.5, abs=0.03)
    assert pairs[0].name == "0.png, noise 1"
    assert all(
        a.changed.tobytes() == b.changed.tobytes() for a, b in zip(pairs, draw(), strict=True)
    )


def test_noise_moves_a_linear_unit_by_its_mean_size(tmp_path: Path) -> None:
    net = small("torch", tmp_path)
    source = open_source(write_pictures(tmp_path / "v", [[128, 128], [128, 128]]))
    spread = Spread(1, {"map": np.array([50.0, 0, 0])})
    pairs = noisy_pairs(net, source, 6.0, np.random.default_rng(5), repeats=500)
    (maps,) = measure_sensitivity(net, pairs, spread)
    assert len(maps.pairs) == 500
    # The mean of |N(0, 1)| is sqrt(2 / pi).
    assert maps.mean == pytest.approx(6 * math.sqrt(2 / math.pi) / 50, rel=0.05)


def test_layers_without_any_spread_have_no_movement(tmp_path: Path) -> None:
    net = small("torch", tmp_path)
    source = open_source(write_pictures(tmp_path / "v", [[128, 128], [128, 128]]))
    spread = layers_spread(net, source, LAYERS)
    rng = np.random.default_rng(0)
    _, fc = measure_sensitivity(net, noisy_pairs(net, source, 4.0, rng), spread)
    assert fc.constant == fc.units == 2
    assert np.isnan(fc.pairs).all()


def test_the_layers_are_those_with_weights_and_the_outputs(tmp_path: Path) -> None:
    text = net_text(
        conv("map", "data", 3),
        relu("relu", "map"),
        layer("fc", "InnerProduct", "map", "", "inner_product_param { num_output: 2 }"),
        layer("prob", "Softmax", "fc"),
        data=(1, 3, 2, 2),
    )
    assert sensitivity_layers(load_text("torch", tmp_path, text)) == ("map", "fc", "prob")
    assert sensitivity_layers(small("torch", tmp_path)) == LAYERS


def test_mistakes_give_clear_errors(tmp_path: Path) -> None:
    net = small("torch", tmp_path)
    source = open_source(write_pictures(tmp_path / "v", [[1, 2], [3, 4]]))
    spread = layers_spread(net, source, LAYERS)
    with pytest.raises(ImageError, match="two frames of a video"):
        measure_sensitivity(net, frame_pairs(net, source), spread)
    with pytest.raises(SettingsError, match="gray levels above 0, got 0"):
        list(noisy_pairs(net, source, 0, np.random.default_rng(0)))
    far = np.full((3, 2, 2), 1e38, np.float32)  # four of them are more than a float holds
    with pytest.raises(ImageError, match="layer 'map' is not finite for far"):
        measure_sensitivity(net, [Pair("far", 0 * far, far)], spread)
