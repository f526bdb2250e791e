"""Choosing an engine when not all of them are installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, net_text, relu

from deepvis_caffe.engines.base import EngineChoice
from deepvis_caffe.engines.load import (
    Offer,
    choose_engine,
    load_net,
    pycaffe_offer,
    torch_offer,
)
from deepvis_caffe.engines.pycaffe.library import import_caffe
from deepvis_caffe.errors import (
    EngineError,
    ImageError,
    ModelError,
    SettingsError,
    UnknownNameError,
)
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.model import load_model
from deepvis_caffe.settings import Settings


@pytest.fixture
def no_caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caffe", None)  # an import of it fails


CANNOT = Offer(None, "it has no such layer")
CPU, GPU = Offer("cpu"), Offer("cuda:0")


@pytest.mark.parametrize(
    ("torch", "pycaffe", "expected"),
    [
        (GPU, GPU, ("torch", "cuda:0", "PyTorch can use a GPU")),
        (GPU, CANNOT, ("torch", "cuda:0", "PyTorch can use a GPU")),
        (CPU, GPU, ("pycaffe", "cuda:0", "Caffe can use a GPU, PyTorch cannot")),
        (CPU, CPU, ("torch", "cpu", "on a CPU PyTorch is faster than Caffe")),
        (CPU, CANNOT, ("torch", "cpu", "on a CPU PyTorch is faster than Caffe")),
        (CANNOT, GPU, ("pycaffe", "cuda:0", "not torch: it has no such layer")),
        (CANNOT, CPU, ("pycaffe", "cpu", "not torch: it has no such layer")),
    ],
)
def test_auto_takes_the_fastest(torch: Offer, pycaffe: Offer, expected: tuple[str, ...]) -> None:
    def ask_caffe(layers: Any, device: str) -> Offer:
        """Of a device that Caffe cannot use it says so."""
        return Offer(None, "no GPU") if device == "cuda" and pycaffe is CPU else pycaffe

    choice = choose_engine(torch=lambda layers, device: torch, pycaffe=ask_caffe)
    assert (choice.engine, choice.device, choice.reason) == expected


def test_auto_on_the_cpu_does_not_ask_caffe_for_a_gpu() -> None:
    asked: list[str] = []

    def ask_caffe(layers: Any, device: str) -> Offer:
        asked.append(device)
        return GPU

    choice = choose_engine(device="cpu", torch=lambda layers, device: CPU, pycaffe=ask_caffe)
    assert (choice.engine, asked) == ("torch", [])


def test_no_engine_at_all_says_why_of_each() -> None:
    offers = {name: lambda *_, name=name: Offer(None, f"{name} is not there") for name in "ab"}
    message = r"torch: a is not there\. pycaffe: b is not there"
    with pytest.raises(EngineError, match=message):
        choose_engine(torch=offers["a"], pycaffe=offers["b"])


@pytest.mark.parametrize("engine", ["torch", "pycaffe"])
def test_an_engine_that_is_asked_for_is_taken_or_refused(engine: str) -> None:
    choice = choose_engine(engine, **{engine: lambda layers, device: CPU})
    assert (choice.engine, choice.device, choice.reason) == (engine, "cpu", "as asked for")
    with pytest.raises(EngineError, match="it has no such layer"):
        choose_engine(engine, **{engine: lambda layers, device: CANNOT})


def test_what_torch_offers(tmp_path: Path) -> None:
    def layers(kind: str) -> Any:
        text = net_text(layer("l", kind, "data"), data=(1, 1))
        (tmp_path / "net.prototxt").write_text(text)
        return load_model(tmp_path / "net.prototxt", None, need_weights=False).graph

    assert torch_offer(layers("ReLU"), "cpu") == CPU
    lacking = torch_offer(layers("Detector"), "cpu")
    assert (lacking.device, lacking.lacks) == ("cpu", ("l",))
    assert "'l' (Detector)" in lacking.why_not
    assert "sees" in torch_offer(layers("ReLU"), "cuda:99").why_not


def test_pycaffe_offers_nothing_where_it_is_missing(no_caffe: None) -> None:
    assert "make pycaffe" in pycaffe_offer([], "cpu").why_not


def test_a_net_knows_why_its_engine_was_chosen(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(net_text(relu("l", "data"), data=(1, 1)))
    net = load_net(path, None, "torch", device="cpu")
    assert net.choice == EngineChoice("torch", "cpu", "as asked for")
    assert load_net(path, None, device="cpu").choice.engine == "torch"


def test_forced_pycaffe_that_is_missing(no_caffe: None) -> None:
    with pytest.raises(EngineError, match="make pycaffe"):
        import_caffe()


def test_another_module_called_caffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of that name on the path is enough to be imported."""
    (tmp_path / "caffe").mkdir()
    monkeypatch.setitem(sys.modules, "caffe", None)  # so that what is there now comes back
    monkeypatch.delitem(sys.modules, "caffe")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(EngineError, match=r"is not Caffe: it has no Net"):
        import_caffe()


def test_unknown_engine() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'torch'"):
        choose_engine("troch")


def test_settings_without_a_prototxt() -> None:
    with pytest.raises(SettingsError, match="prototxt"):
        load_net(Settings())


def test_volumes_run_as_arrays(engine: str, tmp_path: Path) -> None:
    """A net over video clips, (N, C, D, H, W): all but pictures works."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(1, 2, 2, 3, 3)).astype(np.float32)
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: [1, 2, 3, 4, 5] } } } "
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param '
        "{ num_output: 1 kernel_size: [2, 3, 3] bias_term: false } }"
    )
    net = load_net(path, {"c": [weights]}, engine, mean=(1, 2), device="cpu")
    assert net.layers[1].shape == (1, 1, 2, 2, 3)
    x = rng.normal(size=(1, 2, 3, 4, 5)).astype(np.float32)
    c = net.forward(x)["c"]
    np.testing.assert_allclose(c[0, 0, 1, 0, 2], (weights[0] * x[0, :, 1:, 0:3, 2:]).sum(), 1e-4)
    diff = np.zeros_like(c)
    diff[0, 0, 1, 0, 2] = 1
    expected = np.zeros_like(x)
    expected[0, :, 1:, 0:3, 2:] = weights[0]
    np.testing.assert_allclose(net.backward("c", diff)["data"], expected, 1e-6)
    evaluated = net.evaluate(net.ops.asarray(x), "c")
    np.testing.assert_allclose(net.ops.numpy(evaluated), c, 1e-5)
    np.testing.assert_allclose(
        net.ops.numpy(net.input_gradient(net.ops.asarray(diff))), expected, 1e-6
    )
    with pytest.raises(ImageError, match=r"'data'.*\(1, 2, 3, 4, 5\).*\(N, C, H, W\)"):
        _ = net.preprocessor


def test_no_image_at_all(engine: str, tmp_path: Path) -> None:
    """Caffe divides by the number of images, and ends the process."""
    net = load_net(write_trained(tmp_path, ""), WEIGHTS, engine, device="cpu")
    with pytest.raises(EngineError, match=r"got shape \(0, 3, 2, 2\)"):
        net.forward(np.zeros((0, 3, 2, 2), np.float32))


WEIGHTS = {"c": [np.ones((1, 3, 1, 1), np.float32)]}
WHITE = np.full((2, 2, 3), 255, np.uint8)
MEANS = "mean_value: 10 mean_value: 20 mean_value: 30"


def write_trained(folder: Path, transform: str, old: str = "") -> Path:
    """A train_val file; its pictures were prepared as `transform`, or V1's `old`, says."""
    path = folder / "train_val.prototxt"
    if old:
        text = f'layers {{ name: "d" type: DATA top: "data" data_param {{ {old} }} }} layers {{ '
        kind = "CONVOLUTION"
    else:
        text = (
            'layer { name: "d" type: "Data" top: "data" include { phase: TRAIN } '
            "transform_param { crop_size: 2 scale: 9 mean_value: 99 } } "
            'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST } '
            f"transform_param {{ crop_size: 2 {transform} }} }} layer {{ "
        )
        kind = '"Convolution"'
    path.write_text(
        f'{text} name: "c" type: {kind} bottom: "data" top: "c" '
        "convolution_param { num_output: 1 kernel_size: 1 bias_term: false } }"
    )
    return path


@pytest.mark.parametrize(
    ("transform", "options", "expected"),
    [
        ("", {}, [255, 255, 255]),
        (f"scale: 0.5 {MEANS}", {}, [122.5, 117.5, 112.5]),
        ("scale: 0.5 mean_value: 55", {}, [100, 100, 100]),
        (f"scale: 0.5 {MEANS}", {"mean": 0}, [127.5, 127.5, 127.5]),
        (f"scale: 0.5 {MEANS}", {"input_scale": 1}, [245, 235, 225]),
        (f"scale: 0.5 {MEANS}", {"raw_scale": 1}, [1, 1, 1]),
        ("mean_file: 'elsewhere/mean.npy'", {}, [254, 253, 252]),
    ],
)
def test_pictures_are_prepared_as_in_training(
    tmp_path: Path, transform: str, options: dict[str, Any], expected: list[float]
) -> None:
    """White minus the mean, times the scale, as Caffe's data layers; the caller's own win."""
    np.save(tmp_path / "mean.npy", np.float32([1, 2, 3]))
    net = load_net(write_trained(tmp_path, transform), WEIGHTS, "torch", device="cpu", **options)
    np.testing.assert_allclose(net.preprocessor(WHITE)[:, 0, 0], expected, 1e-6)


@pytest.mark.parametrize(
    ("transform", "options", "said"),
    [
        (MEANS, {"mean": (104, 117, 123)}, "(104, 117, 123), but ... (10, 20, 30); mean = None"),
        (MEANS, {"mean": (10.4, 19.7, 30)}, ""),  # as people round it
        (MEANS, {"mean": 0}, ""),  # there was none, they say
        (MEANS, {}, ""),
        ("mean_file: 'away/mean.npy'", {"mean": 55}, "(55, 55, 55), ... (1, 2, 3, away/mean.npy)"),
        ("mean_file: 'away/mean.npy'", {"mean": (1, 2, 3)}, ""),
        ("mean_file: 'gone.npy'", {"mean": 55}, ""),
        (
            f"scale: 0.5 {MEANS}",
            {"input_scale": 0.017},
            "is 0.017, ... 0.5; input_scale = None",
        ),
        ("scale: 0.017", {"input_scale": 0.017}, ""),
        (f"scale: 0.00390625 {MEANS}", {"raw_scale": 1, "mean": 0.4}, ""),
        ("", {"mean": (104, 117, 123), "input_scale": 0.017}, ""),
    ],
)
def test_settings_that_differ_from_training_are_reported(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    transform: str,
    options: dict[str, Any],
    said: str,
) -> None:
    np.save(tmp_path / "mean.npy", np.float32([1, 2, 3]))
    path = write_trained(tmp_path, transform)
    load_net(path, WEIGHTS, "torch", device="cpu", **options)
    told = [line for line in caplog.messages if "transform_param says" in line]
    assert bool(told) == bool(said)
    if said:
        assert all(part in told[0] for part in said.split(" ... "))


def test_the_mean_of_an_old_file_and_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "sub/mean.npy", np.float32([1, 2, 3]))
    path = write_trained(tmp_path, "", "crop_size: 2 scale: 0.5 mean_file: 'sub/mean.npy'")
    write_caffemodel(tmp_path / "w.caffemodel", "n", {"c": ("Convolution", WEIGHTS["c"])})
    given: dict[str, Any] = {"prototxt": path, "weights": tmp_path / "w.caffemodel"}
    for more, expected in (
        ({}, [127, 126.5, 126]),
        ({"mean": (55,)}, [100, 100, 100]),
        ({"input_scale": 1}, [254, 253, 252]),
    ):
        net = load_net(Settings(**given, **more, engine="torch", device="cpu"))
        np.testing.assert_allclose(net.preprocessor(WHITE)[:, 0, 0], expected, 1e-6)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(("crop", "size"), [("", (6, 7)), ("crop_size: 4", (4, 4))])
def test_pictures_have_the_shape_of_the_mean_image(
    tmp_path: Path, crop: str, size: tuple[int, int], channels: int
) -> None:
    """As in Caffe, whose data layers subtract it pixel by pixel, and then cut the center out."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 7, channels), np.uint8)
    mean = np.moveaxis(picture[..., ::-1], -1, 0)  # channels first, in BGR
    np.save(tmp_path / "mean.npy", mean[None])
    path = tmp_path / "train.prototxt"
    path.write_text(
        'layer { name: "d" type: "Data" top: "data" '
        f"transform_param {{ {crop} mean_file: 'mean.npy' }} }}" + conv("c", "data", 1)
    )
    weights = {"c": [np.ones((1, channels, 1, 1)), np.zeros(1)]}
    net = load_net(path, weights, "torch", device="cpu")
    assert net.inputs == {"data": (1, channels, *size)}
    assert not net.preprocessor(picture).any()


def test_a_mean_file_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_trained(tmp_path, "mean_file: '/data/ilsvrc12/imagenet_mean.binaryproto'")
    net = load_net(path, WEIGHTS, "torch", device="cpu")
    assert (net.preprocessor(WHITE) == 255).all()
    assert "/data/ilsvrc12/imagenet_mean.binaryproto" in caplog.text
    assert "mean = '/path/to/imagenet_mean.binaryproto'" in caplog.text


def test_the_settings_choose_a_stage_and_the_images_shape(engine: str, tmp_path: Path) -> None:
    """A shape without a name is the image's, also where another input comes first."""
    conv = layer("NAME", "Convolution", "data", "out", "convolution_param { num_output: 1 } RULE")
    text = "".join(
        conv.replace("NAME", stage)
        .replace("num_output: 1", f"num_output: 1 bias_term: false kernel_size: {size}")
        .replace("RULE", f'include {{ stage: "{stage}" }}')
        for stage, size in (("small", 1), ("large", 3))
    )
    info = layer("info", "Input", "", "info", "input_param { shape { dim: 1 dim: 3 } }")
    path, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    path.write_text(info + text + layer("flat", "Flatten", "info"))
    blobs = {"small": np.full((1, 2, 1, 1), 2, np.float32), "large": np.ones((1, 2, 3, 3))}
    write_caffemodel(weights, "n", {k: ("Convolution", [np.float32(v)]) for k, v in blobs.items()})
    given: dict[str, Any] = {"prototxt": path, "weights": weights, "input_shape": "1,2,5,6"}
    for stage, value in (("small", 4), ("large", 18)):
        net = load_net(Settings(**given, stages=stage, engine=engine, device="cpu"))
        assert net.inputs["data"] == (1, 2, 5, 6)
        x = {"data": np.ones((1, 2, 5, 6), np.float32), "info": np.zeros((1, 3), np.float32)}
        assert (net.forward(x, ["out"])["out"] == value).all()
        same = load_net(
            path, weights, engine, input_shapes=(1, 2, 5, 6), stages=(stage,), device="cpu"
        )
        np.testing.assert_array_equal(same.forward(x, ["out"])["out"], net.forward(x)["out"])


def test_a_net_of_nothing_but_constants_is_refused_with_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    shape = "dummy_data_param { shape { dim: 1 } }"
    path.write_text(layer("k", "DummyData", "", "k", shape))
    with pytest.raises(ModelError, match="no layer is left"):
        load_net(path, None, "torch", device="cpu")


def test_running_out_of_memory_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    net = load_net(write_trained(tmp_path, ""), WEIGHTS, "torch", device="cpu")

    def full(*args: Any, **options: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(torch, "from_numpy", full)
    with pytest.raises(EngineError, match=r"not enough memory for the inputs data \(1, 3, 2, 2\)"):
        net.forward(np.zeros((1, 3, 2, 2), np.float32))
    monkeypatch.undo()
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(EngineError, match=r"not enough memory for a copy .* shape \(1, 1, 2, 2\)"):
        net.forward(np.zeros((1, 3, 2, 2), np.float32))


@pytest.mark.parametrize(
    ("data", "mean_shape", "expected"),
    [
        ('type: "ImageData" image_data_param { new_height: 12 new_width: 14 }', None, (12, 14)),
        ('type: "Data"', (3, 11, 13), (11, 13)),
        ('type: "Data"', None, None),
        ('type: "ImageData" image_data_param { new_height: 8 new_width: 8 }', None, None),
    ],
)
def test_a_data_layers_own_size_before_the_crop(
    data: str, mean_shape: tuple[int, ...] | None, expected: tuple[int, int] | None, tmp_path: Path
) -> None:
    transform = "crop_size: 8"
    if mean_shape:
        (tmp_path / "mean.npy").write_bytes(b"")
        np.save(tmp_path / "mean.npy", np.ones(mean_shape, np.float32))
        transform += ' mean_file: "mean.npy"'
    text = f'layer {{ name: "d" top: "data" {data} transform_param {{ {transform} }} }}'
    path = tmp_path / "net.prototxt"
    path.write_text(text + relu("l", "data"))
    net = load_net(path, None, "torch", device="cpu")
    assert net.preprocessor.resize_to == expected
    own = load_net(path, None, "torch", device="cpu", resize_to=(20, 21))
    assert own.preprocessor.resize_to == (20, 21)
