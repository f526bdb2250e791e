"""Python layers of a script: the same module in real Caffe and in ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.caffe_pair import Pair, net_of

import deepvis_caffe.caffe as ours
from deepvis_caffe.errors import ModelError

MODULE = "layers_of_a_script"
SOURCE = '''
import caffe
import numpy as np

class Line(caffe.Layer):
    """a x + b, with a from param_str and a learned b for each channel."""

    def setup(self, bottom, top):
        if len(bottom) != 1:
            raise ValueError("one bottom")
        self.factor = float(self.param_str)
        self.blobs.add_blob(bottom[0].channels)
        self.blobs[0].data[...] = 0.5
        self.runs = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        self.runs += 1
        b = self.blobs[0].data[:, None]
        top[0].data[...] = self.factor * bottom[0].data + b

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += top[0].diff.sum((0, 2))
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff

class Loss(caffe.Layer):
    """Squares of differences."""

    def setup(self, bottom, top):
        self.seen = None

    def reshape(self, bottom, top):
        self.difference = np.zeros_like(bottom[0].data)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.difference[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = (self.difference ** 2).sum() / 2

    def backward(self, top, propagate_down, bottom):
        self.seen = list(propagate_down)
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * self.difference * top[0].diff[0]

class Numbers(caffe.Layer):
    """Data: the next numbers, and the phase. Its tops' arrays are kept from the setup on."""

    def setup(self, bottom, top):
        top[0].reshape(4)
        top[1].reshape(1)
        self.kept = top[0].data
        self.next = 0

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.kept[...] = np.arange(4) + self.next
        self.next += 4
        top[1].data[0] = self.phase

    def backward(self, top, propagate_down, bottom):
        pass

class Double(caffe.Layer):
    """In place, on arrays that are kept from the setup on."""

    def setup(self, bottom, top):
        self.data, self.diff = top[0].data, bottom[0].diff

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.data *= 2

    def backward(self, top, propagate_down, bottom):
        self.diff *= 2

class Wrong(caffe.Layer):
    """Says where it fails."""

    def setup(self, bottom, top):
        if self.param_str == "setup":
            raise LookupError("in setup")

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        raise MemoryError("in forward")

class Other(object):
    pass
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module that the prototxts name; none of the packages has it in memory afterwards."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop(MODULE, None)
    monkeypatch.setattr("deepvis_caffe.caffe.python_layer._imported", {})
    yield
    sys.modules.pop(MODULE, None)


def python(name: str, kind: str, blobs: str, param: str = "", more: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "Python" {blobs} {more} python_param {{ '
        f'module: "{MODULE}" layer: "{kind}" param_str: "{param}" }} }}\n'
    )


def given(*names: str, dims: str = "dim: 2 dim: 3 dim: 4") -> str:
    return "".join(
        f'layer {{ name: "{n}" type: "Input" top: "{n}" input_param {{ shape {{ {dims} }} }} }}\n'
        for n in names
    )


LINES = (
    "force_backward: true\n"
    + given("x")
    + python("one", "Line", 'bottom: "x" top: "y"', "3")
    + 'layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }\n'
    + python("two", "Line", 'bottom: "y" top: "z"', "-2", "param { lr_mult: 0 }")
)


def test_a_whole_script(caffe: Any, tmp_path: Path) -> None:
    """Values, diffs and parameters; written by the script and by the layers in turn."""
    nets = Pair(caffe, tmp_path, LINES)
    nets.check()
    for size in (2, 5):

        def script(net: Any, size: int = size, seed: int = size) -> None:
            rng = np.random.RandomState(seed)
            net.blobs["x"].reshape(size, 3, 4)
            net.blobs["x"].data[...] = rng.normal(size=(size, 3, 4))
            net.params["one"][0].data[...] = [1, 0, -1]
            net.forward()
            net.backward(z=rng.normal(size=(size, 3, 4)))
            net.backward()

        nets.do(script)
        nets.check()
    kept = nets.do(lambda net: net.blobs["z"].data)
    for net in (nets.real, nets.ours):
        net.blobs["x"].data[...] = 2
        net.forward()
    np.testing.assert_array_equal(*kept)
    nets.do(lambda net: net.forward(start="two"))
    nets.check()
    assert nets.real.layers[3].runs == nets.ours.layers[3].runs == 4


def test_what_a_script_sees_of_it(caffe: Any, tmp_path: Path) -> None:
    nets = Pair(caffe, tmp_path, LINES)
    for net in (nets.real, nets.ours):
        layer = net.layers[list(net._layer_names).index("one")]
        assert layer is net.layer_dict["one"]
        assert (layer.type, layer.factor, layer.param_str) == ("Python", 3, "3")
        assert len(layer.blobs) == 1
        layer.factor = 7
    nets.put({"x": 1})
    nets.do(lambda net: net.forward())
    nets.check()


def test_a_loss(caffe: Any, tmp_path: Path) -> None:
    """Which bottoms need a diff is told, and the loss's diff is its weight."""
    text = (
        given("x", "t")
        + python("line", "Line", 'bottom: "x" top: "y"', "2")
        + python("loss", "Loss", 'bottom: "y" bottom: "t" top: "loss"', more="loss_weight: 3")
    )
    nets = Pair(caffe, tmp_path, text, "TRAIN")
    rng = np.random.RandomState(0)
    nets.put({"x": rng.normal(size=(2, 3, 4)), "t": rng.normal(size=(2, 3, 4))})
    theirs, mine = nets.do(lambda net: net._forward(0, 3))
    assert mine == pytest.approx(theirs, rel=1e-5)
    nets.do(lambda net: net.backward())
    nets.check()
    assert nets.real.layers[3].seen == nets.ours.layers[3].seen == [True, False]
    assert nets.ours.blob_loss_weights["loss"] == 3


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_data(caffe: Any, tmp_path: Path, phase: str) -> None:
    """A layer may write through arrays that it keeps."""
    text = python("data", "Numbers", 'top: "n" top: "phase"') + (
        'layer { name: "p" type: "Power" bottom: "n" top: "p" power_param { scale: 3 } }\n'
    )
    nets = Pair(caffe, tmp_path, text, phase)
    for _ in range(3):
        nets.do(lambda net: net.forward())
        nets.check()
    assert nets.ours.blobs["p"].data.tolist() == [24, 27, 30, 33]


def test_in_place(caffe: Any, tmp_path: Path) -> None:
    """Between layers of Caffe's, in both directions."""
    power = (
        'layer {{ name: "{1}" type: "Power" bottom: "{0}" top: "{1}" power_param {{ scale: 3 }} }}'
    )
    text = [
        "force_backward: true",
        given("x"),
        power.format("x", "y"),
        python("double", "Double", 'bottom: "y" top: "y"'),
        power.format("y", "z"),
    ]
    nets = Pair(caffe, tmp_path, "\n".join(text))
    for value in (1, 2):
        nets.put({"x": value})
        nets.do(lambda net: net.forward())
        nets.do(lambda net: net.backward(z=np.ones((2, 3, 4))))
        nets.check()
    assert (nets.ours.blobs["z"].data == 36).all()


def test_parameters_are_shared_and_saved(caffe: Any, tmp_path: Path) -> None:
    shared = 'param { name: "b" }'
    text = given("x") + "".join(
        python(name, "Line", f'bottom: "{below}" top: "{name}"', "1", shared)
        for below, name in (("x", "one"), ("one", "two"))
    )
    nets = Pair(caffe, tmp_path, text)

    def script(net: Any) -> None:
        net.params["one"][0].data[...] = [1, 2, 3]
        net.forward()
        net.save(str(tmp_path / "saved.caffemodel"))

    nets.do(script)
    nets.check()
    again = ours.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "saved.caffemodel"), ours.TEST)
    assert again.params["two"][0].data.tolist() == [1, 2, 3]


# -- errors ----------------------------------------------------------------------------------------


def test_its_exceptions_pass_through(tmp_path: Path) -> None:
    """Unchanged, even where ours would say more."""
    text = "force_backward: true " + given("x")
    with pytest.raises(LookupError, match="in setup"):
        net_of(text + python("w", "Wrong", 'bottom: "x" top: "y"', "setup"), tmp_path)
    net = net_of(text + python("w", "Wrong", 'bottom: "x" top: "y"'), tmp_path)
    with pytest.raises(MemoryError, match="in forward"):
        net.forward()
    with pytest.raises(AttributeError, match="backward"):
        net.backward()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("layers_of_a_script", "no_such_module"), "there is no module 'no_such_module'"),
        (('"Line"', '"Lime"'), "has no class 'Lime'"),
        (('"Line"', '"Other"'), "'Other' of module .* is not a subclass of caffe.Layer"),
    ],
)
def test_a_class_that_is_not_there(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(ModelError, match=f"layer 'one' \\(Python\\): .*{words}"):
        net_of(LINES.replace(*change), tmp_path)


# -- which caffe it imports ------------------------------------------------------------------------


def test_each_caffe_has_its_own_module(caffe: Any, tmp_path: Path) -> None:
    """``import caffe`` means ours only while ours loads the module."""
    file = tmp_path / "net.prototxt"
    file.write_text(LINES)
    mine = ours.Net(str(file), ours.TEST)
    assert sys.modules["caffe"] is caffe
    assert MODULE not in sys.modules
    theirs = caffe.Net(str(file), caffe.TEST)
    assert isinstance(mine.layers[1], ours.Layer)
    assert isinstance(theirs.layers[1], caffe.Layer)
    assert sys.modules[MODULE].caffe is caffe
    again = ours.Net(str(file), ours.TEST)
    assert type(again.layers[1]) is type(mine.layers[1])
    assert sys.modules[MODULE].caffe is caffe


def test_where_ours_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is the one that the script itself imports."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "caffe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "caffe", ours)
    script_s_own = __import__(MODULE)
    assert script_s_own.caffe is ours
    net = net_of(LINES, tmp_path)
    assert type(net.layers[1]) is script_s_own.Line
