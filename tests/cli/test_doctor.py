"""`deepvis doctor` on a sound model and on one that is broken in one place at a time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model
from typer.testing import CliRunner

from deepvis_caffe.cli.doctor import check_results
from deepvis_caffe.cli.main import app
from deepvis_caffe.engines.pycaffe import library
from deepvis_caffe.errors import EngineError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_model.write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    return tmp_path


def _doctor(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and each check's status and message."""
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert "Traceback" not in result.output
    lines = (line.split(maxsplit=2) for line in result.stdout.splitlines())
    return result.exit_code, {what: (status, message) for status, what, message in lines}


def test_all_is_well(folder: Path) -> None:
    code, checks = _doctor()
    assert code == 0
    checks.pop("camera")
    checks.pop("pycaffe")
    assert {status for status, _ in checks.values()} == {"ok"}
    assert str(folder / "settings_local.py") in checks["settings"][1]
    assert "844 values" in checks["weights"][1]
    assert checks["engine"][1] == "torch: torch on cpu (as asked for)"
    assert "100, 110, 120" in checks["mean"][1]
    assert "4 names" in checks["labels"][1]
    assert checks["input"][1] == "data 1 x 3 x 12 x 16"
    assert not (folder / "out").exists(), "the check of the results folder left something"


def test_what_inputs_hold_is_listed(folder: Path) -> None:
    path = folder / "small.prototxt"
    more = 'layer { name: "i" type: "Input" top: "i" input_param { shape { dim: 1 dim: 2 } } }'
    path.write_text(f"{more}\n{path.read_text()}")
    result = CliRunner().invoke(app, ["doctor"])
    assert "input     i 1 x 2: held at 0\n" in result.stdout
    assert "input     data 1 x 3 x 12 x 16: the image\n" in result.stdout


def _without_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera opens, as OpenCV says it; files do."""
    real = cv2.VideoCapture
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda what, *more: real("none" if what == 0 else what, *more)
    )


@pytest.mark.parametrize(
    ("settings", "what", "status", "message"),
    [
        ("", "camera", "note", "camera 0 does not open"),
        ("source = 0", "camera", "warn", "camera 0 does not open"),
        ("source = 'chelsea,0'", "camera", "warn", "camera 0 does not open"),
        ("source = 'chelsea'", "source", "ok", "chelsea"),
        ("source = 'gone/'", "source", "warn", "there is no source 'gone/'"),
    ],
)
def test_a_camera_is_missed_only_where_one_is_set(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    what: str,
    status: str,
    message: str,
) -> None:
    _without_a_camera(monkeypatch)
    with (folder / "settings_local.py").open("a") as file:
        file.write(settings + "\n")
    code, checks = _doctor()
    assert code == 0
    assert checks[what][0] == status
    assert checks[what][1].startswith(message)
    assert ("camera" in checks) == (what == "camera")


@pytest.mark.parametrize(("engine", "status"), [("auto", "note"), ("pycaffe", "fail")])
def test_pycaffe_is_missed_only_where_it_is_set(
    monkeypatch: pytest.MonkeyPatch, engine: str, status: str
) -> None:
    def missing() -> None:
        raise EngineError("there is no caffe")

    monkeypatch.setattr(library, "import_caffe", missing)
    code, checks = _doctor("--engine", engine)
    assert checks["pycaffe"] == (status, "there is no caffe")
    assert code == (status == "fail")


def test_weights_that_are_not_set_are_told_once(folder: Path) -> None:
    with (folder / "settings_local.py").open("a") as file:
        file.write("weights = None\n")
    result = CliRunner().invoke(app, ["doctor"])
    (line,) = (line for line in result.stdout.splitlines() if line[5:].startswith("weights"))
    assert line.startswith("fail")
    assert "set `weights` to its .caffemodel (--weights)" in line


def test_without_settings(folder: Path) -> None:
    (folder / "settings_local.py").unlink()
    code, checks = _doctor()
    assert code == 0
    status, message = checks["settings"]
    assert status == "warn"
    assert "deepvis doctor --write-settings" in message
    assert "deepvis fetch squeezenet --write-settings" in message


@pytest.mark.parametrize(
    ("lines", "what", "status", "message"),
    [
        ("wieghts = 'x'", "settings", "fail", "did you mean 'weights'"),
        ("prototxt = 'gone.prototxt'", "prototxt", "fail", "gone.prototxt"),
        ("weights = 'gone.caffemodel'", "weights", "fail", "gone.caffemodel"),
        ("weights = 'other.caffemodel'", "weights", "fail", "other.caffemodel"),
        ("mean = 'gone.npy'", "mean", "fail", "gone.npy"),
        ("mean = (1, 2)", "mean", "fail", "mean"),
        ("mean = None", "mean", "warn", "no mean is set"),
        ("mean = (0.485, 0.456, 0.406)", "mean", "warn", "the mean to (123.7, 116.3, 103.5)"),
        ("raw_scale = 1", "mean", "warn", "set raw_scale to 255"),
        ("mean = (0.4, 0.4, 0.4)\nraw_scale = 1", "mean", "ok", "0.4, 0.4, 0.4 on average"),
        (
            "mean = (104, 117, 1104)",
            "mean",
            "warn",
            "up to 1104, brighter than white",
        ),
        ("mean = 0", "mean", "ok", "none is subtracted"),
        ("mean = (2, 200, 3)", "mean", "ok", "2, 200, 3 on average"),
        ("labels = 'gone.txt'", "labels", "fail", "gone.txt"),
        ("labels = 'settings_local.py'", "labels", "warn", "no output has that many units"),
        (
            "labels = 'three.txt'",
            "labels",
            "warn",
            "three.txt has 3 names, but no output",
        ),  # data's
        (
            "labels = 'five.txt'",
            "labels",
            "warn",
            "five.txt has 5 names, but no output",
        ),  # conv/1's
        ("labels = None", "labels", "ok", "none are set"),
    ],
)
def test_one_thing_is_wrong(folder: Path, lines: str, what: str, status: str, message: str) -> None:
    with (folder / "settings_local.py").open("a") as file:
        file.write(lines + "\n")
    layers = {"somebody": ("Convolution", (np.ones((1, 1, 1, 1), np.float32),))}
    small_model.write_caffemodel(folder / "other.caffemodel", "Other", layers)
    (folder / "three.txt").write_text("a\nb\nc\n")
    (folder / "five.txt").write_text("a\nb\nc\nd\ne\n")
    code, checks = _doctor()
    assert code == (1 if status == "fail" else 0)
    assert checks[what][0] == status
    assert message in checks[what][1]


def test_a_mean_that_is_not_the_trainings(folder: Path) -> None:
    path = folder / "small.prototxt"
    trained = 'type: "Input" top: "data" transform_param { mean_value: 7 }'
    path.write_text(path.read_text().replace('type: "Input" top: "data"', trained))
    code, checks = _doctor()
    assert code == 0
    status, message = checks["mean"]
    assert status == "warn"
    assert "(100, 110, 120)" in message
    assert "(7, 7, 7)" in message


def test_it_continues_without_the_weights(folder: Path) -> None:
    (folder / "small.caffemodel").unlink()
    (folder / "five.txt").write_text("a\nb\nc\nd\ne\n")
    with (folder / "settings_local.py").open("a") as file:
        file.write("mean = (104, 117, 1104)\nlabels = 'five.txt'\n")
    code, checks = _doctor()
    assert code == 1
    assert checks["weights"][0] == "fail"
    assert "small.caffemodel" in checks["weights"][1]
    assert checks["input"][1] == "data 1 x 3 x 12 x 16"
    assert checks["layers"][0] == checks["forward"][0] == "ok"
    assert checks["mean"][0] == checks["labels"][0] == "warn"


def test_weights_that_overflow_are_seen_in_the_forward_pass(folder: Path) -> None:
    layers = {
        name: ("Convolution", tuple(np.full_like(blob, 3e38) for blob in blobs))
        for name, blobs in small_model.weights().items()
    }
    small_model.write_caffemodel(folder / "small.caffemodel", "Small", layers)
    code, checks = _doctor()
    assert code == 1
    assert checks["forward"][0] == "fail"
    assert "NaN or infinity in prob" in checks["forward"][1]


def test_a_results_folder_that_cannot_be_made(folder: Path) -> None:
    check = check_results(folder / "small.prototxt" / "results")
    assert check.status == "fail"
    assert "set `results` to another folder" in check.message


def test_settings_to_start_from_are_the_template_and_replace_nothing(folder: Path) -> None:
    template = Path(__file__).parents[2] / "settings_local.py.template"
    path = folder / "settings_local.py"
    before = path.read_text()
    refused = CliRunner().invoke(app, ["doctor", "--write-settings"])
    assert refused.exit_code == 2
    assert "already exists" in refused.stderr
    assert path.read_text() == before
    path.unlink()
    assert CliRunner().invoke(app, ["doctor", "--write-settings"]).exit_code == 0
    assert path.read_text() == template.read_text()
