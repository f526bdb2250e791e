"""Pictures of weights against the formulas by which a weight is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise

import deepvis_caffe as dv
from deepvis_caffe.attribution.pictures import BLUE, RED
from deepvis_caffe.errors import ImageError, SettingsError, UnknownNameError
from deepvis_caffe.figures import weights as weights_module
from deepvis_caffe.figures.weights import enlargement, layer_weights
from deepvis_caffe.model.weight_statistics import weight_statistics

TEXT = net_text(
    conv("first", "data", 5, 2),
    conv("second", "first", 4, 3),
    layer("fc", "InnerProduct", "second", "", "inner_product_param { num_output: 6 }"),
    layer("out", "InnerProduct", "fc", "", "inner_product_param { num_output: 2 }"),
    data=(1, 3, 7, 8),
)


def leveled(shares: np.ndarray) -> np.ndarray:
    """Gray levels of weights in -1..1: 0 is mid-gray."""
    return 127.5 + 127.5 * shares


def colored(share: float) -> np.ndarray:
    """The color of a weight in -1..1: 0 is white."""
    ink = RED if share > 0 else BLUE
    return 255 + abs(share) * (ink - 255.0)


def close(picture: np.ndarray, expected: np.ndarray) -> None:
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture, expected, atol=0.51)  # rounded


@pytest.mark.parametrize("swap", [(2, 1, 0), (0, 1, 2), (1, 2, 0)])
def test_first_filters_are_in_the_image_s_colors(
    engine: str, tmp_path: Path, swap: tuple[int, ...]
) -> None:
    net = load_text(engine, tmp_path, TEXT, channel_swap=swap)
    w = net.model.weights["first"][0]
    found = layer_weights(net, "first")
    assert found.style == "image"
    for unit in range(5):
        rgb = np.stack([w[unit, swap.index(color)] for color in range(3)], axis=-1)
        close(found.picture(unit, zoom=1), leveled(rgb / np.abs(w[unit]).max()))
        close(found.picture(unit, "layer", zoom=1), leveled(rgb / np.abs(w).max()))
    whole = found.picture(zoom=1)  # 2 x 3 places of 2 x 2 weights, with lines between
    assert whole.shape == (5, 8, 3)
    for unit in range(5):
        top, left = 3 * (unit // 3), 3 * (unit % 3)
        part = whole[top : top + 2, left : left + 2]
        np.testing.assert_array_equal(part, found.picture(unit, zoom=1))
    assert (whole[2] == 40).all()
    np.testing.assert_array_equal(dv.layer_weights(net, "first").values, w)


@pytest.mark.parametrize("scale", ["unit", "layer"])
def test_other_units_are_patches_of_their_channels(engine: str, tmp_path: Path, scale: str) -> None:
    net = load_text(engine, tmp_path, TEXT)
    w, found = net.model.weights["second"][0], layer_weights(net, "second")
    assert found.style == "signed"
    largest = np.abs(w[2] if scale == "unit" else w).max()
    signed, gray = (found.picture(2, scale, style, zoom=1) for style in ("signed", "gray"))
    for channel in range(5):
        top, left = 4 * (channel // 3), 4 * (channel % 3)
        place = (slice(top, top + 3), slice(left, left + 3))
        shares = w[2, channel] / largest
        close(gray[place], leveled(shares)[..., np.newaxis].repeat(3, axis=2))
        colors = [[colored(share) for share in row] for row in shares]
        close(signed[place], np.array(colors))


def test_a_layer_has_a_row_for_each_unit_and_a_column_for_each_channel(tmp_path: Path) -> None:
    found = layer_weights(load_text("torch", tmp_path, TEXT), "second")
    whole, some = found.picture(zoom=1), found.picture([3, 1], zoom=1)
    assert whole.shape == (4 * 4 - 1, 5 * 4 - 1, 3)
    patches = found.patches(range(4))
    for unit in range(4):
        for channel in range(5):
            part = whole[4 * unit : 4 * unit + 3, 4 * channel : 4 * channel + 3]
            np.testing.assert_array_equal(part, patches[unit, channel])
    np.testing.assert_array_equal(some[:3], whole[12:15])
    np.testing.assert_array_equal(some[4:], whole[4:7])


def test_inner_products(tmp_path: Path) -> None:
    """Of a map a patch for each channel, in the map's shape; else a row of weights."""
    net = load_text("torch", tmp_path, TEXT)
    rows = net.model.weights["fc"][0].reshape(6, 4, 4, 5)
    picture = layer_weights(net, "fc").picture(1, style="gray", zoom=1)
    assert picture.shape == (9, 11, 3)
    for channel in range(4):
        top, left = 5 * (channel // 2), 6 * (channel % 2)
        expected = leveled(rows[1, channel] / np.abs(rows[1]).max())
        close(picture[top : top + 4, left : left + 5, 0], expected)
    out = net.model.weights["out"][0]
    close(
        layer_weights(net, "out").picture(style="gray", zoom=1)[..., 0],
        leveled(out / np.abs(out).max(axis=1, keepdims=True)),
    )


@pytest.mark.parametrize(("channels", "style"), [(1, "image"), (2, "signed"), (5, "signed")])
def test_inputs_of_another_number_of_channels(tmp_path: Path, channels: int, style: str) -> None:
    net = load_text("torch", tmp_path, net_text(conv("c", "data", 2, 3), data=(1, channels, 8, 8)))
    w, found = net.model.weights["c"][0], layer_weights(net, "c")
    assert found.style == style
    shares = w[1] / np.abs(w[1]).max()
    if channels == 1:
        close(found.picture(1, zoom=1), leveled(shares[0])[..., np.newaxis].repeat(3, axis=2))
        return
    patches = found.patches([1], style="gray")[0]
    close(patches[..., 0], leveled(shares))  # each channel is there
    with pytest.raises(ImageError, match=f"the {channels} channels of layer 'c' are not those of"):
        found.picture(1, style="image")


def test_slices_of_a_kernel_of_three_axes_are_side_by_side(tmp_path: Path) -> None:
    params = "convolution_param { num_output: 2 kernel_size: 2 kernel_size: 3 kernel_size: 4 }"
    text = net_text(layer("c", "Convolution", "data", "", params), data=(1, 3, 2, 3, 4))
    net = load_text("torch", tmp_path, text)
    w, patches = net.model.weights["c"][0], layer_weights(net, "c").patches([0], style="gray")
    largest = np.abs(w[0]).max()
    for channel in range(3):
        for part in range(2):
            place = patches[0, channel, :, 4 * part : 4 * part + 4, 0]
            close(place, leveled(w[0, channel, part] / largest))


def test_a_group_is_drawn_alone(tmp_path: Path) -> None:
    net = load_text(
        "torch", tmp_path, net_text(conv("c", "data", 3, 2, "group: 3"), data=(1, 3, 4, 4))
    )
    w, found = net.model.weights["c"][0], layer_weights(net, "c")
    picture = found.picture(2, style="gray", zoom=1)
    close(picture[..., 0], leveled(w[2, 0] / np.abs(w[2]).max()))
    assert found.picture(zoom=1).shape == (5, 5, 3)  # units of one patch stand in a square


def test_a_weight_is_a_square_of_pixels(tmp_path: Path) -> None:
    found = layer_weights(load_text("torch", tmp_path, TEXT), "first")
    np.testing.assert_array_equal(
        found.picture(0, zoom=5), found.picture(0, zoom=1).repeat(5, axis=0).repeat(5, axis=1)
    )
    assert min(found.picture(0).shape[:2]) >= 384
    assert found.picture([0, 1], zoom=8)[:, 16:18].tolist() == [[[40] * 3] * 2] * 16  # the line
    assert enlargement(1000, 100) == 3
    assert enlargement(2000, 2000) == 1


def test_a_layer_too_large_for_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = layer_weights(load_text("torch", tmp_path, TEXT), "second")
    assert found.count_shown == 4
    monkeypatch.setattr(weights_module, "MOST", 3 * 4 * 4 * 5)  # pixels of three units
    assert found.count_shown == 3
    np.testing.assert_array_equal(found.picture(), found.picture([0, 1, 2]))


def test_weights_of_zeros(tmp_path: Path) -> None:
    weights = {"c": (np.zeros((2, 3, 2, 2), np.float32), np.zeros(2, np.float32))}
    net = load_text(
        "torch", tmp_path, net_text(conv("c", "data", 2, 2), data=(1, 3, 4, 4)), weights
    )
    found = layer_weights(net, "c")
    assert (found.picture(0) == 128).all()
    assert (found.patches([0], style="signed") == 255).all()


def test_statistics_are_numpys() -> None:
    values = noise(7, 3, 2, 2)
    values[0, 0, 0] = 0
    known = weight_statistics(values)
    assert known.mean == pytest.approx(values.mean(), rel=1e-5)
    assert known.std == pytest.approx(values.std(), rel=1e-5)
    assert (known.low, known.high, known.zeros) == (values.min(), values.max(), 2)
    counts, edges = np.histogram(values, 20)
    assert known.counts == tuple(counts)
    np.testing.assert_allclose(known.edges, edges, rtol=1e-5, atol=1e-6)
    assert sum(weight_statistics(np.full(5, 2, np.float32)).counts) == 5


def test_errors_and_a_notebook(tmp_path: Path) -> None:
    found = layer_weights(load_text("torch", tmp_path, TEXT), "first")
    with pytest.raises(SettingsError, match="layer 'first' has no unit 5; it has 5"):
        found.picture(5)
    with pytest.raises(UnknownNameError, match="no scale named 'units'; did you mean 'unit'"):
        found.picture(0, "units")
    with pytest.raises(UnknownNameError, match="no style named 'grey'"):
        found.picture(0, style="grey")
    assert found.statistics(3) == weight_statistics(found.values[3])
    assert found._repr_png_().startswith(b"\x89PNG")
    np.testing.assert_array_equal(
        dv.read_image(found.save(tmp_path / "a.png", 2)), found.picture(2)
    )
