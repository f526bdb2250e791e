"""Python layers on the torch engine: they run only if the user allows their module.

data -- conv1 - relu1 - own (Python) - half
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.caffe import layer_alone, python_layer
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_layers, load_net
from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.model import python_layers
from deepvis_caffe.model.batch import why_mixed
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.optimizer.run import optimize
from deepvis_caffe.settings import Settings

MODULE = "layers_of_the_user"
SOURCE = """
import caffe
import numpy as np

open(__file__ + ".imported", "a").write("x")

class Gate(caffe.Layer):
    '''Factor times x where x is above its channel's threshold, which is learned.'''

    def setup(self, bottom, top):
        self.factor = float(self.param_str)
        self.blobs.add_blob(bottom[0].channels)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.open = bottom[0].data > self.blobs[0].data[:, None, None]
        top[0].data[...] = self.factor * self.open * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * self.open * top[0].diff

class Halves(caffe.Layer):
    '''Two tops, in place of the first bottom; no backward pass.'''

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[1].reshape(bottom[0].num, 1)

    def forward(self, bottom, top):
        top[0].data[...] /= 2
        top[1].data[:, 0] = top[0].data.sum((1, 2, 3))

class Twice(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data

class Single(Gate):
    def reshape(self, bottom, top):
        if bottom[0].num != 1:
            raise ValueError("one image at a time")
        super().reshape(bottom, top)

class Wrong(Gate):
    def forward(self, bottom, top):
        return 1 / (self.factor - 3)  # wrong

    def backward(self, top, propagate_down, bottom):
        raise KeyError("nobody home")
"""
PARAM = f'python_param {{ module: "{MODULE}" layer: "%s" param_str: "3" }}'
LEARNED = np.array([0.3, 0.9])


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's module, which writes a file when it is imported."""
    file = tmp_path / f"{MODULE}.py"
    file.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(python_layer, "_imported", {})
    monkeypatch.setattr(layer_alone, "_asked", {})
    monkeypatch.setattr(python_layers, "_allowed", set())
    sys.modules.pop(MODULE, None)
    yield Path(f"{file}.imported")
    sys.modules.pop(MODULE, None)


def text_with(name: str, kind: str = "Python") -> str:
    return net_text(
        conv("conv1", "data", 2, 3),
        relu("relu1", "conv1"),
        layer("own", kind, "conv1", "", PARAM % name),
        layer("half", "Power", "own", "", "power_param { scale: 0.5 }"),
        data=(1, 2, 6, 6),
    )


WEIGHTS = arrays(conv1=(noise(2, 2, 3, 3), noise(2)), own=(LEARNED,))


def load(folder: Path, name: str = "Gate", **options: Any) -> Net:
    options = {"python_layers": (MODULE,), **options}
    return load_text("torch", folder, text_with(name), WEIGHTS, **options)


def test_values_and_gradients_are_real_caffe_s(caffe: Any, tmp_path: Path) -> None:
    """The same module, in a batch of another size than the prototxt's."""
    net = load(tmp_path)
    assert not net.opaque
    assert {info.name: info.shape for info in net.layers}["half"] == (1, 2, 4, 4)
    x, diff = noise(3, 2, 6, 6), noise(3, 2, 4, 4, seed=5)
    (tmp_path / "real.prototxt").write_text("force_backward: true\n" + text_with("Gate"))
    real = caffe.Net(str(tmp_path / "real.prototxt"), caffe.TEST)
    for name, blobs in WEIGHTS.items():
        for i, blob in enumerate(blobs):
            real.params[name][i].data[...] = blob
    real.blobs["data"].reshape(*x.shape)
    theirs = real.forward(data=x)["half"]
    np.testing.assert_allclose(net.forward(x)["half"], theirs, 1e-5, 1e-6)
    theirs = real.backward(half=diff)["data"]
    np.testing.assert_allclose(net.backward("half", diff)["data"], theirs, 1e-5, 1e-6)
    assert (theirs != 0).any()


def test_a_backward_pass_belongs_to_its_forward_pass(tmp_path: Path) -> None:
    """Even if the layer, which remembers what was open, has seen other images since."""
    own = load(tmp_path).module.layer("own")
    x = torch.tensor(noise(1, 2, 4, 4), dtype=torch.float32)
    _, saved = own.fwd(x)
    own.fwd(-x)
    own.infer(10 * x)
    (dx,) = own.bwd(saved, [torch.ones_like(x)], "gradient")
    expected = 3 * (x.numpy() > LEARNED[:, None, None].astype(np.float32))
    np.testing.assert_array_equal(dx.numpy(), expected)


def test_weights_that_are_changed_in_use(tmp_path: Path) -> None:
    own = load(tmp_path).module.layer("own")
    x = torch.tensor(noise(1, 2, 4, 4), dtype=torch.float32)
    for threshold in (0.5, -0.5):
        with torch.no_grad():
            own.weight.fill_(threshold)
        (top,) = own.infer(x)
        np.testing.assert_allclose(top, 3 * x * (x > threshold), 1e-6)


def test_autograd_passes_through(tmp_path: Path) -> None:
    net = load(tmp_path)
    x, diff = noise(2, 2, 6, 6), noise(2, 2, 4, 4, seed=5)
    image = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    net.module(image).backward(torch.tensor(diff, dtype=torch.float32))
    net.forward(x)
    np.testing.assert_allclose(image.grad, net.backward("half", diff)["data"], 1e-5, 1e-6)


def test_in_place_and_without_a_backward_pass(tmp_path: Path) -> None:
    text = net_text(
        conv("conv1", "data", 2, 3),
        layer("own", "Python", "conv1", "conv1 sums", PARAM % "Halves"),
        data=(1, 2, 6, 6),
    )
    weights = {"conv1": WEIGHTS["conv1"]}
    net = load_text("torch", tmp_path, text, weights, python_layers=(MODULE,))
    x = noise(2, 2, 6, 6)
    before = net.forward(x, ["conv1:raw"])["conv1:raw"]
    found = net.forward(x, ["conv1", "sums"])
    np.testing.assert_allclose(found["conv1"], before / 2, 1e-6)
    np.testing.assert_allclose(found["sums"][:, 0], before.sum((1, 2, 3)) / 2, 1e-4, 1e-5)
    assert not net.backward("sums", np.ones((2, 1)))["data"].any()


def test_the_ascent_runs_through_it(tmp_path: Path) -> None:
    (run,) = optimize(load(tmp_path), "half", [1], iterations=5, seeds=[1])
    assert run.activations[-1] > run.activations[0]


def test_a_layer_of_single_images(tmp_path: Path) -> None:
    """Its error says so, and so commands show it one image at a time."""
    net = load(tmp_path, "Single")
    assert net.forward(noise(1, 2, 6, 6))["half"].any()
    why = why_mixed(net.model, Value("half"))
    assert "reshape of layers_of_the_user.Single raised ValueError: one image at a time" in why


# -- permission ------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [(), ("another_module",)])
def test_other_modules_are_never_imported(
    tmp_path: Path, module: Path, allowed: tuple[str, ...]
) -> None:
    net = load(tmp_path, python_layers=allowed)
    reason = net.opaque["own"].reason
    assert "class 'Gate' of module 'layers_of_the_user'" in reason
    assert 'python_layers = ("layers_of_the_user",)' in reason
    assert "--python-layers layers_of_the_user" in reason
    assert not module.exists()
    with pytest.raises(EngineError, match="its module is not allowed to run"):
        net.forward(noise(1, 2, 6, 6), ["own"])
    model = load_model(tmp_path / "net.prototxt", WEIGHTS)
    assert model.opaque["own"].reason == reason


def test_no_prototxt_gives_the_permission(tmp_path: Path, module: Path) -> None:
    """By the name that the type of an allowed layer has."""
    text = text_with("Gate", kind="PythonLayer")
    net = load_text("torch", tmp_path, text, WEIGHTS)
    assert "own" in net.opaque
    assert not module.exists()
    param = load_model(tmp_path / "net.prototxt", WEIGHTS).graph.layer("own").param
    param.type = "PythonLayer"  # whoever comes past what reads prototxts
    with pytest.raises(ModelError, match="its module is not allowed to run"):
        RULES["PythonLayer"](param, [(1, 2, 4, 4)])
    assert not module.exists()
    load(tmp_path)
    assert module.exists()
    assert "own" in load_text("torch", tmp_path, text, WEIGHTS).opaque


def test_the_setting_reaches_the_net(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        net_text(
            layer("tanh", "TanH", "data"),
            layer("own", "Python", "data", "", PARAM % "Twice"),
            data=(1, 2, 6, 6),
        )
    )
    x = noise(1, 2, 6, 6)
    for allowed, opaque in (("", {"own"}), (f"other, {MODULE}", set())):
        settings = Settings(prototxt=path, engine="torch", device="cpu", python_layers=allowed)
        assert set(load_layers(settings).opaque) == opaque
        net = load_net(settings)
        assert set(net.opaque) == opaque
    np.testing.assert_allclose(net.forward(x)["own"], 2 * x, 1e-6)


def test_data_and_losses_of_an_allowed_module_are_passed_over(tmp_path: Path) -> None:
    text = "\n".join(
        [
            f'layer {{ name: "read" type: "Python" top: "data" top: "label" {PARAM % "Gate"} }}',
            layer("own", "Python", "data", "", PARAM % "Gate"),
            layer("fc", "InnerProduct", "own", "", "inner_product_param { num_output: 3 }"),
            layer("wrong", "Python", "fc label", "", f"loss_weight: 1 {PARAM % 'Wrong'}"),
        ]
    )
    weights = arrays(own=(LEARNED,), fc=(noise(3, 32), noise(3)))
    net = load_text(
        "torch", tmp_path, text, weights, input_shapes=(1, 2, 4, 4), python_layers=(MODULE,)
    )
    assert (tuple(net.inputs), net.outputs) == (("data",), ("fc",))
    x = noise(1, 2, 4, 4)
    opened = 3 * x * (x > LEARNED[:, None, None])
    expected = opened.reshape(1, -1) @ weights["fc"][0].T + weights["fc"][1]
    np.testing.assert_allclose(net.forward(x)["fc"], expected, 1e-5, 1e-5)


# -- errors of the user's code ---------------------------------------------------------------------


def line_of(words: str) -> int:
    return next(i for i, line in enumerate(SOURCE.split("\n"), 1) if words in line)


def test_an_error_in_a_pass_says_where(tmp_path: Path) -> None:
    net = load(tmp_path, "Wrong")
    where = rf"{MODULE}.py, line {line_of('# wrong')}\)"
    with pytest.raises(EngineError, match=rf"'own' .* forward of .*ZeroDivisionError: .*{where}"):
        net.forward(noise(1, 2, 6, 6))
    own = load(tmp_path, "Wrong").module.layer("own")
    own.param.python_param.param_str = "4"
    _, saved = own.fwd(torch.ones(1, 2, 4, 4))
    where = rf"{MODULE}.py, line {line_of('nobody home')}\)"
    with pytest.raises(
        EngineError, match=rf"'own' .*backward of .*KeyError: 'nobody home' .*{where}"
    ):
        own.bwd(saved, [torch.ones(1, 2, 4, 4)], "gradient")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (text_with("Gate").replace('"3"', '"three"'), "setup of .*ValueError: could not convert"),
        (text_with("Gait"), "module 'layers_of_the_user' .* has no class 'Gait'"),
        (
            text_with("Gate").replace(MODULE, "not_there"),
            "there is no module 'not_there' .*PYTHONPATH",
        ),
    ],
)
def test_a_layer_that_cannot_be_made_is_opaque(tmp_path: Path, text: str, words: str) -> None:
    net = load_text("torch", tmp_path, text, WEIGHTS, python_layers=(MODULE, "not_there"))
    with pytest.raises(EngineError, match=words):
        net.forward(noise(1, 2, 6, 6), ["own"])
    assert net.forward(noise(1, 2, 6, 6), ["conv1"])["conv1"].any()
