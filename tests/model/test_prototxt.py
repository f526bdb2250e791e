"""Reading prototxts: what is read is compared with the same net written by hand in V2."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from google.protobuf import text_format

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.prototxt import parse_prototxt, read_prototxt
from deepvis_caffe.model.schema_pb2 import NetParameter

CUSTOM = """\
name: "custom"  # a comment with layer { in: it }
input: "data"
layer {
  name: "own"; type: "OwnLayer", bottom: "data" top: "own"
  own_param { size: 3 mode: FAST nested < deep: "}" list: [1, 2] > }
  convolution_param { num_output: 2 shiny: true }
}
layer { name: "relu" type: "ReLU" bottom: "own" top: "own" own_flag: true }
"""


@pytest.fixture
def write(tmp_path):
    def _write(content: str | bytes):
        path = tmp_path / "net.prototxt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def test_unknown_fields_are_skipped_and_listed_once_with_their_lines(write, caplog):
    with caplog.at_level(logging.WARNING):
        net = read_prototxt(write(CUSTOM))
    expected = text_format.Parse(
        """
        name: "custom"
        layer { name: "input" type: "Input" top: "data" }
        layer { name: "own" type: "OwnLayer" bottom: "data" top: "own"
                convolution_param { num_output: 2 } }
        layer { name: "relu" type: "ReLU" bottom: "own" top: "own" }
        """,
        NetParameter(),
    )
    assert net == expected
    assert len(caplog.records) == 1
    assert "own_param (line 5), shiny (line 6), own_flag (line 8)" in caplog.text


def test_no_warning_where_all_is_known(write, caplog):
    read_prototxt(
        write(
            'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { '
            'shape { dim: [1, 2] } data_filler { type: "constant" } } include { phase: TEST } }'
        )
    )
    assert not caplog.records


def test_encodings_and_bytes_that_are_not_text(write):
    layer = 'layer { name: "r" type: "ReLU" }'
    for content in (b"\xef\xbb\xbf" + layer.encode(), layer.encode() + b"  # caf\xe9"):
        assert read_prototxt(write(content)).layer[0].name == "r"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "describes no layers: it is an empty file"),
        ("just words", r"line 1: cannot read this prototxt: .*\n    just words"),
        ('name: "nothing"\n', r"describes no layers: it is a prototxt"),
        (
            'net: "train_val.prototxt"\nbase_lr: 0.01\nmax_iter: 100\n',
            "it is a solver file; give the net that it names",
        ),
        ("<!DOCTYPE html><html></html>", "it is an HTML or XML page; the download may have failed"),
        ("version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "binary file, not a prototxt; was the caffemodel given"),
        (
            NetParameter(name="n" * 40, input_dim=[1, 2, 0]).SerializeToString(),
            "binary file, not a prototxt; was the caffemodel given",
        ),
        (
            'layer {\n  name: "a"\n  type: "ReLU"\n',
            r"net\.prototxt, line \d: cannot read this prototxt: Expected",
        ),
        (
            'layer {\n  name: "c"\n  convolution_param {\n    kernel_size: big\n  }\n}\n',
            r"line 4: cannot read this prototxt: .*\n    kernel_size: big",
        ),
        (
            'layers {\n  name: "a"\n  type: RELU\n}\nlayers {\n  type: RESHAPE\n  name: "b"\n}\n',
            r"line 6: layer 'b': RESHAPE is not a layer type of the old .* "
            r'write it as `layer \{ type: "Name" \}`',
        ),
        (
            'layers { name: "a" type: RELU }\nlayer { name: "b" type: "ReLU" }\n',
            r"net\.prototxt: the net mixes 1 `layer` with 1 `layers`",
        ),
    ],
)
def test_what_cannot_be_read_says_what_it_is(write, content, message):
    path = write(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_prototxt(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read the prototxt .*no.prototxt: No such file"):
        read_prototxt(tmp_path / "no.prototxt")
    with pytest.raises(ModelError, match=r"cannot read the prototxt .*: Is a directory"):
        read_prototxt(tmp_path)


def test_parse_keeps_the_generation(write):
    net = parse_prototxt(write('layers { name: "a" type: RELU }'))
    assert [layer.name for layer in net.layers] == ["a"]
    assert not net.layer


def test_numbers_as_caffe_writes_them(write):
    net = read_prototxt(
        write('layer { name: "p" type: "Power" power_param { power: 2. shift: -1e-3f scale: .5 } }')
    )
    param = net.layer[0].power_param
    np.testing.assert_allclose([param.power, param.shift, param.scale], [2, -0.001, 0.5], 1e-7)


MKL = """\
input: "data"  # engine: MKL2017 stands in comments, too
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" engine: "MKLDNN:CPU"
  convolution_param { num_output: 2 kernel_size: 1 engine: MKL2017 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv"
  relu_param { engine:
    "MKLDNN"; negative_slope: 0.5 } }
layer { name: "engine: MKLDNN" type: "TanH" bottom: "conv" top: "t" tanh_param { engine: CAFFE } }
layer { name: "pool" type: "Pooling" bottom: "t" top: "pool" shiny: 1 }
"""


def test_engines_of_forks_are_the_default_one(write, caplog):
    path = write(MKL)
    net = read_prototxt(path)
    read_prototxt(path)
    expected = text_format.Parse(
        """
        layer { name: "input" type: "Input" top: "data" }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv"
                relu_param { negative_slope: 0.5 } }
        layer { name: "engine: MKLDNN" type: "TanH" bottom: "conv" top: "t"
                tanh_param { engine: CAFFE } }
        layer { name: "pool" type: "Pooling" bottom: "t" top: "pool" }
        """,
        NetParameter(),
    )
    assert net == expected
    engines, fields = (record.getMessage() for record in caplog.records)  # once, read twice or not
    assert engines.endswith("MKLDNN:CPU, MKL2017, MKLDNN")
    assert fields.endswith("shiny (line 8)")


@pytest.mark.parametrize(
    ("written", "ceil"), [("round_mode: FLOOR", False), ("round_mode: CEIL", True)]
)
def test_the_rounding_of_later_caffe(write, written, ceil):
    """Caffe after 1.0 has ``round_mode`` where forks had ``ceil_mode``."""
    head = 'input: "data" layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param {'
    theirs = read_prototxt(write(f"{head} kernel_size: 2 stride: 2 {written} }} }}"))
    ours = read_prototxt(
        write(f"{head} kernel_size: 2 stride: 2 ceil_mode: {str(ceil).lower()} }} }}")
    )
    assert theirs == ours
