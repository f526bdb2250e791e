"""Reading prototxts, compared with the same net written by hand in V2."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.prototxt import ForeignField, parse_prototxt, read_prototxt
from deepvis_caffe.model.schema_pb2 import LayerParameter, NetParameter
from deepvis_caffe.model.upgrade import upgrade

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


def test_unknown_fields_are_kept_by_layer_with_their_lines(write):
    read = parse_prototxt(write(CUSTOM))
    expected = text_format.Parse(
        """
        name: "custom" input: "data"
        layer { name: "own" type: "OwnLayer" bottom: "data" top: "own"
                convolution_param { num_output: 2 } }
        layer { name: "relu" type: "ReLU" bottom: "own" top: "own" }
        """,
        NetParameter(),
    )
    assert read.net == expected
    assert read.foreign == {
        "own": (ForeignField(5, "own_param"), ForeignField(6, "convolution_param.shiny")),
        "relu": (ForeignField(8, "own_flag"),),
    }
    assert not read.notes
    assert not read.unreadable


def test_nothing_is_noted_where_all_is_known(write):
    read = parse_prototxt(
        write(
            'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { '
            'shape { dim: [1, 2] } data_filler { type: "constant" } } include { phase: TEST } }'
        )
    )
    assert (read.notes, read.foreign, read.unreadable) == ((), {}, {})


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gbk", "utf-16-be"]
)
def test_encodings(write, encoding):
    text = 'layer { name: "\u732b" type: "ReLU" bottom: "data" top: "data" }  # \u72d7\n'
    assert read_prototxt(write(text.encode(encoding))).layer[0].name == "\u732b"


def test_bytes_that_are_no_text_in_a_comment(write):
    content = b'layer { name: "r" type: "ReLU" }  # caf\xe9'
    assert read_prototxt(write(content)).layer[0].name == "r"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "describes no layers: it is an empty file"),
        ("just words", r"describes no layers: it is a text file"),
        ("layer: {", r"line 1: cannot read this prototxt: a '\{' that is never closed"),
        ('name: "a\n', r"line 1: cannot read this prototxt: a string without a closing quote"),
        (
            'layer { name: "a" }\n}',
            r"line 2: cannot read this prototxt: unmatched '\}'",
        ),
        ('layer { name: "a" }\nlayer: 7', r"line 2: .*`layer` takes a block"),
        ("input_dim: one", r"line 1: cannot read .*input_dim: expected a whole number, got one"),
        ("layer {" * 5000, "line 1: cannot read this prototxt: blocks are nested more than 100"),
        (
            'name: "n"\n<<<<<<< HEAD\nlayer { }\n=======\n>>>>>>> theirs\n',
            "line 2: cannot read .*a merge conflict marker, '<<<<<<<'; keep one of its two sides",
        ),
        ('name: "nothing"\n', r"describes no layers: it is a prototxt"),
        (
            'net: "train_val.prototxt"\nbase_lr: 0.01\nmax_iter: 100\n',
            "it is a solver file; give the net that it names",
        ),
        ("<!DOCTYPE html><html></html>", "it is an HTML or XML page; the download may have failed"),
        ("version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "binary file, not a prototxt: it is a PNG picture"),
        (
            NetParameter(name="n" * 40, input_dim=[1, 2, 0]).SerializeToString(),
            "binary file, not a prototxt; was the caffemodel given",
        ),
        (
            'layer {\n  name: "a"\n  type: "ReLU"\n',
            r"net\.prototxt, line 1: cannot read this prototxt: .*Expected '\}'.*\n    layer \{",
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


@pytest.mark.parametrize(
    "text",
    [
        'layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }',
        'layers { layer { name: "a" type: "relu" } } layer { name: "b" type: "ReLU" }',
    ],
)
def test_errors_begin_with_the_file_even_if_they_contain_its_name(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("net").write_text(text)
    with pytest.raises(ModelError, match=r"^net: the net "):
        read_prototxt("net")


def test_parse_keeps_the_generation(write):
    read = parse_prototxt(write('layers { name: "a" type: RELU }'))
    assert read.generation == "V1"
    assert [layer.name for layer in read.net.layers] == ["a"]
    assert not read.net.layer


@pytest.mark.parametrize(
    ("written", "meant", "note"),
    [
        (
            'layers { name: "a" type: "Convolution" convolution_param { num_output: 2 } }',
            'layer { name: "a" type: "Convolution" convolution_param { num_output: 2 } }',
            'write it as `layer { type: "Convolution" }`',
        ),
        (
            'layer { name: "a" type: INNER_PRODUCT }',
            'layer { name: "a" type: "InnerProduct" }',
            'read as type: "InnerProduct"; write that instead',
        ),
        (
            'layers { name: "a" type: RELU blobs_lr: 2 } layer { name: "b" type: "TanH" }',
            'layer { name: "a" type: "ReLU" param { lr_mult: 2 } } '
            'layer { name: "b" type: "TanH" }',
            "mixes 1 `layer` with 1 `layers` fields",
        ),
        (
            'layer { name: "a" type: "Power" power_param { scale: 2 scale: 3 } }',
            'layer { name: "a" type: "Power" power_param { scale: 3 } }',
            "power_param.scale is given twice; the last value, 3, is used",
        ),
    ],
)
def test_what_has_one_meaning_is_read_with_a_line_that_says_so(write, written, meant, note):
    path = write(written)
    assert read_prototxt(path) == text_format.Parse(meant, NetParameter())
    (said,) = parse_prototxt(path).notes
    assert note in said


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("CROP", "Crop"),
        ("IMAGE_SEG_DATA", "ImageSegData"),
        ("BN", "BN"),
        ("25", "Eltwise"),  # stock's; a fork has another type there
        ("SOME_NEW_THING", "SomeNewThing"),
        ("4", "Convolution"),
    ],
)
def test_types_of_forks_in_the_old_form(write, kind, expected):
    net = read_prototxt(write(f'layers {{ name: "a" type: {kind} }}'))
    assert net.layer[0].type == expected


def test_a_clashing_number_is_resolved_by_the_fields(write):
    text = 'layers { name: "a" type: 43 bn_param { } } layers { name: "b" type: 43 }'
    first, second = read_prototxt(write(text)).layer
    assert first.type == "BN"
    assert second.type == "BN"  # the first of the candidates; stock has none


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("convolution_param { kernel_size: big }", "kernel_size: expected a whole number, got big"),
        ("convolution_param { num_output: ${N} }", r"template placeholder \$\{N\} is not fi"),
        ("convolution_param { num_output: {{n}} }", r"template placeholder \{\{n\}\} is not fi"),
        (
            "pooling_param { pool: MEDIAN }",
            "pool: 'MEDIAN' is unknown; known: MAX, AVE, STOCHASTIC",
        ),
        ("pooling_param: 3", r"pooling_param: takes a block \{ ... \}, got 3"),
        ("top: { }", r"top: takes a value, got a block"),
    ],
)
def test_a_value_that_makes_no_sense_is_its_layers_fault_alone(write, inside, reason):
    text = f'layer {{ name: "good" type: "ReLU" }}\nlayer {{ name: "bad" type: "X" {inside} }}'
    read = parse_prototxt(write(text))
    assert list(read.unreadable) == ["bad"]
    assert re.search(f"line 2: .*{reason}", read.unreadable["bad"])
    assert [layer.name for layer in read.net.layer] == ["good", "bad"]


def test_what_only_training_reads_is_not_an_error(write):
    text = """layer { name: "a" type: "Data"
      data_param { source: "C:\\Users\\me\\lmdb" backend: LEVELDBX }
      convolution_param { weight_filler { variance_norm: ODD } engine: MKL2017 } }"""
    read = parse_prototxt(write(text))
    assert not read.unreadable
    assert not read.notes
    assert read.net.layer[0].data_param.source == "C:\\Users\\me\\lmdb"


def test_a_layers_values_may_be_written_without_colons_and_as_other_types(write):
    net = read_prototxt(
        write(
            'layer { name "a" type "Pooling" pooling_param { kernel_size: 3.0 stride: 0x2 '
            'pool: ave global_pooling: False } top: ["x", "y"] bottom: "p" "q" }'
        )
    )
    expected = text_format.Parse(
        'layer { name: "a" type: "Pooling" pooling_param { kernel_size: 3 stride: 2 pool: AVE '
        'global_pooling: false } top: "x" top: "y" bottom: "pq" }',
        NetParameter(),
    )
    assert net == expected


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


def test_engines_of_forks_are_the_default_one(write):
    read = parse_prototxt(write(MKL))
    net = upgrade(read.net)
    expected = text_format.Parse(
        """
        layer { name: "input" type: "Input" top: "data" }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" engine: "MKLDNN:CPU"
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
    assert not read.notes  # an engine says who computes a layer, not what it computes
    kept = [one for fields in read.foreign.values() for one in fields if not one.harmless]
    assert kept == [ForeignField(8, "shiny")]


def test_what_the_librarys_own_parser_reads_is_read_alike(write):
    """Random messages as the library prints them, with every kind of field filled."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        net = NetParameter(name="n", layer=[_random_layer(rng, number) for number in range(3)])
        read = parse_prototxt(write(text_format.MessageToString(net)))
        assert read.net == net
        assert not read.unreadable


def _random_layer(rng: np.random.Generator, number: int) -> LayerParameter:
    layer = LayerParameter(name=f"layer {number}", type='quotes " and \\ back\nslashes')
    members = [one for one in LayerParameter.DESCRIPTOR.fields if one.message_type]
    for member in rng.choice(np.array(members, object), 6, replace=False):
        if not member.is_repeated:
            _fill(getattr(layer, member.name), rng)
    return layer


def _fill(message: Message, rng: np.random.Generator) -> None:
    message.SetInParent()
    for one in message.DESCRIPTOR.fields:
        if one.message_type or rng.random() < 0.5:
            continue
        value = {
            one.CPPTYPE_STRING: "\u732b 'x'",
            one.CPPTYPE_BOOL: bool(rng.integers(2)),
            one.CPPTYPE_FLOAT: float(np.float32(rng.normal())),
            one.CPPTYPE_DOUBLE: float(rng.normal()),
            one.CPPTYPE_ENUM: one.enum_type and one.enum_type.values[-1].number,
        }.get(one.cpp_type, int(rng.integers(1, 99)))
        if one.is_repeated:
            getattr(message, one.name).extend([value, value])
        else:
            setattr(message, one.name, value)


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input_dim: 1e400 layer {}", "expected a whole number, got 1e400"),
        ("input_dim: 99999999999 layer {}", "out of range"),
        ("layer {\x0c name: }", "field 'name' has no value"),  # Python parts lines there, too
        ("layer " + "{ a " * 5000, "nested more than 100 deep"),
        ("${" * 50_000, "nested more than 100 deep"),  # the time would grow with its square
    ],
)
def test_the_error_for_what_is_not_a_prototxt_is_short(text, said, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(ModelError, match=said) as caught:
        read_prototxt(path)
    assert len(str(caught.value)) < 2000
