"""Weights files, against protobuf's own reader and writer, and against real Caffe."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from deepvis_caffe.errors import WeightsError
from deepvis_caffe.model.caffemodel import read_caffemodel, write_caffemodel
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.schema_pb2 import NetParameter

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "block/conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 3 kernel_size: 2 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "slope" type: "PReLU" bottom: "bn" top: "slope" prelu_param { channel_shared: true } }
layer { name: "fc" type: "InnerProduct" bottom: "slope" top: "fc"
        inner_product_param { num_output: 5 } }
"""  # noqa: E501
SHAPES = {
    "block/conv": ("Convolution", [(3, 2, 2, 2), (3,)]),
    "bn": ("BatchNorm", [(3,), (3,), (1,)]),
    "slope": ("PReLU", [()]),
    "fc": ("InnerProduct", [(5, 27), (5,)]),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.caffemodel"


def random_layers(seed: int = 0) -> dict[str, tuple[str, list[np.ndarray]]]:
    rng = np.random.default_rng(seed)
    return {
        name: (kind, [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes])
        for name, (kind, shapes) in SHAPES.items()
    }


def assert_same(found, layers):
    assert list(found) == [name for name, (_, blobs) in layers.items() if blobs]
    for name, blobs in found.items():
        assert len(blobs) == len(layers[name][1])
        for got, expected in zip(blobs, layers[name][1], strict=True):
            assert got.dtype == np.float32
            assert got.flags.c_contiguous
            np.testing.assert_array_equal(got, expected)
            assert got.shape == np.shape(expected)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=200),
        st.lists(arrays(np.float32, array_shapes(min_dims=0, max_dims=5, max_side=4)), max_size=3),
        min_size=1,
    ).filter(lambda layers: any(layers.values()))
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_protobuf_reads_what_we_write_and_we_read_what_protobuf_writes(tmp_path_factory, layers):
    path = tmp_path_factory.mktemp("weights") / "net.caffemodel"
    typed = {name: ("Any", blobs) for name, blobs in layers.items()}
    write_caffemodel(path, "net", typed)
    content = path.read_bytes()
    net = NetParameter.FromString(content)
    assert net.name == "net"
    for (name, (kind, blobs)), layer in zip(typed.items(), net.layer, strict=True):
        assert (layer.name, layer.type) == (name, kind)
        for array, blob in zip(blobs, layer.blobs, strict=True):
            assert tuple(blob.shape.dim) == array.shape
            np.testing.assert_array_equal(np.array(blob.data, np.float32), array.ravel())
    path.write_bytes(net.SerializeToString())
    assert_same(read_caffemodel(path), typed)


def by_protobuf(generation: str, double: bool, legacy: bool) -> tuple[bytes, dict]:
    layers = random_layers()
    net = NetParameter(name="net")
    for name, (_, blobs) in {"relu": ("ReLU", []), **layers}.items():
        if generation == "V2":
            layer = net.layer.add(name=name)
        elif generation == "V1":
            layer = net.layers.add(name=name)
        else:
            layer = net.layers.add().layer
            layer.name = name
        for i, array in enumerate(blobs):
            blob = layer.blobs.add()
            (blob.double_data if double else blob.data).extend(array.ravel().tolist())
            blob.diff.extend([7.0] * array.size)
            if legacy:
                array = array.reshape((1,) * (4 - array.ndim) + array.shape)
                blob.num, blob.channels, blob.height, blob.width = array.shape
                blobs[i] = array
            else:
                blob.shape.dim.extend(array.shape)
    return net.SerializeToString(), layers


@pytest.mark.parametrize("generation", ["V0", "V1", "V2"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_every_generation_precision_and_shape(path, generation, double, legacy):
    content, layers = by_protobuf(generation, double, legacy)
    path.write_bytes(content)
    assert_same(read_caffemodel(path), layers)


def test_unpacked_numbers_and_types_that_no_schema_knows(path):
    # A blob by hand: dim 2 unpacked (08 02), two floats as fixed32 fields (2d), not packed.
    blob = bytes.fromhex("3a02 0802 2d 0000803f 2d 00000040".replace(" ", ""))
    # layers { type: 77 (unknown) name: "a" blobs { ... } }
    layer = b"\x28\x4d" + b"\x22\x01a" + b"\x32" + bytes([len(blob)]) + blob
    path.write_bytes(b"\x12" + bytes([len(layer)]) + layer)
    (array,) = read_caffemodel(path)["a"]
    np.testing.assert_array_equal(array, np.float32([1, 2]))


@pytest.mark.pycaffe
def test_caffe_loads_what_we_write_and_we_read_what_caffe_saves(caffe, path, tmp_path):
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(NET)
    layers = random_layers(1)
    write_caffemodel(path, "net", layers)
    net = caffe.Net(str(prototxt), str(path), caffe.TEST)
    assert list(net.params) == list(layers)
    for name, (_, blobs) in layers.items():
        for theirs, ours in zip(net.params[name], blobs, strict=True):
            np.testing.assert_array_equal(theirs.data, ours)
            theirs.data[...] *= 2
    net.save(str(path))
    doubled = {name: (kind, [2 * b for b in blobs]) for name, (kind, blobs) in layers.items()}
    assert_same(read_caffemodel(path), doubled)


@pytest.mark.pycaffe
def test_reads_caffes_hdf5(caffe, tmp_path):
    prototxt, path = tmp_path / "net.prototxt", tmp_path / "net.caffemodel.h5"
    prototxt.write_text(NET.replace("block/conv", "conv"))  # Caffe cannot write slashes
    layers = random_layers(2)
    layers["conv"] = layers.pop("block/conv")
    net = caffe.Net(str(prototxt), caffe.TEST)
    for name, (_, blobs) in layers.items():
        for theirs, ours in zip(net.params[name], blobs, strict=True):
            theirs.data[...] = ours
    net.save_hdf5(str(path))
    found = read_caffemodel(path)
    assert_same({name: found[name] for name in layers}, layers)


def test_reads_hdf5_with_slashes_in_layer_names_and_more_than_ten_blobs(tmp_path):
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        for i in range(12):
            file[f"data/fire2/squeeze1x1/{i}"] = np.full((2, 1), i, np.float64)
        file["diff/fire2/squeeze1x1/0"] = np.zeros(3)
    found = read_caffemodel(path)
    assert list(found) == ["fire2/squeeze1x1"]
    assert [blob[0, 0] for blob in found["fire2/squeeze1x1"]] == list(range(12))


def test_every_truncation_is_noticed(path):
    write_caffemodel(path, "net", random_layers())
    content = path.read_bytes()
    boundaries = {len(content)}
    net = NetParameter.FromString(content)
    while net.layer:  # where a layer ends, the shorter file is a valid one
        boundaries.add(net.ByteSize())
        del net.layer[-1]
    for size in range(0, len(content), 7):
        if size not in boundaries:
            path.write_bytes(content[:size])
            with pytest.raises(WeightsError, match=r"truncated|not a caffemodel|no weights"):
                read_caffemodel(path)
    path.write_bytes(content[:-3])
    with pytest.raises(WeightsError, match=r"3 bytes are missing.*the last one 'slope'; get the"):
        read_caffemodel(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is an empty file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it is a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "it is a JPEG picture"),
        (NET.encode(), r"it is a prototxt \(text\)"),
        (b"<html><body>404</body></html>", "it is an HTML or XML page; the download may have"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"PK\x03\x04\x14\0", "a zip archive; unpack it first"),
        (b"\x80\x02}q\x01(X\x04\0\0\0", "not a caffemodel"),
        (b"Not Found", "it is a text file"),
        (NetParameter(name="\0empty").SerializeToString(), "holds no weights: it has 0 layers"),
        (
            NetParameter(layer=[{"name": "\0relu"}]).SerializeToString(),
            "holds no weights: it has 1 layers, none with blobs",
        ),
        (
            NetParameter(
                layer=[{"name": "c", "blobs": [{"shape": {"dim": [2, 2]}, "data": [1.0, 2.0]}]}]
            ).SerializeToString(),
            r"layer 'c', blob 0: its shape \(2, 2\) needs 4 values, but it has 2",
        ),
    ],
)
def test_foreign_files_are_named(path, content, message):
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_caffemodel(path)
    assert str(path) in str(caught.value)


def test_missing_and_foreign_hdf5(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read the caffemodel .*no\.caffemodel: No such"):
        read_caffemodel(tmp_path / "no.caffemodel")
    path = tmp_path / "keras.h5"
    with h5py.File(path, "w") as file:
        file["model_weights/conv/kernel:0"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"keras\.h5 is not a caffemodel: it is a Keras file"):
        read_caffemodel(path)
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["data"], file["label"] = np.zeros((2, 3)), np.zeros(2)
    with pytest.raises(WeightsError, match="a set of data and labels without a group `data` of"):
        read_caffemodel(tmp_path / "set.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"cannot read the caffemodel .*cut\.h5"):
        read_caffemodel(tmp_path / "cut.h5")


def test_names_in_the_encoding_of_the_prototxt(path):
    # By hand: name "n", then layer { name: ... blobs { data: 1.0 } } for each name.
    for encoding, names in (
        ("utf-8", ["卷积", "café"]),
        ("gbk", ["卷积", "池化/1", "fc"]),
        ("latin-1", ["couche_\xe9", "\xe9ta", "fc"]),  # the second one alone would be GBK
    ):
        content = b"\x0a\x01n"
        for name in (one.encode(encoding) for one in names):
            blob = b"\x2a\x04" + np.float32(1).tobytes()
            layer = b"\x0a" + bytes([len(name)]) + name + b"\x3a" + bytes([len(blob)]) + blob
            content += b"\xa2\x06" + bytes([len(layer)]) + layer
        path.write_bytes(content)
        assert list(read_caffemodel(path)) == names


def test_names_in_gbk_in_hdf5(tmp_path):
    path, name = tmp_path / "net.caffemodel.h5", "卷积".encode("gbk")
    with h5py.File(path, "w") as file:  # h5py's own interface writes UTF-8 alone
        group = h5py.h5g.create(file.create_group("data").id, name)
        space = h5py.h5s.create_simple((3,))
        blob = h5py.h5d.create(group, b"0", h5py.h5t.IEEE_F64LE, space)
        blob.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 2, 1 / 3]))
        file["data/fc/0"] = np.float32([4])
    found = read_caffemodel(path)
    assert found["卷积"][0].dtype == np.float32
    np.testing.assert_array_equal(found["卷积"][0], np.float32([1, 2, 1 / 3]))
    np.testing.assert_array_equal(found["fc"][0], [4])


@pytest.mark.parametrize("save", ["gbk", "utf-8", "utf-16"])
def test_a_net_with_gbk_names_gets_its_weights(path, tmp_path, save):
    """Whatever a text editor has saved the prototxt as since."""
    prototxt = tmp_path / "net.prototxt"
    text = NET.replace("block/conv", "卷积")
    prototxt.write_bytes(text.encode(save))
    layers = random_layers()
    layers["CONV"] = layers.pop("block/conv")  # as many bytes as the name in GBK
    write_caffemodel(path, "net", layers)
    path.write_bytes(path.read_bytes().replace(b"CONV", "卷积".encode("gbk")))
    model = load_model(prototxt, path)
    np.testing.assert_array_equal(model.weights["卷积"][0], layers["CONV"][1][0])


@pytest.mark.parametrize(
    ("kind", "number", "values"),
    [("<f8", 0, [1.5, -2.25]), ("<f4", 1, [1.5, -2.25]), ("<f2", 2, [1.5, -2.25])],
)
def test_numbers_as_nvidias_caffe_packs_them(path, kind, number, values):
    """Its BlobProto has ``raw_data_type = 10`` (an enum) and ``raw_data = 12`` (bytes)."""
    data = np.array(values, kind).tobytes()
    blob = b"\x3a\x03\x0a\x01\x02" + bytes([0x50, number, 0x62, len(data)]) + data
    layer = b"\x0a\x02fc" + b"\x3a" + bytes([len(blob)]) + blob
    path.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    np.testing.assert_array_equal(read_caffemodel(path)["fc"][0], np.float32(values))


@pytest.mark.parametrize("packed", [True, False])
def test_blobs_of_c3d_have_a_length_and_other_field_numbers(path, packed):
    """num = 1, channels = 2, length = 3, height = 4, width = 5, data = 6, diff = 7."""
    values = np.arange(6, dtype="<f4")
    sizes = b"".join(bytes([number << 3, size]) for number, size in enumerate((2, 1, 3, 1, 1), 1))
    numbers = b"".join(b"\x35" + value.tobytes() for value in values)  # one a field
    data = b"\x32" + bytes([24]) + values.tobytes() if packed else numbers
    blob = sizes + data + b"\x3a" + bytes([24]) + bytes(24)  # its diff is all zeros
    layer = b"\x22\x05conv1" + b"\x32" + bytes([len(blob)]) + blob
    path.write_bytes(b"\x12" + bytes([len(layer)]) + layer)
    np.testing.assert_array_equal(read_caffemodel(path)["conv1"][0], values.reshape(2, 1, 3, 1, 1))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path):
    write_caffemodel(path, "net", random_layers())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="could not convert"):
        write_caffemodel(path, "net", {**random_layers(3), "bad": ("Bad", [np.array(["x"])])})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def varint(value):
    """As the library of protobuf writes it: negative numbers take ten bytes."""
    message = NetParameter(input_dim=[value]).SerializeToString()
    return message[1:]  # behind the tag


def blob_of(path, *, legacy=(), dims=(), data=b""):
    shape = b"".join(varint(dim) for dim in dims)
    blob = b"".join(bytes([8 * (i + 1)]) + varint(size) for i, size in enumerate(legacy))
    blob += (
        (b"\x3a" + varint(len(shape) + 2) + b"\x0a" + varint(len(shape)) + shape) if dims else b""
    )
    blob += b"\x2a" + varint(len(data)) + data
    layer = b"\x0a\x01c" + b"\x3a" + varint(len(blob)) + blob
    path.write_bytes(b"\x0a\x01n\xa2\x06" + varint(len(layer)) + layer)
    return path


def test_shapes_that_caffe_does_not_have_are_refused(path):
    three = np.arange(3, dtype="<f4").tobytes()
    assert read_caffemodel(blob_of(path, dims=(1, 3), data=three))["c"][0].shape == (1, 3)
    with pytest.raises(
        WeightsError, match="layer 'c', blob 0: its shape has 70 axes, more than 32"
    ):
        read_caffemodel(blob_of(path, dims=(1,) * 69 + (3,), data=three))
    with pytest.raises(WeightsError, match=r"shape \(-1, -1, 1, 3\) has an axis outside 0 to"):
        read_caffemodel(blob_of(path, legacy=(-1, -1, 1, 3), data=three))
    with pytest.raises(WeightsError, match=r"shape \(0, 2147483647, 2147483647\)|axis outside 0"):
        read_caffemodel(blob_of(path, legacy=(0, 2**31 - 1, 2**31 - 1, -5)))


def test_numbers_of_a_field_each_take_no_object_each(path):
    """As the first Caffes wrote them."""
    values = np.arange(1000, dtype="<f4")
    numbers = b"".join(b"\x2d" + value.tobytes() for value in values)
    layer = b"\x0a\x01c\x3a" + varint(len(numbers)) + numbers
    path.write_bytes(b"\x0a\x01n\xa2\x06" + varint(len(layer)) + layer)
    np.testing.assert_array_equal(read_caffemodel(path)["c"][0], values)


def test_hdf5_weights_that_are_not_in_the_file_are_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("data/conv/0", (30_000, 30_000), np.float32)  # takes no space
    with pytest.raises(
        WeightsError, match=r"claims \(30000, 30000\) values of float32, 3,600,000,0"
    ):
        read_caffemodel(path)
    with h5py.File(path, "w") as file:
        file["data/conv/0"] = np.arange(3, dtype=np.float64)
        file["data/conv/²"] = np.zeros(3)  # a digit to Python, and no number
    np.testing.assert_array_equal(read_caffemodel(path)["conv"][0], np.arange(3, dtype=np.float32))
    with h5py.File(path, "w") as file:
        file["data/conv/0"] = ["a", "b"]
    with pytest.raises(WeightsError, match="'/data/conv/0' holds object values, not numbers"):
        read_caffemodel(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("data/conv/0", (4,), np.uint8, external=[("/dev/zero", 0, 4)])
    with pytest.raises(WeightsError, match="are in other files, which are not read"):
        read_caffemodel(path)
