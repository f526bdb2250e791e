"""The pycaffe engine against the stock `caffe.Net` that a user would build by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from helpers.engine_nets import (
    arrays,
    conv,
    layer,
    load_text,
    net_text,
    noise,
    relative_error,
    relu,
    weights_for,
)

from deepvis_caffe.engines.load import choose_engine, load_net
from deepvis_caffe.engines.pycaffe.library import choose_device, enter_device, import_caffe
from deepvis_caffe.engines.pycaffe.surgery import write_net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.schema_pb2 import LayerParameter
from deepvis_caffe.settings import Settings

pytestmark = pytest.mark.pycaffe

BRANCHED = net_text(
    conv("conv1", "data", 4, 3, "pad: 1"),
    layer("bn1", "BatchNorm", "conv1", "conv1"),
    layer("scale1", "Scale", "conv1", "conv1", "scale_param { bias_term: true }"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 3 stride: 2 }"),
    conv("left", "pool1", 4, 3, "pad: 1"),
    relu("relu_left", "left"),
    layer("sum", "Eltwise", "pool1 left"),
    layer("fc", "InnerProduct", "sum", "", "inner_product_param { num_output: 5 }"),
    layer("drop", "Dropout", "fc", "fc"),
    layer("prob", "Softmax", "fc"),
    data=(2, 3, 8, 9),
)


def stock_net(caffe: Any, folder: Path, text: str, weights: Any) -> Any:
    """What a user does by hand: ``force_backward`` in the prototxt, weights set."""
    path = folder / "stock.prototxt"
    path.write_text(text + "\nforce_backward: true\n")
    net = caffe.Net(str(path), caffe.TEST)
    for name, blobs in weights.items():
        for blob, array in zip(net.params[name], blobs, strict=True):
            blob.data[...] = array
    return net


def test_equals_force_backward_to_the_last_bit(caffe: Any, tmp_path: Path) -> None:
    ours = load_text("pycaffe", tmp_path, BRANCHED)
    stock = stock_net(caffe, tmp_path, BRANCHED, ours.model.weights)
    x, diff = 64 * noise(2, 3, 8, 9), noise(2, 5, seed=2)
    stock.blobs["data"].data[...] = x
    stock.forward()
    acts = ours.forward(x, blobs=["conv1", "sum", "fc", "prob"])
    for blob, array in acts.items():
        np.testing.assert_array_equal(array, stock.blobs[blob].data)
    stock.blobs["prob"].diff[...] = diff
    stock.backward()
    diffs = ours.backward("prob", diff, blobs=["data", "conv1", "pool1", "left", "fc"])
    for blob, array in diffs.items():
        np.testing.assert_array_equal(array, stock.blobs[blob].diff)
    assert diffs["data"].any()


def test_computes_no_weight_gradients(caffe: Any, tmp_path: Path) -> None:
    net = load_text("pycaffe", tmp_path, BRANCHED)
    net.forward(64 * noise(2, 3, 8, 9))
    net.backward("prob", noise(2, 5))
    stock = stock_net(caffe, tmp_path, BRANCHED, net.model.weights)
    stock.blobs["data"].data[...] = 64 * noise(2, 3, 8, 9)
    stock.forward()
    stock.blobs["prob"].diff[...] = noise(2, 5)
    stock.backward()
    for name in net.model.weights:
        if name != "bn1":
            assert stock.params[name][0].diff.any()  # by hand they are computed
        assert not any(blob.diff.any() for blob in net.caffe_net.params[name])


def test_in_place_power_has_its_true_gradient(caffe: Any, tmp_path: Path) -> None:
    """Caffe's own, in place, uses the values that it has overwritten."""
    text = net_text(
        layer("square", "Power", "data", "data", "power_param { power: 2 }"), data=(1, 1, 2, 3)
    )
    net = load_text("pycaffe", tmp_path, text, {})
    x = noise(1, 1, 2, 3)
    net.forward(x)
    dx = net.backward("square", np.ones_like(x))["data"]
    np.testing.assert_allclose(dx, 2 * x, rtol=1e-6)
    stock = stock_net(caffe, tmp_path, text, {})
    stock.blobs["data"].data[...] = x
    stock.forward()
    stock.blobs["data"].diff[...] = 1
    stock.backward()
    assert not np.allclose(stock.blobs["data"].diff, 2 * x)


def test_runs_only_the_layers_that_are_read(caffe: Any, tmp_path: Path) -> None:
    net = load_text("pycaffe", tmp_path, BRANCHED)
    net.forward(64 * noise(2, 3, 8, 9), blobs=["pool1"])
    blobs = net.caffe_net.blobs
    assert not blobs["fc"].data.any()
    net.backward("left", noise(*net.shapes[Value("left")]))  # goes up no further than left
    assert blobs["left"].data.any()
    assert not blobs["fc"].data.any()


def test_values_written_into_its_blobs_count_in_backward(caffe: Any, tmp_path: Path) -> None:
    text = net_text(
        layer("double", "Power", "data", "", "power_param { scale: 2 }"),
        relu("relu", "double"),
        layer("triple", "Power", "double", "", "power_param { scale: 3 }"),
        data=(1, 1, 1, 2),
    )
    net = load_text("pycaffe", tmp_path, text, {})
    x = np.ones((1, 1, 1, 2), np.float32)
    net.forward(x)
    net.caffe_net.blobs["double"].data[...] = [1, -1]  # below the ReLU
    np.testing.assert_array_equal(net.backward("triple", x)["data"], [[[[6, 0]]]])
    net.forward(x)
    np.testing.assert_array_equal(net.backward("triple", x)["data"], [[[[6, 6]]]])
    assert (net.caffe_net.blobs["double#1"].data == 2).all()


def test_smaller_inputs_run_as_far_as_the_layers_allow(caffe: Any, tmp_path: Path) -> None:
    """A window of the image is enough for a convolution; the InnerProduct above is left alone."""
    net = load_text("pycaffe", tmp_path, BRANCHED)
    x = 64 * noise(1, 3, 8, 9)
    whole = net.forward(np.concatenate([x, x]), blobs=["conv1"])["conv1"]
    part = net.forward(x[:, :, :5, :6], blobs=["conv1"])["conv1"]
    assert relative_error(part[0, :, :4, :5], whole[0, :, :4, :5]) < 1e-5
    with pytest.raises(EngineError, match=r"'fc' \(InnerProduct\)"):
        net.backward("fc", noise(1, 5))


def test_arg_max_ends_the_gradient(caffe: Any, tmp_path: Path) -> None:
    text = net_text(
        conv("conv1", "data", 3),
        layer("best", "ArgMax", "conv1", "", "argmax_param { axis: 1 }"),
        layer("float", "Power", "best", "", "power_param { scale: 2 }"),
        layer("smooth", "Sigmoid", "conv1"),
        data=(1, 2, 3, 4),
    )
    net = load_text("pycaffe", tmp_path, text)
    best = net.forward(noise(1, 2, 3, 4))["float"]
    diffs = net.backward("float", np.ones_like(best), blobs=["best", "data"])
    np.testing.assert_array_equal(diffs["best"], 2 * np.ones_like(best))
    assert not diffs["data"].any()
    assert net.backward("smooth", noise(1, 3, 3, 4))["data"].any()  # the other branch has one


def test_shared_weights(caffe: Any, tmp_path: Path) -> None:
    shared = (
        'param { name: "w" lr_mult: 1 } param { name: "b" lr_mult: 2 decay_mult: 0 } '
        "convolution_param { num_output: 2 kernel_size: 1 }"
    )
    text = net_text(
        layer("a", "Convolution", "data", "", shared),
        layer("b", "Convolution", "a", "", shared),
        data=(1, 2, 1, 1),
    )
    w = np.array([[0, 2], [3, 0]]).reshape(2, 2, 1, 1)  # y = (2 x1, 3 x0); twice: (6 x0, 6 x1)
    net = load_text("pycaffe", tmp_path, text, arrays(a=(w, [0, 0])))
    x = noise(1, 2, 1, 1)
    np.testing.assert_allclose(net.forward(x)["b"], 6 * x, rtol=1e-6)
    np.testing.assert_allclose(net.backward("b", x)["data"], 6 * x, rtol=1e-6)


# -- any layer that the user's Caffe has ---------------------------------------------------------


@pytest.fixture
def python_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_layers.py").write_text(
        textwrap.dedent("""
        import caffe

        class Triple(caffe.Layer):
            def setup(self, bottom, top):
                self.factor = float(self.param_str)
            def reshape(self, bottom, top):
                top[0].reshape(*bottom[0].shape)
            def forward(self, bottom, top):
                top[0].data[...] = self.factor * bottom[0].data
            def backward(self, top, propagate_down, bottom):
                bottom[0].diff[...] = self.factor * top[0].diff
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)


PYTHON = 'python_param { module: "my_layers" layer: "%s" param_str: "3" }'


@pytest.mark.process
def test_python_layers(caffe: Any, tmp_path: Path, python_layers: None) -> None:
    text = net_text(
        conv("conv1", "data", 1),
        layer("triple", "Python", "conv1", "", PYTHON % "Triple"),
        layer("half", "Power", "triple", "", "power_param { scale: 0.5 }"),
        data=(1, 1, 2, 3),
    )
    net = load_text("pycaffe", tmp_path, text, arrays(conv1=([[[[2]]]], [0])))
    x = noise(2, 1, 2, 3)
    np.testing.assert_allclose(net.forward(x)["half"], 3 * x, rtol=1e-6)
    np.testing.assert_allclose(net.backward("half", x)["data"], 3 * x, rtol=1e-6)
    shapes = {info.name: info.shape for info in net.layers}
    assert shapes["triple"] == shapes["half"] == (1, 1, 2, 3)  # no rule tells: Caffe does


@pytest.mark.parametrize(
    ("module", "message"), [("my_layers", "no class 'Tripel'"), ("not_there", "PYTHONPATH")]
)
def test_python_layer_that_is_not_there(
    caffe: Any, tmp_path: Path, python_layers: None, module: str, message: str
) -> None:
    params = (PYTHON % "Tripel").replace("my_layers", module)
    text = net_text(layer("x", "Python", "data", "", params), data=(1, 1, 2, 3))
    assert message in load_text("pycaffe", tmp_path, text, {}).opaque["x"].reason


@pytest.mark.process
def test_parameters_of_a_forks_layers_survive(caffe: Any, tmp_path: Path) -> None:
    """`hardsigmoid_param` is in this Caffe's schema and not in ours."""
    params = "hardsigmoid_param { alpha: 0.5 beta: 0.25 }"
    text = net_text(layer("x", "HardSigmoid", "data", "", params), data=(1, 1, 1, 4))
    net = load_text("pycaffe", tmp_path, text, {})
    x = np.array([[[[-9, 0, 0.5, 9]]]], np.float32)
    np.testing.assert_allclose(net.forward(x)["x"], [[[[0, 0.25, 0.5, 1]]]])


def test_layer_types_that_this_caffe_lacks(caffe: Any, tmp_path: Path) -> None:
    text = net_text(
        layer("a", "Swish", "data"),
        layer("b", "ReLU", "a"),
        layer("c", "Mish", "b"),
        data=(1, 1, 2, 2),
    )
    net = load_text("pycaffe", tmp_path, text, {})
    assert list(net.opaque) == ["a", "c"]
    assert "was built without the layer type 'Mish'" in net.opaque["c"].reason
    assert net.opaque["a"].dependents == ("b", "c")


@pytest.mark.process
def test_weights_that_do_not_fit_a_custom_layer(caffe: Any, tmp_path: Path) -> None:
    text = net_text(
        layer("x", "Python", "data", "", PYTHON % "Triple").replace("Python", "BatchNormKyle"),
        data=(1, 2, 2, 2),
    )
    with pytest.raises(EngineError, match=r"'x' .*weights of shapes"):
        load_text("pycaffe", tmp_path, text, arrays(x=([1, 2, 3],)))


@pytest.mark.process
def test_recurrent_layers_have_no_gradient_for_their_flags(caffe: Any, tmp_path: Path) -> None:
    """Caffe aborts where an LSTM is asked for the gradient of its sequence indicators."""
    steps, batch, inputs, outputs = 3, 2, 4, 5
    text = net_text(
        layer("lstm", "LSTM", "x cont", "lstm", f"recurrent_param {{ num_output: {outputs} }}"),
        layer("last", "Power", "lstm", "", "power_param { scale: 2 }"),
        x=(steps, batch, inputs),
        cont=(steps, batch),
    )
    blobs = ((4 * outputs, inputs), (4 * outputs,), (4 * outputs, outputs))
    weights = arrays(lstm=[noise(*shape, seed=i) for i, shape in enumerate(blobs)])
    net = load_text("pycaffe", tmp_path, text, weights)
    x = noise(steps, batch, inputs)
    cont = np.array([[0, 0], [1, 1], [1, 1]], np.float32)
    diff = noise(steps, batch, outputs, seed=2)

    def value(x: np.ndarray) -> float:
        last = net.forward({"x": x, "cont": cont})["last"]
        return float((last.astype(np.float64) * diff).sum())

    value(x)
    diffs = net.backward("last", diff, blobs=["x", "cont"])
    assert not diffs["cont"].any()
    step = 1e-2 * diffs["x"] / np.abs(diffs["x"]).max()
    slope = (value(x + step) - value(x - step)) / 2
    assert float((diffs["x"] * step).sum()) == pytest.approx(slope, rel=1e-2)


# -- files as they come --------------------------------------------------------------------------


def test_train_val_file_of_the_first_generation(caffe: Any, tmp_path: Path) -> None:
    text = """
    name: "old"
    layers { layer { name: "data" type: "data" source: "db" cropsize: 6 batchsize: 64 }
             top: "data" top: "label" }
    layers { layer { name: "conv1" type: "conv" num_output: 2 kernelsize: 3
                     blobs_lr: 1. blobs_lr: 2. }
             bottom: "data" top: "conv1" }
    layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
    layers { layer { name: "fc" type: "innerproduct" num_output: 3 } bottom: "conv1" top: "fc" }
    layers { layer { name: "loss" type: "softmax_loss" } bottom: "fc" bottom: "label" }
    """
    nets = [load_text(engine, tmp_path, text) for engine in ("torch", "pycaffe")]
    assert dict(nets[1].inputs) == {"data": (1, 3, 6, 6)}
    x = 64 * noise(1, 3, 6, 6)
    ours, theirs = (net.forward(x)["prob"] for net in nets)
    assert relative_error(ours, theirs) < 1e-5
    ours, theirs = (net.backward("fc", noise(1, 3), "guided")["data"] for net in nets)
    assert relative_error(ours, theirs) < 1e-5


def test_cudnn_and_loss_weights_do_not_stop_it(caffe: Any, tmp_path: Path) -> None:
    convolution = "convolution_param { num_output: 1 kernel_size: 1 engine: CUDNN }"
    params = f"loss_weight: 3 propagate_down: false {convolution}"
    text = net_text(
        layer("conv1", "Convolution", "data", "", params),
        layer("prob", "Softmax", "conv1", "", "softmax_param { engine: CUDNN }"),
        data=(1, 1, 2, 2),
    )
    net = load_text("pycaffe", tmp_path, text)
    net.forward(64 * noise(1, 1, 2, 2))
    assert net.backward("conv1", noise(1, 1, 2, 2))["data"].any()


def test_written_net_is_the_users_net(caffe: Any, tmp_path: Path) -> None:
    """Names of layers stay, so weights and errors speak of them; blobs get one writer each."""
    from caffe.proto import caffe_pb2

    path = tmp_path / "net.prototxt"
    path.write_text(net_text(relu("relu1", "data"), relu("relu2", "data"), data=(1, 1, 2, 2)))
    model = load_model(path, None)
    written = write_net(model, caffe_pb2, model.opaque)
    net = caffe_pb2.NetParameter()
    text_format.Parse(written.text, net)
    named = [(layer.name, list(layer.bottom), list(layer.top)) for layer in net.layer]
    assert named == [
        ("data", [], ["data"]),
        ("data (gradient tap)", ["data"], ["data"]),
        ("relu1", ["data"], ["data#1"]),
        ("relu2", ["data#1"], ["data#2"]),
    ]


# -- the library ---------------------------------------------------------------------------------


def test_auto_takes_pycaffe_for_layers_that_only_it_knows(caffe: Any) -> None:
    wider = Layer(0, "l", "Resize", (Value("data"),), (Value("l"),), LayerParameter())
    choice = choose_engine("auto", "cpu", [wider])
    assert (choice.engine, choice.device) == ("pycaffe", "cpu")
    assert "'l' (Resize)" in choice.reason


def test_no_gpu_is_a_clear_error(caffe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepvis_caffe.engines.pycaffe.library.GPU_FILES", ())
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(EngineError, match="cannot use 'cuda:3'"):
        choose_device("cuda:3")
    with pytest.raises(EngineError, match="no device named 'gpu'"):
        choose_device("gpu")


@pytest.mark.process
def test_gpu_that_caffe_cannot_use_does_not_end_the_process(
    caffe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caffe aborts where it is asked for a GPU that it cannot use; a child process is asked."""
    monkeypatch.setattr("deepvis_caffe.engines.pycaffe.library.GPU_FILES", (__file__,))
    with pytest.raises(EngineError, match="cannot use 'cuda:99'"):
        choose_device("cuda:99")


def test_device_is_set_in_each_thread() -> None:
    """Caffe keeps mode and device per thread, so every pass sets them."""
    calls: list[Any] = []
    caffe = SimpleNamespace(
        set_mode_cpu=lambda: calls.append("cpu"),
        set_mode_gpu=lambda: calls.append("gpu"),
        set_device=calls.append,
    )
    enter_device(caffe, "cuda:1")
    enter_device(caffe, "cpu")
    assert calls == [1, "gpu", "cpu"]


@pytest.mark.process
def test_screen_and_environment_stay_clean(caffe: Any, tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(BRANCHED)
    code = """
    import sys
    sys.path.insert(0, "tests")
    from pathlib import Path
    from helpers.engine_nets import load_net, noise, weights_for
    path = Path(sys.argv[1])
    net = load_net(path, weights_for(path), "pycaffe", mean=0)
    net.forward(noise(2, 3, 8, 9))
    import os
    assert "GLOG_minloglevel" not in os.environ  # it was set while Caffe was imported
    """
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), tmp_path / "net.prototxt"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_settings_say_it_all(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(net_text(relu("relu1", "data"), data=(1, 3, 8, 8)))
    settings = Settings(
        prototxt=path, engine=engine, mean="1,2,3", raw_scale=1, input_shape="2,3,5,7", device="cpu"
    )
    net = load_net(settings)
    assert net.engine == engine
    assert dict(net.inputs) == {"data": (2, 3, 5, 7)}
    white = net.preprocessor(np.full((5, 7, 3), 255, np.uint8))
    np.testing.assert_allclose(white[:, 0, 0], [0, -1, -2])


def test_imported_caffe_is_caffe(caffe: Any) -> None:
    assert import_caffe() is caffe


FORKED = net_text(
    conv("conv", "data", 2, 1, "engine: MKL2017"),
    layer("p", "Pooling", "conv", "", "pooling_param { kernel_size: 2 stride: 2 ROUND }"),
    data=(1, 1, 5, 5),
)


def test_words_of_other_caffes(caffe: Any, tmp_path: Path) -> None:
    """What one Caffe calls ``round_mode: FLOOR`` and ``engine: MKL2017``, another runs as well."""
    x = noise(1, 1, 5, 5)
    for word, size in (("round_mode: FLOOR", 2), ("round_mode: CEIL", 3), ("", 3)):
        net = load_text("pycaffe", tmp_path, FORKED.replace("ROUND", word))
        conv_, pool = net.forward(x, blobs=["conv", "p"]).values()
        assert pool.shape == (1, 2, size, size)
        assert pool[0, 0, 1, 1] == conv_[0, 0, 2:4, 2:4].max()


def test_rounding_is_written_in_the_words_of_the_caffe_at_hand(caffe: Any, tmp_path: Path) -> None:
    """Field 13 is a bool in forks, where 1 rounds up, and an enum in later Caffe, where 0 does."""
    path = tmp_path / "net.prototxt"
    path.write_text(FORKED.replace("engine: MKL2017", "").replace("ROUND", "round_mode: FLOOR"))
    model = load_model(path, weights_for(path, 0))
    for field, expected in (("ceil_mode", "ceil_mode: false"), ("round_mode", "round_mode: FLOOR")):
        assert expected in write_net(model, caffe_schema(field), model.opaque).text
    with pytest.raises(EngineError, match=r"'p'.*rounds its output size down"):
        write_net(model, caffe_schema(None), model.opaque)


@pytest.mark.process
def test_layers_that_only_caffe_knows_do_not_end_the_process(caffe: Any, tmp_path: Path) -> None:
    size = "height: 4"
    text = net_text(
        layer("x", "Resize", "data", "", f"resize_param {{ {size} }}"), data=(1, 1, 4, 4)
    )
    with pytest.raises(EngineError, match=r"cannot build this net: .*output width is required"):
        load_text("pycaffe", tmp_path, text, {})
    net = load_text("pycaffe", tmp_path, text.replace(size, f"{size} width: 4"), {})
    x = noise(1, 1, 4, 4)
    np.testing.assert_array_equal(net.forward(x)["x"], x)


FORKS_LAYERS = """
    layer { name: "q" type: "Reverse" bottom: "data" top: "q" reverse_param { axis: 2 } }
    layer { name: "d" type: "Dropout" bottom: "q" top: "d"
            dropout_param { dropout_ratio: 0.25 scale_train: true } }
    layer { name: "o" type: "Own" bottom: "d" top: "o" own_param { size: 3 } }
"""


def test_a_forks_caffe_gets_the_forks_parameters(caffe: Any, tmp_path: Path) -> None:
    """They have other numbers in our schema; what both number alike comes once."""
    path = tmp_path / "net.prototxt"
    path.write_text(net_text(FORKS_LAYERS, data=(1, 2, 3, 3)))
    schema = caffe_schema(None, fork=True)
    net = schema.NetParameter()
    model = load_model(path, None)
    text_format.Parse(write_net(model, schema, OpaqueLayers(model.graph, {})).text, net)
    reverse, dropout, own = net.layer[2:]
    assert reverse.reverse_param.axis == 2
    assert dropout.dropout_param.dropout_ratio == 0.25
    assert own.own_param.size == 3
    assert [list(layer.bottom) for layer in net.layer[2:]] == [["data"], ["q"], ["d"]]


def test_a_forks_caffe_does_not_do_again_what_became_a_layer(caffe: Any, tmp_path: Path) -> None:
    """A Dropout that scales became a Power; its own parameter is not given back to the fork."""
    path = tmp_path / "net.prototxt"
    scaling = FORKS_LAYERS.replace("scale_train: true", "scale_train: false")
    path.write_text(net_text(scaling, data=(1, 2)))
    schema = caffe_schema(None, fork=True)
    net = schema.NetParameter()
    model = load_model(path, None)
    text_format.Parse(write_net(model, schema, OpaqueLayers(model.graph, {})).text, net)
    power = net.layer[3]
    assert (power.type, power.power_param.scale) == ("Power", 0.75)
    assert not power.HasField("dropout_param")


def caffe_schema(rounding: str | None, *, fork: bool = False) -> Any:
    """Caffe's schema with field 13 of PoolingParameter as later Caffe, a fork, or 1.0 has it.

    With `fork`, it also has parameters that a fork added, under numbers that the fork chose.
    """
    from caffe.proto import caffe_pb2
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    pooling = next(m for m in file.message_type if m.name == "PoolingParameter")
    kept = [field for field in pooling.field if field.number != 13]
    del pooling.field[:]
    pooling.field.extend(kept)
    if rounding == "ceil_mode":
        pooling.field.add(name=rounding, number=13, type="TYPE_BOOL", label="LABEL_OPTIONAL")
    if rounding == "round_mode":
        pooling.enum_type.add(name="RoundMode", value=[{"name": "CEIL"}, {"name": "FLOOR"}])
        pooling.enum_type[-1].value[0].number, pooling.enum_type[-1].value[1].number = 0, 1
        pooling.field.add(
            name=rounding,
            number=13,
            type="TYPE_ENUM",
            type_name=".caffe.PoolingParameter.RoundMode",
            label="LABEL_OPTIONAL",
        )
    if fork:
        layers = next(m for m in file.message_type if m.name == "LayerParameter")
        for number, kind, name in ((2001, "Reverse", "axis"), (2002, "Own", "size")):
            message = file.message_type.add(name=f"{kind}Parameter")
            message.field.add(name=name, number=1, type="TYPE_INT32", label="LABEL_OPTIONAL")
            layers.field.add(
                name=f"{kind.lower()}_param",
                number=number,
                type="TYPE_MESSAGE",
                type_name=f".caffe.{kind}Parameter",
                label="LABEL_OPTIONAL",
            )
        dropout = next(m for m in file.message_type if m.name == "DropoutParameter")
        dropout.field.add(name="scale_train", number=2, type="TYPE_BOOL", label="LABEL_OPTIONAL")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in ("NetParameter", "LayerParameter")
    }
    return SimpleNamespace(**found, TRAIN=caffe_pb2.TRAIN)
