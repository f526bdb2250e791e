"""Receptive fields. Oracles: where the real gradient is not zero, and sizes from the literature.

With positive weights and images no ReLU is off and nothing cancels, so the gradient of a position
is positive on every pixel it sees. A MAX pooling passes it to one pixel of each window only: the
union over many random images finds all of them.
"""

from itertools import product

import numpy as np
import pytest
from google.protobuf import text_format
from helpers.engine_nets import conv, layer, net_text
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.engines.load import load_net
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.receptive import receptive_fields
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import resource


def pool(name, bottom, kernel, more="", kind="MAX"):
    return layer(
        name,
        "Pooling",
        bottom,
        name,
        f"pooling_param {{ pool: {kind} kernel_size: {kernel} {more} }}",
    )


def relu(blob):
    return layer(f"relu_{blob}", "ReLU", blob, blob)


def fields_of(text):
    """Receptive fields by blob, of a net without weights."""
    params = deploy(text_format.Parse(text, NetParameter())).net
    graph = Graph.from_layers(params.name, params.layer)
    fields = receptive_fields(graph, infer(graph).values, graph.inputs[:1])
    return {value.blob: field for value, field in fields.items()}


def positive_net(text, tmp_path):
    """The net on the torch engine, every weight between 0.5 and 1."""
    params = deploy(text_format.Parse(text, NetParameter())).net
    rng = np.random.default_rng(0)
    shapes = infer(Graph.from_layers(params.name, params.layer)).weights
    weights = {
        name: [rng.uniform(0.5, 1, shape).astype(np.float32) for shape in blobs]
        for name, blobs in shapes.items()
    }
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return load_net(path, weights, engine="torch", device="cpu")


def support(net, blob, y, x):
    """(top, left, bottom, right) of the pixels where the gradient of position (y, x) is not 0."""
    shape = net.shapes[net.model.graph.blobs[blob]]
    diff = np.zeros((net.batch, *shape[1:]), np.float32)
    if len(shape) == 4:
        diff[:, :, y, x] = 1
    else:
        diff[:] = 1
    seen = net.backward(blob, diff)["data"].any(axis=(0, 1))
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def check_support(text, tmp_path, blobs, images=64, exact=True):
    """Windows hold what the gradient sees everywhere, and just that where they are in the image."""
    net = positive_net(text, tmp_path)
    net.batch = images
    _, channels, height, width = net.inputs["data"]
    x = np.random.default_rng(1).uniform(0.1, 1, (images, channels, height, width))
    net.forward(x.astype(np.float32), blobs)
    fields = {value.blob: field for value, field in net.model.receptive_fields.items()}
    inside = 0
    for blob in blobs:
        shape = net.shapes[net.model.graph.blobs[blob]]
        rows, columns = shape[2:] if len(shape) == 4 else (1, 1)
        for y, x in product({0, rows // 2, rows - 1}, {0, columns // 2, columns - 1}):
            seen = support(net, blob, y, x)
            box, window = fields[blob].box(y, x), fields[blob].window(y, x)
            clipped = (window[0].start, window[1].start, window[0].stop, window[1].stop)
            where = f"{blob} at ({y}, {x}): seen {seen}, window {clipped}, box {box}"
            assert np.less_equal(clipped[:2], seen[:2]).all(), where
            assert np.greater_equal(clipped[2:], seen[2:]).all(), where
            if exact and box == clipped:
                assert seen == clipped, where
                inside += 1
    assert inside or not exact, "no position's window lies inside the image; choose a larger one"


NETS = {
    "chain": (
        [
            conv("c1", "data", 2, 3, "stride: 2"),
            relu("c1"),
            pool("p1", "c1", 3, "stride: 2"),
            conv("c2", "p1", 2, 3, "pad: 1"),
            relu("c2"),
        ],
        ["c1", "p1", "c2"],
    ),
    "rectangular and dilated": (
        [
            layer(
                "c1",
                "Convolution",
                "data",
                "c1",
                "convolution_param { num_output: 2 kernel_h: 1 kernel_w: 4 stride_h: 2 stride_w: 1"
                " pad_h: 0 pad_w: 2 }",
            ),
            conv("c2", "c1", 2, 3, "dilation: 2 dilation: 1 pad: 2 pad: 0"),
        ],
        ["c1", "c2"],
    ),
    "inception": (
        [
            conv("c1", "data", 2, 3, "stride: 2"),
            conv("a", "c1", 1, 1),
            conv("b", "c1", 1, 3, "pad: 1"),
            conv("c", "c1", 1, 5, "pad: 2"),
            pool("d", "c1", 3, "stride: 1 pad: 1"),
            layer("cat", "Concat", "a b c d", "cat"),
            conv("e", "cat", 1, 3, "pad: 1"),
        ],
        ["a", "b", "c", "d", "cat", "e"],
    ),
    "residual": (
        [
            conv("c1", "data", 2, 3, "pad: 1 stride: 2"),
            conv("short", "c1", 2, 1, "stride: 2"),
            conv("long", "c1", 2, 3, "pad: 1 stride: 2"),
            layer("sum", "Eltwise", "short long", "sum"),
            relu("sum"),
        ],
        ["short", "long", "sum"],
    ),
    "normalised": (
        [
            conv("c1", "data", 3, 2),
            layer("across", "LRN", "c1", "across", "lrn_param { local_size: 3 }"),
            layer(
                "within",
                "LRN",
                "across",
                "within",
                "lrn_param { local_size: 5 norm_region: WITHIN_CHANNEL alpha: 0.5 }",
            ),
            layer("scale", "Scale", "within", "scale", "scale_param { bias_term: true }"),
        ],
        ["across", "within", "scale"],
    ),
    "moved": (
        [
            conv("c1", "data", 4, 3, "stride: 2"),
            layer("cut", "Slice", "c1", "s1 s2", "slice_param { axis: 1 slice_point: 1 }"),
            conv("small", "data", 1, 9, "stride: 2"),
            layer("crop", "Crop", "s2 small", "crop", "crop_param { axis: 2 offset: 2 offset: 1 }"),
            layer("turned", "Permute", "crop", "turned", "permute_param { order: 0 order: 1 }"),
        ],
        ["s1", "s2", "crop", "turned"],
    ),
    "everything": (
        [
            conv("c1", "data", 2, 3, "stride: 2"),
            pool("mean", "c1", "1", "global_pooling: true", "AVE").replace("kernel_size: 1", ""),
            layer("fc", "InnerProduct", "c1", "fc", "inner_product_param { num_output: 2 }"),
            layer("flat", "Flatten", "c1", "flat"),
            layer("sum", "Reduction", "c1", "sum", "reduction_param { axis: 1 }"),
        ],
        ["mean", "fc", "flat", "sum"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_windows_are_the_gradients_support(name, tmp_path):
    layers, blobs = NETS[name]
    check_support(net_text(*layers, data=(1, 2, 27, 35)), tmp_path, blobs)


sizes = st.integers(1, 4)


@st.composite
def chains(draw):
    """Up to three windowed layers, at most one of them a MAX pooling; rows and columns differ."""
    layers, bottom, maxima = [], "data", 0
    for index in range(draw(st.integers(1, 3))):
        name = f"l{index}"
        (kh, sh), (kw, sw) = ((draw(sizes), draw(st.integers(1, 2))) for _ in "hw")
        pads = (draw(st.integers(0, kh - 1)), draw(st.integers(0, kw - 1)))
        geometry = (
            f"kernel_h: {kh} kernel_w: {kw} stride_h: {sh} stride_w: {sw} "
            f"pad_h: {pads[0]} pad_w: {pads[1]}"
        )
        kind = draw(st.sampled_from(["conv", "AVE", "AVE" if maxima else "MAX"]))
        if kind == "conv":
            params = f"convolution_param {{ num_output: 1 {geometry} }}"
            layers.append(layer(name, "Convolution", bottom, name, params))
        else:
            maxima += kind == "MAX"
            params = f"pooling_param {{ pool: {kind} {geometry} }}"
            layers.append(layer(name, "Pooling", bottom, name, params))
        bottom = name
    return layers, bottom


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=40)
@given(chain=chains())
def test_random_chains(chain, tmp_path_factory):
    layers, last = chain
    text = net_text(*layers, data=(1, 1, 41, 37))
    check_support(text, tmp_path_factory.mktemp("net"), [last], images=48)


def test_deconvolution_sees_no_less_and_little_more(tmp_path):
    """Upsampling by 2 after a convolution of stride 2, as segmentation nets end."""
    layers = [
        conv("c1", "data", 1, 3, "stride: 2 pad: 1"),
        layer(
            "up",
            "Deconvolution",
            "c1",
            "up",
            "convolution_param { num_output: 1 kernel_size: 4 stride: 2 pad: 1 }",
        ),
        layer("skip", "Eltwise", "up data", "skip"),
    ]
    text = net_text(*layers, data=(1, 1, 24, 24))
    check_support(text, tmp_path, ["up", "skip"], images=2, exact=False)
    net = positive_net(text, tmp_path)
    net.batch = 1
    net.forward(np.ones((1, 1, 24, 24), np.float32), ["up"])
    field = fields_of(text)["up"]
    assert field.stride == (1, 1)
    for y in (10, 11, 12, 13):
        top, _, bottom, _ = support(net, "up", y, 12)
        window = field.window(y, 12)[0]
        assert (window.stop - window.start) - (bottom - top) <= 2


RESIZED = {
    "Upsample": "upsample_param { scale: 2 }",
    "Interp": "interp_param { zoom_factor: 3 }",
    "Interp to a size": "interp_param { height: 20 width: 17 }",
    "Interp of a part": "interp_param { height: 9 width: 14 pad_beg: -2 pad_end: -3 }",
    "Resample": "resample_param { height: 26 width: 28 }",
}


@pytest.mark.parametrize("name", RESIZED)
def test_resampling_sees_no_less_and_little_more(name, tmp_path):
    resize = layer("up", name.split()[0], "c1", "up", RESIZED[name])
    text = net_text(conv("c1", "data", 1, 3, "stride: 2 pad: 1"), resize, data=(1, 1, 25, 27))
    check_support(text, tmp_path, ["up"], images=2, exact=False)
    if name != "Resample":  # sees everything
        below, field = fields_of(text)["c1"], fields_of(text)["up"]
        for size, of_c1 in zip(field.size, below.size, strict=True):
            assert size <= of_c1 + 2 * 2  # positions of c1 are 2 pixels apart


MOVED = {
    "GroupNorm": "group_norm_param { group_num: 2 }",
    "NormalizationL2": "",
    "Normalize": "normalize_param { }",
    "Local": "local_param { num_output: 2 kernel_size: 3 stride: 2 pad: 1 }",
    "Im2col": "convolution_param { kernel_size: 3 stride: 2 dilation: 2 }",
    "Reverse": "reverse_param { axis: 2 }",
    "Flip": "",
    "CropCenter": "crop_center_param { crop_size: 0 crop_size: 0 crop_size: 3 crop_size: 1 }",
    "Gather": "gather_param { axis: 1 indices: 1 indices: 0 shape: 2 }",
    "Gather rows": "gather_param { axis: 2 indices: 9 indices: 1 shape: 2 }",
    "ShuffleChannel": "shuffle_channel_param { group: 2 }",
    "Padding": "padding_param { pad_beg: -2 pad_end: -1 }",
    "Pad mirrored": "pad_param { pad_u: 1 pad_l: 2 pad_type: REFLECT }",
    "Transpose": "transpose_param { dim: 0 dim: 1 dim: 3 dim: 2 }",
}


EXACT = ("Local", "Im2col", "CropCenter", "Gather", "Padding", "ShuffleChannel")


@pytest.mark.parametrize("name", MOVED)
def test_what_moves_values_sees_where_they_came_from(name, tmp_path):
    kind, exact = name.split()[0], name in EXACT
    moved = layer("moved", kind, "c1", "moved", MOVED[name])
    text = net_text(conv("c1", "data", 2, 3, "stride: 2 pad: 1"), moved, data=(1, 1, 25, 27))
    check_support(text, tmp_path, ["moved"], images=2, exact=exact)


@pytest.mark.parametrize("reverse", ["true", "false"])
def test_reorg_mixes_positions_of_the_whole_map(reverse, tmp_path):
    moved = layer("moved", "Reorg", "c1", "", f"reorg_param {{ stride: 2 reverse: {reverse} }}")
    text = net_text(conv("c1", "data", 4, 3, "stride: 2 pad: 1"), moved, data=(1, 1, 16, 12))
    check_support(text, tmp_path, ["moved"], images=2, exact=False)
    assert fields_of(text)["moved"].size == (16, 12)


@pytest.mark.parametrize(
    "params", ["pad_u: 1 pad_l: 2 pad_d: 1", "paddings: [0, 0, 1, 0, 2, 1, 0, 2]"]
)
def test_a_padded_map_is_seen_shifted(params, tmp_path):
    padded = layer("padded", "Pad", "c1", "padded", f"pad_param {{ {params} }}")
    first, last = conv("c1", "data", 2, 3, "stride: 2 pad: 1"), conv("c2", "padded", 1, 3)
    check_support(net_text(first, padded, last, data=(1, 1, 25, 27)), tmp_path, ["c2"], images=2)


def test_a_pixel_shuffle_sees_what_its_block_saw(tmp_path):
    moved = layer("moved", "PixelShuffle", "c1", "", "pixelshuffle_param { upscale_factor: 2 }")
    text = net_text(conv("c1", "data", 4, 3, "stride: 2 pad: 1"), moved, data=(1, 1, 16, 12))
    check_support(text, tmp_path, ["moved"], images=2, exact=False)
    assert max(fields_of(text)["moved"].size) <= 5


def test_what_a_mask_sends_about_sees_everything():
    pooling = layer("p", "Pooling", "data", "p m", "pooling_param { kernel_size: 2 stride: 2 }")
    text = net_text(pooling, layer("up", "Upsample", "p m"), data=(1, 1, 8, 8))
    assert fields_of(text)["up"].size == (8, 8)


def test_bilinear_upsampling_of_the_input_by_hand():
    # Top row y reads the bottom rows i with 2 i - 1 <= y <= 2 i + 2.
    up = "convolution_param { num_output: 1 kernel_size: 4 stride: 2 pad: 1 }"
    field = fields_of(net_text(layer("up", "Deconvolution", "data", "up", up), data=(1, 1, 8, 8)))[
        "up"
    ]
    for y in range(2, 13):
        exact = range(-(-(y - 2) // 2), (y + 1) // 2 + 1)
        rows = field.window(y, 0)[0]
        assert rows.start <= exact.start
        assert rows.stop >= exact.stop
        assert rows.stop - rows.start <= 3


@pytest.mark.parametrize(
    ("net", "blob", "size", "stride"),
    [
        # Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks".
        ("bvlc_reference_caffenet", "conv5", 163, 16),
        ("bvlc_reference_caffenet", "pool5", 195, 32),
        ("caffenet_yos", "conv3", 99, 16),
        ("vgg16", "conv5_3", 196, 16),
        ("vgg16", "pool5", 212, 32),
        ("resnet50", "res5c", 483, 32),
    ],
)
def test_sizes_from_the_literature(net, blob, size, stride):
    field = fields_of(resource("prototxt", f"{net}.prototxt").read_text())[blob]
    assert field.size == (size, size)
    assert field.stride == (stride, stride)


def test_squeezenet_by_hand():
    """conv1 3/2, pool1 3/2, two 3x3 fires, pool3 3/2, two 3x3 fires.

    3 + 2 * 2 = 7, + 4 * 2 * 2 = 23, + 4 * 2 = 31, + 8 * 2 * 2 = 63; ceil pooling pads nothing.
    """
    field = fields_of(resource("prototxt", "squeezenet_v1.1.prototxt").read_text())["fire5/concat"]
    assert field.size == (63, 63)
    assert field.stride == (8, 8)
    assert field.offset == (-24, -24)
    assert field.box(3, 4) == (0, 8, 63, 71)
    assert field.window(0, 27) == (slice(0, 39), slice(192, 227))


def test_what_does_not_see_the_image_and_what_is_unknown_is_absent():
    text = net_text(
        conv("a", "data", 2, 3),
        conv("b", "other", 2, 3),
        layer("sum", "Eltwise", "a b", "sum"),
        layer("strange", "Python", "a", "strange"),
        layer("after", "Eltwise", "strange a", "after"),
        data=(1, 1, 8, 8),
        other=(1, 1, 8, 8),
    )
    fields = fields_of(text)
    assert set(fields) == {"data", "a", "sum"}
    assert fields["sum"] == fields["a"]


def test_what_sees_everything_sees_no_padding():
    fc = "inner_product_param { num_output: 2 }"
    text = net_text(
        conv("a", "data", 2, 5, "pad: 3"),
        layer("fc", "InnerProduct", "a", "fc", fc),
        data=(1, 1, 8, 9),
    )
    field = fields_of(text)["fc"]
    assert (field.size, field.offset, field.stride) == ((8, 9), (0, 0), (0, 0))


def test_branches_of_unequal_stride_see_everything():
    text = net_text(
        conv("fine", "data", 1, 3, "pad: 1"),
        conv("coarse", "data", 1, 2, "stride: 2"),
        layer("cut", "Crop", "fine coarse", "cut", "crop_param { axis: 2 offset: 1 }"),
        layer("sum", "Eltwise", "cut coarse", "sum"),
        data=(1, 1, 8, 8),
    )
    # coarse sees all 8 rows; cut, 4 positions from 1 on, sees rows 0 to 5.
    assert fields_of(text)["sum"].window(2, 1) == (slice(0, 8), slice(0, 8))


def test_an_input_without_rows_and_columns_has_no_fields():
    fc = "inner_product_param { num_output: 2 }"
    assert fields_of(net_text(layer("fc", "InnerProduct", "data", "fc", fc), data=(1, 5))) == {}
