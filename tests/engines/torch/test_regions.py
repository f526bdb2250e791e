"""Pooling of regions against slow loops over the forks' definitions; diffs by differences."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text, noise
from helpers.torch_layers import (
    assert_computes,
    built,
    check_gradient,
    distinct,
    gradients,
    refused,
    run,
)

from deepvis_caffe.dataset.image_files import Files
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import write_image
from deepvis_caffe.optimizer.run import optimize

f32 = np.float32

# Of two maps of 6 x 7 positions, 8 pixels apart: inside, the whole image, one position, beyond the
# edges, outside, with corners swapped, with halves that rounding decides, and swapped in one axis.
REGIONS = np.array(
    [
        [0, 8, 9, 31, 30],
        [1, 0, 0, 55, 47],
        [1, 20, 20, 20, 20],
        [0, -30, -12, 60, 70],
        [0, 80, 80, 90, 90],
        [1, 40, 30, 10, 5],
        [1, 4, 12, 20, 36],
        [0, -4, -12, 28, 20],
        [1, 40, 8, 16, 40],
    ],
    float,
)
MAPS = distinct(2, 3, 6, 7)


def c_round(x):
    """To the nearest integer, halves away from zero."""
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def clamp(x, low, high):
    return min(max(x, low), high)


# -- ROIPooling ----------------------------------------------------------------------------------


def bins(start, end, parts, limit):
    """First and last + 1 position of each part of start..end, ends included."""
    size = f32(max(end - start + 1, 1)) / f32(parts)
    for part in range(parts):
        first, last = math.floor(f32(part) * size), math.ceil(f32(part + 1) * size)
        yield clamp(first + start, 0, limit), clamp(last + start, 0, limit)


def slow_roi_pooling(maps, regions, high, wide, scale, pad=0.0):
    """The loops of Fast R-CNN's layer, with MS-CNN's padding."""
    _, channels, height, width = maps.shape
    top = np.zeros((len(regions), channels, high, wide))
    for r, region in enumerate(regions):
        image = int(region[0])
        x1, y1, x2, y2 = map(f32, region[1:])
        pad_x, pad_y = (x2 - x1 + 1) * f32(pad), (y2 - y1 + 1) * f32(pad)
        left, above = c_round((x1 - pad_x) * f32(scale)), c_round((y1 - pad_y) * f32(scale))
        right, below = c_round((x2 + pad_x) * f32(scale)), c_round((y2 + pad_y) * f32(scale))
        for c in range(channels):
            for i, (top_row, end_row) in enumerate(bins(above, below, high, height)):
                for j, (first, end) in enumerate(bins(left, right, wide, width)):
                    part = maps[image, c, top_row:end_row, first:end]
                    top[r, c, i, j] = part.max() if part.size else 0
    return top


def roi_pooling(high, wide, scale, pad=0.0):
    params = f"pooled_h: {high} pooled_w: {wide} spatial_scale: {scale} pad_ratio: {pad}"
    return built("ROIPooling", f"roi_pooling_param {{ {params} }}", bottoms=2)


@pytest.mark.slow
@pytest.mark.parametrize("pad", [0, 0.25])
@pytest.mark.parametrize(("high", "wide", "scale"), [(2, 3, 0.125), (7, 7, 0.125), (1, 2, 0.0625)])
def test_roi_pooling(high, wide, scale, pad):
    function = roi_pooling(high, wide, scale, pad)
    expected = slow_roi_pooling(MAPS, REGIONS, high, wide, scale, pad)
    np.testing.assert_array_equal(run(function, MAPS, REGIONS), expected)
    np.testing.assert_array_equal(run(function, MAPS, REGIONS[:, :, None, None]), expected)
    check_gradient(function, MAPS, REGIONS, only=[0])


def test_roi_pooling_by_hand():
    #  1  2  3  4      The region 1..2 x 0..2 (pixels 2..4 and 0..4 at half the scale, ends
    #  5  6  7  8      included) has 3 rows and 2 columns. In 2 x 2 parts: rows 0..1 and 1..2,
    #  9 10 11 12      which overlap, and columns 1 and 2.
    maps = np.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    top = run(roi_pooling(2, 2, 0.5), maps, np.array([[0, 2, 0, 4, 4.0]]))
    assert top.tolist() == [[[[6, 7], [10, 11]]]]


def test_of_equal_values_in_a_region_the_first_takes_the_diff():
    """Row by row, as Caffe looks for a value that is greater."""
    dy = np.ones((1, 1, 1, 1))
    dx, _ = gradients(roi_pooling(1, 1, 1), dy, np.zeros((1, 1, 3, 3)), np.array([[0, 1, 1, 2, 2]]))
    assert np.argwhere(dx).tolist() == [[0, 0, 1, 1]]


def test_the_size_of_a_part_is_rounded_to_float32():
    """57 positions in 7 parts: 7 * (57 / 7) is more than 57 in float32, so the last ends at 58."""
    maps = np.zeros((1, 1, 64, 1))
    maps[0, 0, 57] = 1
    top = run(roi_pooling(7, 1, 1), maps, np.array([[0, 0, 0, 0, 56.0]]))
    assert top[0, 0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_maps_in_the_memory_format_of_convolutions():
    x = torch.tensor(MAPS).contiguous(memory_format=torch.channels_last)
    top = roi_pooling(2, 3, 0.125)(x, torch.tensor(REGIONS))
    np.testing.assert_array_equal(top, slow_roi_pooling(MAPS, REGIONS, 2, 3, 0.125))


@pytest.mark.parametrize("kind", ["ROIPooling", "ROIAlign"])
def test_no_regions_give_no_rows(kind):
    function = built(kind, "roi_pooling_param { pooled_h: 2 pooled_w: 2 }", bottoms=2)
    assert run(function, MAPS, np.zeros((0, 5))).shape[:2] == (0, 3)


def test_a_region_of_an_image_that_is_not_there_is_named(tmp_path):
    params = "roi_pooling_param { pooled_h: 2 pooled_w: 2 }"
    text = net_text(layer("pool", "ROIPooling", "x rois", "", params), x=(1, 2, 4, 4), rois=(2, 5))
    net = load_text("torch", tmp_path, text)
    rois = np.array([[0, 0, 0, 3, 3], [3, 0, 0, 3, 3]], np.float32)
    with pytest.raises(
        EngineError, match=r"'pool' .* region 1 refers to image 3, but the batch has"
    ):
        net.forward({"x": noise(1, 2, 4, 4), "rois": rois})


# -- interpolated values -------------------------------------------------------------------------


def bilinear(plane, y, x):
    """At a place of a map; 0 more than half a position outside."""
    height, width = plane.shape
    if y < -0.5 or y > height - 0.5 or x < -0.5 or x > width - 0.5:
        return 0.0
    y, x = clamp(y, 0, height - 1), clamp(x, 0, width - 1)
    i, j = int(y), int(x)
    below, right = min(i + 1, height - 1), min(j + 1, width - 1)
    upper = plane[i, j] * (1 - (x - j)) + plane[i, right] * (x - j)
    lower = plane[below, j] * (1 - (x - j)) + plane[below, right] * (x - j)
    return upper * (1 - (y - i)) + lower * (y - i)


def slow_roi_align(maps, regions, high, wide, scale, pad=0.0):
    """The loops of MS-CNN's layer."""
    channels = maps.shape[1]
    top = np.zeros((len(regions), channels, high + 1, wide + 1))
    for r, (image, x1, y1, x2, y2) in enumerate(regions):
        pad_x, pad_y = (x2 - x1 + 1) * pad, (y2 - y1 + 1) * pad
        left, above = (x1 - pad_x) * scale - 0.5, (y1 - pad_y) * scale - 0.5
        right, below = (x2 + pad_x) * scale - 0.5, (y2 + pad_y) * scale - 0.5
        if right <= left or below <= above:
            continue
        for c, i, j in np.ndindex(channels, high + 1, wide + 1):
            y, x = above + i * (below - above) / high, left + j * (right - left) / wide
            top[r, c, i, j] = bilinear(maps[int(image), c], y, x)
    return top


@pytest.mark.parametrize("pad", [0, 0.25])
def test_roi_align(pad):
    params = f"pooled_h: 3 pooled_w: 2 spatial_scale: 0.125 pad_ratio: {pad}"
    function = built("ROIAlign", f"roi_pooling_param {{ {params} }}", bottoms=2)
    expected = slow_roi_align(MAPS, REGIONS, 3, 2, 0.125, pad)
    np.testing.assert_allclose(run(function, MAPS, REGIONS), expected, rtol=1e-5, atol=1e-6)
    check_gradient(function, MAPS, REGIONS, only=[0])


def slow_roi_warping(maps, regions, high, wide, scale):
    """The loops of MNC's layer."""
    channels = maps.shape[1]
    top = np.zeros((len(regions), channels, high, wide))
    for r, region in enumerate(regions):
        left, above, right, below = (c_round(c * scale) for c in region[1:])
        tall, long = max(below - above, 0) / high, max(right - left, 0) / wide
        for c, i, j in np.ndindex(channels, high, wide):
            plane = maps[int(region[0]), c]
            top[r, c, i, j] = bilinear(plane, above + i * tall, left + j * long)
    return top


def test_roi_warping():
    params = "roi_warping_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.125 }"
    function = built("ROIWarping", params, bottoms=2)
    expected = slow_roi_warping(MAPS, REGIONS, 3, 4, 0.125)
    np.testing.assert_allclose(run(function, MAPS, REGIONS), expected, rtol=1e-5, atol=1e-6)
    check_gradient(function, MAPS, REGIONS, only=[0])


# -- position-sensitive --------------------------------------------------------------------------

SENSITIVE = distinct(2, 2 * 9, 6, 7)


def slow_psroi(maps, regions, outputs, parts, scale, pooled):
    """The loops of R-FCN; `pooled(plane, i, j, first, size)` is what one part gives."""
    top = np.zeros((len(regions), outputs, parts, parts))
    for r, region in enumerate(regions):
        for d, i, j in np.ndindex(outputs, parts, parts):
            plane = maps[int(region[0]), (d * parts + i) * parts + j]
            top[r, d, i, j] = pooled(plane, i, j, region[1:], scale)
    return top


def part_mean(plane, i, j, corners, scale):
    """The mean over part (i, j) of 3 x 3, from the position below to that above."""
    x1, y1, x2, y2 = (f32(c_round(c)) for c in corners)
    edges = []
    for part, start, end, limit in ((i, y1, y2, plane.shape[0]), (j, x1, x2, plane.shape[1])):
        start, end = start * f32(scale), (end + 1) * f32(scale)
        size = max(end - start, f32(0.1)) / f32(3)
        edges.append(clamp(math.floor(f32(part) * size + start), 0, limit))
        edges.append(clamp(math.ceil(f32(part + 1) * size + start), 0, limit))
    values = plane[edges[0] : edges[1], edges[2] : edges[3]]
    return values.mean() if values.size else 0


def part_samples(plane, i, j, corners, scale):
    """The mean of 2 x 2 interpolated values in part (i, j) of 3 x 3."""
    x1, y1, x2, y2 = corners
    places = []
    for part, start, end, limit in ((i, y1, y2, plane.shape[0]), (j, x1, x2, plane.shape[1])):
        start, end = start * scale, (end + 1) * scale
        size = max(end - start, 0.1) / 3
        first, last = (clamp((part + k) * size + start, 0, limit - 1) for k in (0, 1))
        along = [first + k * size / 3 for k in (1, 2)]
        places.append([place for place in along if place < last])
    return sum(bilinear(plane, y, x) for y in places[0] for x in places[1]) / 4


@pytest.mark.slow
def test_psroi_pooling():
    params = "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.125 }"
    function = built("PSROIPooling", params, bottoms=2)
    expected = slow_psroi(SENSITIVE, REGIONS, 2, 3, 0.125, part_mean)
    np.testing.assert_allclose(run(function, SENSITIVE, REGIONS), expected, rtol=1e-6, atol=1e-7)
    check_gradient(function, SENSITIVE, REGIONS, only=[0])


@pytest.mark.slow
def test_psroi_align():
    params = "psroi_align_param { output_dim: 2 group_size: 3 spatial_scale: 0.125 }"
    function = built("PSROIAlign", params, bottoms=2)
    expected = slow_psroi(SENSITIVE, REGIONS, 2, 3, 0.125, part_samples)
    np.testing.assert_allclose(run(function, SENSITIVE, REGIONS), expected, rtol=1e-4, atol=1e-6)
    check_gradient(function, SENSITIVE, REGIONS, only=[0])


def slow_deformable(maps, regions, moves, scale, outputs, parts, size, samples, std):
    """The loops of makefile/frcnn's layer; `moves` (R, 2 * classes, size, size) or None."""
    top = np.zeros((len(regions), outputs, parts, parts))
    height, width = maps.shape[2:]
    each = outputs // (moves.shape[1] // 2) if moves is not None else outputs
    for r, d, i, j in np.ndindex(top.shape):
        left, above = (c_round(c) * scale - 0.5 for c in regions[r, 1:3])
        long = max((c_round(regions[r, 3]) + 1) * scale - 0.5 - left, 0.1)
        tall = max((c_round(regions[r, 4]) + 1) * scale - 0.5 - above, 0.1)
        x, y = left + j * long / parts, above + i * tall / parts
        if moves is not None:
            at = [math.floor(f32(n) / f32(parts) * f32(size)) for n in (i, j)]
            across, down = moves[r, d // each * 2 : d // each * 2 + 2, at[0], at[1]]
            x, y = x + across * std * long, y + down * std * tall
        found = []
        for row, column in np.ndindex(samples, samples):
            v = y + row * tall / parts / samples
            u = x + column * long / parts / samples
            if -0.5 <= u <= width - 0.5 and -0.5 <= v <= height - 0.5:
                plane = maps[int(regions[r, 0]), (d * parts + i) * parts + j]
                found.append(bilinear(plane, clamp(v, 0, height - 1), clamp(u, 0, width - 1)))
        top[r, d, i, j] = np.mean(found) if found else 0
    return top


# Without those whose parts begin at a bend of the interpolation.
PLACED = REGIONS[[0, 3, 4, 6, 8]] + np.array([0, 1, 2, 1, 3])


@pytest.mark.parametrize(("classes", "size"), [(0, 0), (1, 3), (2, 2)])
def test_deformable_psroi_pooling(classes, size):
    """Without offsets, with some for every part, and with fewer for each of two classes."""
    maps = distinct(2, 4 * 9, 6, 7)
    moves = 2 * distinct(len(PLACED), 2 * classes, size, size) if classes else None
    params = "output_dim: 4 group_size: 3 spatial_scale: 0.125 sample_per_part: 2 "
    params += f"part_size: {size} trans_std: 0.25" if classes else "no_trans: true"
    bottoms = [maps, PLACED] + ([moves] if classes else [])
    function = built(
        "DeformablePSROIPooling",
        f"deformable_psroi_pooling_param {{ {params} }}",
        bottoms=len(bottoms),
    )
    expected = slow_deformable(maps, PLACED, moves, 0.125, 4, 3, size, 2, 0.25)
    assert np.count_nonzero(expected) > 40
    np.testing.assert_allclose(run(function, *bottoms), expected, rtol=1e-6, atol=1e-9)
    alone = PLACED * np.array([0, 1, 1, 1, 1])  # of one small map, for time
    few = [maps[:1, :, :3, :3], alone, *bottoms[2:]]
    check_gradient(function, *few, only=[0, 2] if classes else [0])


# -- masks of regions (MNC) ----------------------------------------------------------------------


def test_mask_pooling():
    maps, masks = distinct(2, 3, 2, 4), distinct(2, 1, 2, 4, seed=1)
    assert_computes(built("MaskPooling", bottoms=2), maps * masks, maps, masks)
    flat = masks.reshape(2, 8)
    assert_computes(built("MaskPooling", bottoms=2), maps * masks, maps, flat)


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ("output_height: 3 output_width: 2", (3, 2)),
        ("output_height: 9 output_width: 4", (9, 4)),  # the last two rows are beyond the map
        ("output_height: 1 output_width: 1 factor_height: 0.5 factor_width: 1.3", (2, 5)),
    ],
)
def test_mask_resize(params, size):
    x = distinct(2, 2, 4, 4)
    expected = np.zeros((2, 2, *size))
    for n, c, i, j in np.ndindex(expected.shape):
        v, u = (f32(k) * (f32(4) / f32(new)) for k, new in zip((i, j), size, strict=True))
        if v <= 3.5 and u <= 3.5:
            expected[n, c, i, j] = bilinear(x[n, c], min(v, 3), min(u, 3))
    function = built("MaskResize", f"mask_resize_param {{ {params} }}")
    np.testing.assert_allclose(run(function, x), expected, rtol=1e-5, atol=1e-6)
    check_gradient(function, x)


@pytest.mark.parametrize(
    ("kind", "params", "shapes", "message"),
    [
        ("MaskPooling", "", [(2, 3, 4, 4), (2, 1, 4, 3)], "needs a mask of (4, 4)"),
        ("MaskResize", "", [(2, 3, 4, 4)], "must be positive"),
        (
            "DeformablePSROIPooling",
            "output_dim: 2 group_size: 2 spatial_scale: 1",
            [(1, 8, 4, 4), (3, 5)],
            "needs a third bottom",
        ),
        (
            "DeformablePSROIPooling",
            "output_dim: 2 group_size: 2 spatial_scale: 1 part_size: 2",
            [(1, 8, 4, 4), (3, 5), (3, 2, 3, 3)],
            "2 x 2 parts (part_size) of every region",
        ),
        (
            "DeformablePSROIPooling",
            "output_dim: 2 group_size: 2 spatial_scale: 1 pooled_size: 7 no_trans: true",
            [(1, 8, 4, 4), (3, 5)],
            "a pooled_size 7 other than its group_size 2",
        ),
    ],
)
def test_what_makes_no_sense(kind, params, shapes, message):
    if kind == "DeformablePSROIPooling":
        params = f"deformable_psroi_pooling_param {{ {params} }}"
    assert message in refused(kind, params, *shapes)


def test_each_part_has_a_map_of_its_own():
    #  Four maps of one output, constant 1, 2, 3, 4: the top is laid out as they are.
    maps = np.arange(1.0, 5.0).reshape(1, 4, 1, 1) * np.ones((1, 4, 4, 4))
    params = "psroi_pooling_param { output_dim: 1 group_size: 2 spatial_scale: 1 }"
    top = run(built("PSROIPooling", params, bottoms=2), maps, np.array([[0, 0, 0, 3, 3.0]]))
    np.testing.assert_allclose(top, [[[[1, 2], [3, 4]]]])


# -- a net whose regions are an input, as Fast R-CNN's -------------------------------------------

FAST = net_text(
    conv("conv", "data", 3, 2, "stride: 2"),
    layer(
        "pool",
        "ROIPooling",
        "conv rois",
        "",
        "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }",
    ),
    layer("fc", "InnerProduct", "pool", "", "inner_product_param { num_output: 2 }"),
    layer("size", "InnerProduct", "other", "", "inner_product_param { num_output: 1 }"),
    data=(1, 3, 8, 12),
    rois=(4, 5),
    other=(1, 2),
)


@pytest.fixture
def fast(tmp_path: Path) -> Net:
    return load_text("torch", tmp_path, FAST)


def whole(net: Net, x: np.ndarray) -> np.ndarray:
    """fc of whole images, one by one; the region is written by hand."""
    rows = [
        net.forward(
            {
                "data": image[None],
                "rois": np.array([[0, 0, 0, 11, 7]]),
                "other": np.zeros((1, 2)),
            },
            ["fc"],
        )
        for image in x
    ]
    return np.concatenate([row["fc"] for row in rows])


def test_a_region_that_is_an_input_is_the_whole_image(fast: Net) -> None:
    x = noise(2, 3, 8, 12)
    others = fast.other_inputs(x)
    assert others["rois"].tolist() == [[0, 0, 0, 11, 7], [1, 0, 0, 11, 7]]
    assert others["other"].tolist() == [[0, 0], [0, 0]]
    value = fast.evaluate(fast.ops.asarray(x), "fc")
    np.testing.assert_allclose(fast.ops.numpy(value), whole(fast, x), rtol=1e-5, atol=1e-6)


def test_an_ascent_and_a_scan_see_whole_images(fast: Net, tmp_path: Path) -> None:
    alone = [optimize(fast, "fc", [1], seeds=[seed], iterations=3)[0] for seed in (0, 1)]
    for one, other in zip(optimize(fast, "fc", [1], [0, 1], iterations=3), alone, strict=True):
        np.testing.assert_allclose(one.image, other.image, rtol=1e-5, atol=1e-4)
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(5)]
    for name in names:
        write_image(tmp_path / name, rng.integers(0, 256, (8, 12, 3), np.uint8))
    source = Files(tmp_path, dict.fromkeys(names))
    scan = scan_images(fast, source, ScanParams(("fc",), 5), batch_size=2)
    prepared = np.stack([fast.preprocessor(source.read(i)) for i in range(5)])
    expected = -np.sort(-whole(fast, prepared), 0)
    np.testing.assert_allclose(scan.layers["fc"].top.value.T, expected, rtol=1e-5)
