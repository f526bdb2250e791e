"""Drawing a net, without the package that draws it."""

from __future__ import annotations

import sys

import pytest

from deepvis_caffe.caffe.draw import draw_net_to_file
from deepvis_caffe.caffe.proto.caffe_pb2 import NetParameter
from deepvis_caffe.errors import DeepVisError


def test_drawing_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydot", None)
    monkeypatch.setitem(sys.modules, "pydotplus", None)
    with pytest.raises(ImportError, match="pip install pydot") as error:
        draw_net_to_file(NetParameter(), "net.png")
    assert isinstance(error.value, DeepVisError)
