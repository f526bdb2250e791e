"""The `deepvis` command end to end on a small model; its files against the library's arrays."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model
from helpers.commands import deepvis, read_rgb
from helpers.waiting import LONG
from typer.testing import CliRunner

import deepvis_caffe as dv
from deepvis_caffe.cli.main import COMMANDS, app
from deepvis_caffe.cli.optimize import optimize
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import write_image
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.optimizer import AscentParams
from deepvis_caffe.settings import Settings
from deepvis_caffe.settings.fields import MODEL, OPTIMIZER, RUNNING

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def photo(folder: Path) -> np.ndarray:
    """24 x 32, twice the net's input."""
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    write_image(folder / "photo.png", picture)
    return picture


# -- info ----------------------------------------------------------------------------------------


def test_info_as_json() -> None:
    record = json.loads(deepvis("info", "--json").stdout)
    assert (record["net"], record["engine"]) == ("Small", "torch")
    assert record["inputs"] == {"data": [1, 3, 12, 16]}
    assert record["weights"] == 5 * 27 + 5 + 4 * 175 + 4
    _, conv, relu, fc, prob = record["layers"]
    assert conv == {
        "name": "conv/1",
        "type": "Convolution",
        "bottoms": ["data"],
        "tops": ["conv/1"],
        "shape": [1, 5, 5, 7],  # (12 - 3) // 2 + 1, (16 - 3) // 2 + 1
        "receptive_field": {"size": [3, 3], "stride": [2, 2], "offset": [0, 0]},
        "weights": 140,
        "why_not": "",
        "finder": "",
    }
    assert (relu["type"], fc["shape"], prob["weights"]) == ("ReLU", [1, 4], 0)


def test_info_as_a_table() -> None:
    lines = deepvis("info").stdout.splitlines()
    (conv,) = [line for line in lines if line.startswith("conv/1")]
    assert conv.split() == ["conv/1", "Convolution", *"5x5x7", *"3x3", *"2x2", "140"]
    runs = "engine torch on cpu (as asked for)"
    assert f"5 layers, 844 weights; input data 1 x 3 x 12 x 16; {runs}" in lines[-2]
    assert "conv/1 is the value after relu1, and conv/1:raw the value before" in lines[-1]


# -- backward --------------------------------------------------------------------------------------

PIXELS = np.s_[::12, ::12]  # a small picture is written in blocks: 16 pixels in 192


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
def test_backward_from_a_whole_map(net: Net, photo: np.ndarray, mode: str) -> None:
    output = deepvis(
        "backward", "photo.png", "--layer", "conv/1", "--unit", "2", "--mode", mode
    ).stdout
    x = net.preprocessor(photo)[None]
    values = net.forward(x, ["conv/1"])["conv/1"]  # above its ReLU, as DVT reads it
    diff = np.zeros_like(values)
    diff[0, 2] = values[0, 2]
    arrived = net.backward("conv/1", diff, mode)["data"][0][::-1].transpose(1, 2, 0)
    largest = np.percentile(abs(arrived), 99)
    expected = 127.5 + 127.5 * np.clip(arrived / largest, -1, 1)
    np.testing.assert_allclose(read_rgb("backward.png")[PIXELS], expected, atol=0.6)
    assert f"conv/1 unit 2: activation {values[0, 2].max():.5g}" in output


def test_backward_from_one_position(net: Net, photo: np.ndarray) -> None:
    arguments = "backward photo.png --layer conv/1 --unit 4 --mode gradient --position 1,2 -o o.png"
    deepvis(*arguments.split())
    # The gradient of one position of a convolution is its kernel, where the position looks.
    kernel = small_model.weights()["conv/1"][0][4]
    arrived = np.zeros(small_model.INPUT, np.float32)
    arrived[:, 2:5, 4:7] = kernel
    largest = np.percentile(abs(arrived), 99)
    expected = 127.5 + 127.5 * np.clip(arrived / largest, -1, 1)[::-1].transpose(1, 2, 0)
    np.testing.assert_allclose(read_rgb("o.png")[PIXELS], expected, atol=0.6)


def test_backward_tells_the_classes_and_lays_heat_over_the_photo(
    net: Net, photo: np.ndarray
) -> None:
    arguments = "backward photo.png --layer fc --unit 1 --view norm --overlay over.png"
    lines = deepvis(*arguments.split()).stdout.splitlines()
    x = net.preprocessor(photo)[None]
    scores = net.forward(x, ["prob"])["prob"][0]
    order = np.argsort(-scores)
    assert lines[1] == "prob:"
    told = [line.split(maxsplit=1) for line in lines[2:6]]
    assert [name for _, name in told] == [small_model.LABELS[unit] for unit in order]
    np.testing.assert_allclose([float(s) for s, _ in told], scores[order], atol=1e-4)
    shown = net.preprocessor.show(x[0]).astype(int)
    changed = np.abs(read_rgb("over.png")[PIXELS] - shown).max(axis=2)
    assert changed.min() <= 1, "the coldest pixel is the photo's own"
    assert changed.max() > 20


HEADS = """
layer { name: "aux" type: "InnerProduct" bottom: "conv/1" top: "aux"
        inner_product_param { num_output: 4 } }
layer { name: "mean" type: "Reduction" bottom: "conv/1" top: "mean"
        reduction_param { operation: MEAN axis: 1 } }
"""
QUIET = 'layer { name: "hush" type: "Silence" bottom: "prob" }'
SECOND = """
layer { name: "info" type: "Input" top: "info"
        input_param { shape { dim: 1 dim: 5 dim: 5 dim: 7 } } }
layer { name: "sum" type: "Eltwise" bottom: "conv/1" bottom: "info" top: "sum" }
"""


def _grow(folder: Path, more: str) -> None:
    (folder / "small.prototxt").write_text(small_model.PROTOTXT + more)
    weights = {**small_model.weights(), "aux": small_model.weights()["fc"]}
    layers = {name: ("InnerProduct", blobs) for name, blobs in weights.items()}
    write_caffemodel(folder / "small.caffemodel", "Small", layers)


def test_backward_names_the_blob_of_its_classes_and_prefers_prob(
    folder: Path, net: Net, photo: np.ndarray
) -> None:
    scores = net.forward(net.preprocessor(photo)[None], ["prob"])["prob"][0]
    _grow(folder, HEADS)
    lines = deepvis("backward", "photo.png", "--layer", "fc", "--unit", "1").stdout.splitlines()
    assert lines[1] == "prob:"
    assert float(lines[2].split()[0]) == pytest.approx(scores.max(), abs=1e-4)


def test_backward_of_a_layer_of_one_number_an_image(
    folder: Path, net: Net, photo: np.ndarray
) -> None:
    values = net.forward(net.preprocessor(photo)[None], ["conv/1"])["conv/1"]
    _grow(folder, HEADS)
    arguments = "backward photo.png --layer mean --unit 0 --mode gradient"
    lines = deepvis(*arguments.split()).stdout.splitlines()
    assert lines[0] == f"mean unit 0: activation {values.mean():.5g}"
    diff = (values > 0).astype(np.float32)  # a mean's gradient is flat
    net.forward(net.preprocessor(photo)[None])
    arrived = net.backward("relu1", diff)["data"][0][::-1].transpose(1, 2, 0)
    largest = np.percentile(abs(arrived), 99)
    expected = 127.5 + 127.5 * np.clip(arrived / largest, -1, 1)
    np.testing.assert_allclose(read_rgb("backward.png")[PIXELS], expected, atol=0.6)


def test_backward_of_a_net_without_outputs(folder: Path, photo: np.ndarray) -> None:
    _grow(folder, QUIET)
    lines = deepvis("backward", "photo.png", "--layer", "fc", "--unit", "1").stdout.splitlines()
    assert len(lines) == 1


@pytest.mark.parametrize("info", [None, 3])
def test_backward_holds_the_other_inputs(
    folder: Path,
    net: Net,
    photo: np.ndarray,
    info: float | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = net.forward(net.preprocessor(photo)[None], ["conv/1"])["conv/1"]
    _grow(folder, SECOND)
    given = [] if info is None else ["--inputs", f"info:{info}"]
    result = deepvis("backward", "photo.png", "--layer", "sum", "--unit", "2", *given)
    assert f"sum unit 2: activation {values[0, 2].max() + (info or 0):.5g}" in result.stdout
    assert ("input 'info' is held at 0" in caplog.text) == (info is None)


def test_the_image_is_another_input(folder: Path) -> None:
    _grow(folder, SECOND)
    result = CliRunner().invoke(app, ["info", "--image-input", "inf"])
    assert "no input named 'inf'; did you mean 'info'?" in result.stderr
    given = ("optimize", "conv/1", "--image-input", "info", "--inputs", "data:2", "--mean", "0")
    result = CliRunner().invoke(app, given)
    assert "does not depend on the image, 'info', but only on 'data', held at 2" in result.stderr


def test_backward_of_a_sample_photograph(folder: Path) -> None:
    deepvis("backward", "coffee", "--layer", "fc", "--unit", "0", "-o", "c.png")
    assert read_rgb("c.png").std() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gone.png --layer fc --unit 0", "no image at gone.png"),
        ("photo.png --layer fcc --unit 0", "no layer or blob named 'fcc' in net 'Small'; did you"),
        ("photo.png --layer fc --unit 4", "layer 'fc' has no unit 4; it has 4, numbered 0 to 3"),
        ("photo.png --layer fc --unit 0 --mode decon", "did you mean 'deconv'"),
        ("photo.png --layer fc --unit 0 --view rwa", "no style named 'rwa'"),
        ("photo.png --layer conv/1 --unit 0 --position 9,9", "position (9, 9) is not in layer"),
    ],
)
def test_backward_errors(photo: np.ndarray, arguments: str, message: str) -> None:
    assert message in deepvis("backward", *arguments.split(), code=2).stderr


# -- optimize --------------------------------------------------------------------------------------

SHORT = ("--iterations", "5", "--seeds", "2")


def test_optimize_writes_what_the_library_finds(net: Net) -> None:
    result = deepvis("optimize", "fc", "--units", "3,0-1", *SHORT, "--preset", "1")
    runs = dv.optimize(net, "fc", [0, 1, 3], range(2), preset=1, iterations=5)
    for run in runs:
        stem = f"out/regularized_opt/fc/fc_{run.unit:04d}_{run.seed}"
        np.testing.assert_array_equal(read_rgb(f"{stem}_best_Xpm.png"), run.picture())
        np.testing.assert_array_equal(read_rgb(f"{stem}_best_X.png"), run.symmetric_picture())
    best = {u: max(r.best_value for r in runs if r.unit == u) for u in (3, 0, 1)}
    for line, (unit, label) in zip(
        result.stdout.splitlines(), ((3, "dog"), (0, "ant"), (1, "bee")), strict=True
    ):
        assert line.startswith(f"{unit:5d}  {label}: activation {best[unit]:.5g}")
        assert line.endswith(f"out/regularized_opt/fc/fc_{unit:04d}_montage.jpg")
    assert "3 units, 2 seeds each" in result.stderr
    assert "6 new runs, 0 already finished" in result.stderr
    assert "fc: 3 units x 2 seeds x 5 steps = 30 image steps" in result.stderr


def test_optimize_again_makes_what_is_missing() -> None:
    deepvis("optimize", "fc", "--units", "0-1", *SHORT)
    again = deepvis("optimize", "fc", "--units", "0-2", *SHORT)
    assert "2 new runs, 4 already finished" in again.stderr


def test_optimize_tells_of_units_that_are_off_and_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/a b/deepvis"])  # which no shell finds
    weights = small_model.weights()
    weights["conv/1"][1][:] = -1e6  # every unit is off, wherever it starts
    layers = {name: ("Convolution", blobs) for name, blobs in weights.items()}
    write_caffemodel(folder / "small.caffemodel", "Small", layers)
    said = deepvis("optimize", "relu1", "--units", "0-1", *SHORT).stderr
    assert "4 of 4 runs stopped because the gradient was exactly 0" in said
    assert "optimize the value before the ReLU instead: conv/1" in said
    program, *words = shlex.split(said.partition("top images (")[2].partition(")")[0])
    assert program == "/a b/deepvis"
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "one.png", np.zeros((12, 16, 3), np.uint8))
    deepvis(*words)
    assert (folder / "out" / "dataset").is_dir()
    assert "gradient of exactly" not in deepvis("optimize", "conv/1", *SHORT).stderr


def test_optimize_says_that_the_labels_fit_no_layer(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "labels.txt").write_text("one\ntwo\n")
    result = deepvis("optimize", "fc", "--units", "1", *SHORT)
    assert caplog.text.count("labels.txt has names (2)") == 1
    assert result.stdout.startswith("    1: activation")


def test_optimize_checks_every_layer_before_it_begins() -> None:
    layers = ("--layers", "conv/1,fc", *SHORT)
    said = deepvis("optimize", *layers, "--units", "0-4", code=2).stderr
    assert "layer 'fc': units: '0-4' is out of range: the layer has 4 units" in said
    assert (
        "'fc'" in deepvis("optimize", *layers, "--units", "0", "--position", "1,1", code=2).stderr
    )
    assert not Path("out").exists()


def test_optimize_makes_one_picture_from_a_start_that_is_the_same_for_all_seeds() -> None:
    own = ("--preset", "3", *SHORT)  # without random transforms
    said = deepvis("optimize", "fc", "--units", "1", "--start", "mean", *own).stderr
    assert "every seed gives the same image when starting from mean" in said
    assert "1 new runs" in said
    views = ("--start", "mean", "--shift", "0.1", "-o", "other")
    assert "2 new runs" in deepvis("optimize", "fc", "--units", "2", *views, *own).stderr


def test_optimize_maximizes_a_group_of_units(net: Net) -> None:
    said = deepvis("optimize", "fc", "--units", "0+2-3", *SHORT)
    assert "2 new runs" in said.stderr
    run, _ = dv.optimize(net, "fc", [(0, 2, 3)], range(2), iterations=5)
    record = json.loads(Path("out/regularized_opt/fc/fc_0+2+3_0.json").read_text())
    assert record["best_value"] == pytest.approx(run.best_value, rel=1e-5)


def test_optimize_maximizes_an_objective_of_several_layers(net: Net) -> None:
    text = "fc:1 + 0.5*conv/1:2@3,3 - conv/1:0@mean"
    output = deepvis("optimize", text, "--seeds", "2", "--iterations", "4", "--preset", "3").stdout
    goal = dv.objectives.parse(text)
    for run in dv.optimize(net, goal, seeds=range(2), preset=3, iterations=4):
        path = Path("out/regularized_opt/fc") / f"fc_{goal.name}_{run.seed}_best_Xpm.png"
        np.testing.assert_array_equal(read_rgb(path), run.picture())
    assert f"{goal.name}: activation" in output
    again = deepvis("optimize", text, "--seeds", "2", "--iterations", "4", "--preset", "3")
    assert "0 new runs, 2 already finished" in again.stderr
    # a single unit is the unit that --units names
    deepvis("optimize", "fc:3", "--iterations", "4", "--preset", "3", "--seeds", "1")
    assert Path("out/regularized_opt/fc/fc_0003_montage.jpg").is_file()


def test_optimize_keeps_what_other_parameters_made() -> None:
    deepvis("optimize", "fc", "--units", "1", *SHORT)
    path = Path("out/regularized_opt/fc/fc_0001_0_best_Xpm.png")
    before = path.read_bytes()
    for flags in (("--preset", "3"), ("--push", "down")):
        said = deepvis("optimize", "fc", "--units", "1", *SHORT, *flags).stderr
        assert "2 new runs" in said
        assert "0 new runs" in deepvis("optimize", "fc", "--units", "1", *SHORT, *flags).stderr
    assert path.read_bytes() == before
    names = [one.name for one in path.parent.iterdir() if one.is_dir()]
    assert sorted(name[:-6] for name in names) == ["best-", "preset3-"]


def test_optimize_finds_another_nets_images_in_all_layers_before_it_begins() -> None:
    deepvis("optimize", "fc", "--units", "1", *SHORT)
    path = Path("out/regularized_opt/fc/fc_0001_0_best_Xpm.png")
    before = path.read_bytes()
    both = ("optimize", "--layers", "conv/1,fc", "--units", "1", *SHORT, "--mean", "9,9,9")
    said = deepvis(*both, code=2).stderr
    assert "another net or preprocessing" in said
    assert "--overwrite" in said
    assert path.read_bytes() == before
    assert not Path("out/regularized_opt/conv_1").exists()
    deepvis(*both, "--overwrite")
    assert path.read_bytes() != before


@pytest.mark.parametrize("jitter", ["jitter", "shift"])  # the second as in earlier versions
def test_every_field_of_the_ascent_is_a_flag_that_arrives(jitter: str) -> None:
    given = {
        "decay": 0.25,
        "blur_width": 0.75,
        "blur_every": 2,
        "value_percentile": 5.0,
        "norm_percentile": 10.0,
        "benefit_percentile": 15.0,
        "contribution_percentile": 20.0,
        "blur_end": 0.5,
        "total_variation": 0.1,
        "total_variation_end": 0.05,
        jitter: 0.1,
        "scale": 0.2,
        "rotation": 5.0,
        "octaves": 2,
        "octave_scale": 1.5,
        "coarse": 0.5,
        "coarse_part": 0.25,
        "fourier": 1.0,
        "decorrelate": 0.5,
        "diversity": 1.5,
        "decay_end": 0.125,
        "naturalness": 2.5,
    }
    flags = [
        text
        for name, value in given.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    more = ["--push", "down", "--start", "uniform", "--rate", "2.5", "--position", "1,2"]
    deepvis("optimize", "conv/1", "--units", "2", *SHORT, *flags, *more, "-o", "elsewhere")
    path = "elsewhere/regularized_opt/conv_1/conv_1_0002_0.json"
    record = json.loads(Path(path).read_text())
    assert record["layer"] == "conv/1"
    assert record["position"] == [1, 2]
    rate = {"type": "Constant", "lr": 2.5}
    more_given = {"start": "uniform", "rate": rate, "iterations": 5}
    named = {name: value for name, value in given.items() if name != jitter}
    assert record["params"] == {**named, **more_given, "shift": 0.1, "push": -1}
    in_python = {"transforms", "regularizers", "parameterization", "hidden"}  # no numbers
    known = {field.name for field in fields(AscentParams)}
    assert {*named, *more_given, "jitter", "sign", *in_python} == known


def test_every_setting_is_a_flag_of_its_command() -> None:
    flags = set(inspect.signature(optimize).parameters)
    for name, field in Settings.model_fields.items():
        if field.json_schema_extra["group"] in (MODEL, OPTIMIZER, RUNNING):
            assert name in flags, name
    assert set(Settings.model_fields) <= {
        name for command in COMMANDS for name in inspect.signature(command).parameters
    }


def test_the_papers_rate_is_one_flag_away() -> None:
    deepvis("optimize", "fc", "--units", "0", *SHORT, "--rate", "paper", "--preset", "4")
    record = json.loads(Path("out/regularized_opt/fc/fc_0000_0.json").read_text())
    assert record["params"]["rate"] == {"type": "Progress", "max_lr": 1e8, "desired": 2}
    assert record["params"]["contribution_percentile"] == 90


def test_the_default_is_our_preset() -> None:
    deepvis("optimize", "fc", "--units", "0", *SHORT)
    assert "0 new" in deepvis("optimize", "fc", "--units", "0", *SHORT, "--preset", "best").stderr
    record = json.loads(Path("out/regularized_opt/fc/fc_0000_0.json").read_text())
    assert record["params"] == dv.optimizer.preset("best").but(iterations=5).record()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fcc", "no layer or blob named 'fcc' in net 'Small'; did you mean 'fc'"),
        ("fc --units 4", "units: '4' is out of range: the layer has 4 units"),
        ("fc --units 1 --direction some.npy", "--units and --direction cannot be combined"),
        ("fc:1+b:2", "cannot read 'fc:1+b:2' in the objective"),
        ("fcc:1", "did you mean 'fc'"),
        ("fc:9", "has no unit 9"),
        ("fc:1 --units 2", "leave out --layers, --units, --direction and --position"),
        ("fc --start nosie", "did you mean 'noise'"),
        ("fc --decay 1.5", "decay must be a fraction"),
        ("fc --preset 5", "--preset: preset cannot be '5'"),
        ("fc --preset bets", "did you mean 'best'"),
        ("fc --weights gone.caffemodel", "gone.caffemodel"),
        ("fc --mean 1,2", "mean"),
    ],
)
def test_optimize_errors(arguments: str, message: str) -> None:
    result = deepvis("optimize", *arguments.split(), *SHORT, code=2)
    assert result.stderr.startswith("deepvis: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


# -- the command itself ----------------------------------------------------------------------------


def test_flags_win_over_the_settings_file(folder: Path) -> None:
    (folder / "other.py").write_text("prototxt = 'gone.prototxt'\nengine = 'torch'\n")
    files = ("--prototxt", "small.prototxt", "--weights", "small.caffemodel")
    record = json.loads(deepvis("info", "--json", "-s", "other.py", *files).stdout)
    assert record["weights"] == 844
    assert "gone.prototxt" in deepvis("info", "-s", "other.py", code=2).stderr


def test_an_unknown_flag_or_command_names_the_nearest() -> None:
    assert "--batch-size" in deepvis("optimize", "fc", "--bacth-size", "3", code=2).stderr
    assert "optimize" in deepvis("optimise", "fc", code=2).stderr


def test_debug_shows_the_traceback() -> None:
    result = CliRunner().invoke(app, ["--debug", "info", "--prototxt", "gone.prototxt"])
    assert isinstance(result.exception, dv.ModelError)


def test_help_lists_every_command_and_flag() -> None:
    text = deepvis("--help").stdout
    for command in ("doctor", "info", "view", "backward", "optimize", "fetch", "demo"):
        assert command in text
    commands = {"Model": "optimize", "Optimizer": "optimize", "Viewer": "view"}
    commands |= {"Dataset": "top-images", "Running": "optimize"}
    flags = {command: deepvis(command, "--help-all").stdout for command in commands.values()}
    assert not any("<bool>" in text for text in flags.values())
    assert "Default: 1280,800." in " ".join(flags["view"].split())
    for name, field in Settings.model_fields.items():
        assert isinstance(field.json_schema_extra, dict)
        command = commands[str(field.json_schema_extra["group"])]
        assert f"--{name.replace('_', '-')}" in flags[command]


# The command, which stands still before a file gets its name, or before the net's n-th evaluation.
STOPPED = """
import sys, time
from pathlib import Path
from deepvis_caffe.cli.main import main
from deepvis_caffe.engines.torch.net import TorchNet

where = sys.argv.pop()
replace, evaluate, evaluations = Path.replace, TorchNet.evaluate, []

def stop():
    print("now", flush=True)
    time.sleep(600)

def replace_or_stop(part, path):
    if path.name == where:
        stop()
    return replace(part, path)

def evaluate_or_stop(*given, **named):
    evaluations.append(None)
    if str(len(evaluations)) == where:
        stop()
    return evaluate(*given, **named)

Path.replace, TorchNet.evaluate = replace_or_stop, evaluate_or_stop
main()
"""


@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize(("where", "finished"), [("20", 2), ("fc_0001_montage.jpg", 4)])
def test_a_command_interrupted_at_any_time_resumes(
    folder: Path, how: signal.Signals, where: str, finished: int
) -> None:
    """Ctrl-C, what Slurm sends, or kill -9 in the middle of a run, then the same command again."""
    arguments = ["optimize", "fc", "--preset", "3", "--iterations", "8", "--seeds", "2"]
    arguments += ["--batch-size", "1", "--engine", "torch"]
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, *arguments, where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL) if how == signal.SIGHUP else None,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(how)
    _, said = process.communicate(timeout=LONG)
    assert "Traceback" not in said
    if how != signal.SIGKILL:
        interrupted = how == signal.SIGINT
        assert process.returncode == (130 if interrupted else 128 + signal.SIGTERM)
        word = "interrupted" if interrupted else "terminated"
        assert said.splitlines()[-1] == f"deepvis: {word}; finished work is kept"
        assert not list(folder.rglob(".*.part")), "half a file was left"
    pictures = [path for path in folder.rglob("*.png") if not path.name.startswith(".")]
    assert all(cv2.imread(str(path)) is not None for path in pictures)
    assert len(list(folder.rglob("fc_*_?.json"))) == finished
    assert len(pictures) >= 2 * finished
    again = deepvis(*arguments)
    assert f"{8 - finished} new runs, {finished} already finished" in again.stderr


@pytest.mark.process
def test_an_interrupt_while_modules_are_imported_is_one_line(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from deepvis_caffe.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "\ndeepvis: interrupted\n")


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["info", "--json"]])
def test_a_full_disk_behind_the_output_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "deepvis_caffe", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1] == (
        "deepvis: cannot write to the standard output: No space left on device"
    )
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.process
@pytest.mark.parametrize("module", ["deepvis_caffe", "deepvis_caffe.cli.main"])
def test_the_package_runs_as_a_module(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False
    )
    assert ended.stdout == deepvis("--version").stdout
