"""Error messages for common mistakes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import deepvis_caffe.caffe as caffe
from deepvis_caffe.caffe.mode import mode
from deepvis_caffe.errors import DeepVisError, ModelError

NET = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 2 dim: 1 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "own" type: "Own" bottom: "conv" top: "own" }
"""


def made(folder: Path, text: str = NET) -> caffe.Net:
    path = folder / "net.prototxt"
    path.write_text(text)
    return caffe.Net(str(path), caffe.TEST)


def test_a_field_that_no_layer_has_is_named_with_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path, NET.replace("kernel_size: 3", "kernel_size: 3 paddd: 1"))
    assert "layer 'conv', line 5: unknown field 'convolution_param.paddd'" in caplog.text


def test_a_layer_without_a_type(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'conv' has no type; unknown field 'typ', line 4"):
        made(tmp_path, NET.replace('type: "Convolution"', 'typ: "Convolution"'))


def test_names_that_a_net_does_not_have(tmp_path: Path) -> None:
    net = made(tmp_path)
    with pytest.raises(KeyError, match="no blob named 'convs'; did you mean 'conv'"):
        net.blobs["convs"]
    with pytest.raises(KeyError, match="no layer with parameters named 'own'; known: conv"):
        net.params["own"]
    with pytest.raises(KeyError, match="no blob named 'x'"):
        net.forward(blobs=["x"], end="conv")


def test_the_division_of_python_3(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"4\.5 is not an integer; in Python 3, a / b"):
        made(tmp_path).blobs["data"].reshape(1, 1, 9 / 2, 4)


def test_shapes_below_a_layer_that_cannot_run_follow(tmp_path: Path) -> None:
    net = made(tmp_path)
    net.blobs["data"].reshape(1, 1, 9, 8)
    net.reshape()
    assert net.blobs["conv"].shape == (1, 2, 7, 6)
    net.params["conv"][1].data[...] = [1, 2]
    found = net.forward(end="conv")["conv"]
    np.testing.assert_array_equal(found[0, :, 0, 0], [1, 2])


def test_no_examples(tmp_path: Path) -> None:
    for arrays in ({}, {"data": np.zeros((0, 1, 4, 4))}):
        with pytest.raises(DeepVisError, match="there are no examples"):
            made(tmp_path).forward_all(**arrays)


def test_a_net_that_is_made_does_not_follow_the_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = made(tmp_path)
    with caplog.at_level(logging.WARNING):
        net.forward(end="conv")
        assert "stays" not in caplog.text
        monkeypatch.setattr(mode, "device", "cuda:0")
        net.forward(end="conv")
        net.forward(end="conv")
    assert caplog.text.count("stays on cpu") == 1
