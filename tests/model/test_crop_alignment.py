"""Crops without an offset. Oracle: where the gradient of the cropped map lies on the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise

from deepvis_caffe.engines.base import Net

UP = "convolution_param { num_output: 1 kernel_size: %d stride: %d bias_term: false }"

# As FCN begins and HED ends: padded far out, down by 4, up again, and cropped to the image.
FCN = [
    conv("conv", "data", 2, 3, "pad: 10"),
    layer("pool", "Pooling", "conv", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"),
    layer("norm", "LRN", "pool"),
    layer("pool2", "Pooling", "norm", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"),
    conv("score", "pool2", 1, 1),
    layer("up", "Deconvolution", "score", "", UP % (8, 4)),
    layer("crop", "Crop", "up data", "cropped"),
]


def offset(net: Net, name: str = "crop") -> list[int]:
    return list(net.model.graph.layer(name).param.crop_param.offset)


def center_of_sight(net: Net, blob: str, where: tuple[int, int]) -> tuple[float, float]:
    """The middle of the pixels that a position sees, rows and columns."""
    shape = net.shapes[net.model.graph.blobs[blob]]
    diff = np.zeros(shape, np.float32)
    diff[:, :, where[0], where[1]] = 1
    seen = net.backward(blob, diff)["data"].any(axis=(0, 1))
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2


def test_fcn_is_aligned_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Position i of ... lies at pixel ...
    #   conv    i + 1 - 10 = i - 9
    #   pool    2 i + 0.5 of conv        = 2 i - 8.5
    #   pool2   2 i + 0.5 of pool        = 4 i - 7.5
    #   up      (i - 3.5) / 4 of score   = i - 11
    # so the pixel 0 lies at position 11.
    net = load_text("torch", tmp_path, net_text(*FCN, data=(1, 1, 30, 26)))
    assert offset(net) == [11, 11]
    assert "layer 'crop' (Crop) has no offset; (11, 11) is used" in caplog.text
    net.forward(noise(1, 1, 30, 26))
    # A position of up sees a grid of 4 pixels, so it lies a little off; on average not at all.
    off = [
        np.subtract(center_of_sight(net, "cropped", (row, column)), (row, column))
        for row in range(12, 16)
        for column in range(10, 14)
    ]
    assert np.abs(np.mean(off, axis=0)).max() < 0.5


def vgg(pad: int, blocks: str) -> list[str]:
    """VGG's convolutions and poolings with one channel, the first padded by `pad`."""
    layers, bottom = [], "data"
    for block, count in enumerate(blocks, 1):
        for index in range(int(count)):
            name = f"conv{block}_{index + 1}"
            layers.append(conv(name, bottom, 1, 3, f"pad: {pad if bottom == 'data' else 1}"))
            bottom = name
        pool = "pooling_param { kernel_size: 2 stride: 2 }"
        layers.append(layer(f"pool{block}", "Pooling", bottom, "", pool))
        bottom = f"pool{block}"
    return layers


def test_the_offsets_that_fcns_authors_wrote_down_later(tmp_path: Path) -> None:
    """Long et al. 2015: voc-fcn8s crops from 5, 9 and 31 in its later, stock form."""
    layers = [
        *vgg(100, "22333"),
        conv("fc6", "pool5", 1, 7),
        layer("up2", "Deconvolution", "fc6", "", UP % (4, 2)),
        conv("score4", "pool4", 1, 1),
        layer("crop4", "Crop", "score4 up2"),
        layer("fuse4", "Eltwise", "up2 crop4"),
        layer("up4", "Deconvolution", "fuse4", "", UP % (4, 2)),
        conv("score3", "pool3", 1, 1),
        layer("crop3", "Crop", "score3 up4"),
        layer("fuse3", "Eltwise", "up4 crop3"),
        layer("up8", "Deconvolution", "fuse3", "", UP % (16, 8)),
        layer("crop", "Crop", "up8 data"),
    ]
    net = load_text("torch", tmp_path, net_text(*layers, data=(1, 1, 64, 48)))
    found = [offset(net, name) for name in ("crop4", "crop3", "crop")]
    assert found == [[5] * 2, [9] * 2, [31] * 2]


def test_the_offsets_of_hed(tmp_path: Path) -> None:
    """Xie and Tu 2015, whose side outputs others crop from 34, 35, 36, 38 and 42."""
    layers = vgg(35, "22333")[:-1]
    layers += [layer("crop1", "Crop", "conv1_2 data")]
    for side, name in enumerate(["conv2_2", "conv3_3", "conv4_3", "conv5_3"], 2):
        up = UP % (2**side, 2 ** (side - 1))
        layers.append(layer(f"up{side}", "Deconvolution", name, "", up))
        layers.append(layer(f"crop{side}", "Crop", f"up{side} data"))
    net = load_text("torch", tmp_path, net_text(*layers, data=(1, 1, 40, 50)))
    found = [offset(net, f"crop{side}") for side in range(1, 6)]
    assert found == [[34] * 2, [35] * 2, [36] * 2, [38] * 2, [42] * 2]


def test_rows_and_columns_have_offsets_of_their_own(engine: str, tmp_path: Path) -> None:
    """A convolution with 2 rows of padding and 1 column, cropped to the image as it came."""
    padded = "convolution_param { num_output: 1 kernel_size: 1 pad_h: 2 pad_w: 1 }"
    layers = [
        layer("wide", "Convolution", "data", "", padded),
        layer("crop", "Crop", "wide data"),
    ]
    weights = {"wide": (np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32))}
    net = load_text(engine, tmp_path, net_text(*layers, data=(1, 1, 4, 5)), weights)
    assert offset(net) == [2, 1]
    x = noise(1, 1, 4, 5)
    np.testing.assert_array_equal(net.forward(x)["crop"], x)


def test_a_crop_of_a_crop(tmp_path: Path) -> None:
    """HED and FCN-8s crop one after the other: the first offset counts in the second."""
    padded = "convolution_param { num_output: 1 kernel_size: 1 pad: %d }"
    layers = [
        layer("wide", "Convolution", "data", "", padded % 3),
        layer("less", "Convolution", "data", "", padded % 2),
        layer("crop1", "Crop", "wide less"),
        layer("sum", "Eltwise", "crop1 less"),
        layer("crop", "Crop", "sum data"),
    ]
    net = load_text("torch", tmp_path, net_text(*layers, data=(1, 1, 9, 9)))
    assert (offset(net, "crop1"), offset(net)) == ([1, 1], [2, 2])


WIDE = conv("wide", "data", 1, 1, "pad: 2")


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([WIDE, layer("crop", "Crop", "wide data", "", "crop_param { axis: 2 }")], "stock's"),
        ([conv("a", "data", 1, 1), layer("crop", "Crop", "a data")], "lies at 0 anyway"),
        (
            [conv("half", "data", 1, 2), WIDE, layer("crop", "Crop", "wide half")],
            "2.5: no whole number",
        ),
        (
            [conv("small", "data", 1, 1, "stride: 2"), WIDE, layer("crop", "Crop", "wide small")],
            "of two scales",
        ),
        ([conv("a", "data", 1, 3), layer("crop", "Crop", "data2 a")], "of two images"),
        (
            [
                layer("up", "Interp", "data", "", "interp_param { zoom_factor: 2 }"),
                layer("crop", "Crop", "up data"),
            ],
            "no such geometry",
        ),
    ],
)
def test_what_gives_no_offset_is_stock_caffes(layers: list[str], why: str, tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, net_text(*layers, data=(1, 1, 9, 9), data2=(1, 1, 9, 9)))
    assert offset(net) == [], why


def test_an_offset_that_does_not_fit_is_not_taken(tmp_path: Path) -> None:
    # Of 12 rows the stride takes 0, 4 and 8; the 13 of the deconvolution lie from -2 to 10. Cropped
    # from 2 there would be 11, and 12 are asked for.
    down = conv("down", "data", 1, 1, "stride: 4")
    layers = [down, layer("up", "Deconvolution", "down", "", UP % (5, 4))]
    text = net_text(*layers, layer("crop", "Crop", "up data"), data=(1, 1, 12, 12))
    assert offset(load_text("torch", tmp_path, text)) == []
    assert offset(load_text("torch", tmp_path, text.replace("12", "11"))) == [2, 2]
