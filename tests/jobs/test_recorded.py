"""A results folder from an earlier version of the program is recognized, and resumed.

``recorded_results.json`` has it, file by file: what `COMMANDS` made from the small model before the
names of files moved into one module. Records are stored as they were written, pictures in base64.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import small_model
from typer.testing import CliRunner

from deepvis_caffe import __version__
from deepvis_caffe.cli.main import app
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.image import read_image

RECORDED = Path(__file__).with_name("recorded_results.json")
COMMANDS = (
    "optimize fc --preset 3 --units 0,2 --seeds 2 --iterations 3 --batch-size 1",
    "optimize fc --preset 3 --units 0+2 --seeds 1 --iterations 3",
    "optimize conv/1 --preset 3 --units 3 --seeds 1 --iterations 3 --position 1,2 --crop off "
    "--start uniform",
    "sweep fc --unit 1 --columns 2 --iterations 3",
)
FC = Path("out/regularized_opt/fc")


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The folder `out` in the current one, beside the model; each of its files."""
    small_model.write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    for name, content in json.loads(RECORDED.read_text()).items():
        path = Path("out", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(json.dumps(content, indent=1) + "\n")
        else:
            path.write_bytes(base64.b64decode(content))
    return _files()


def _files() -> dict[str, bytes]:
    """All files, but those that every run draws anew: the pictures of whole layers and figures."""
    found = (path for path in Path("out").rglob("*") if path.is_file())
    return {
        str(path): path.read_bytes()
        for path in found
        if path.name != "whole_layer.jpg" and path.parent.name != "sweep"
    }


def _run(commands: tuple[str, ...]) -> None:
    for command in commands:
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, result.output


def test_nothing_runs_again_and_nothing_is_written_over(
    recorded: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load_net("small.prototxt", "small.caffemodel", engine="torch", mean=small_model.MEAN)
    monkeypatch.setattr(type(net), "evaluate", None)
    _run(COMMANDS)
    assert _files() == recorded


def test_what_is_missing_is_made_as_it_was(recorded: dict[str, bytes]) -> None:
    lost = [
        FC / "fc_0000_1.json",
        FC / "fc_0000_montage.jpg",
        FC / "fc_0002_montage.json",
        FC / "fc_0002_montage.jpg",
    ]
    pictures = {path: read_image(path) for path in lost if path.suffix == ".jpg"}
    for path in lost:
        path.unlink()
    _run(COMMANDS[:1])
    now = _files()
    assert now.keys() - recorded.keys() == {str(FC / "recipe.json")}
    made_anew = {str(path) for path in lost} | {
        str(FC / f"fc_0000_1_{kind}.png") for kind in ("best_X", "best_Xpm")
    }
    assert {name for name in recorded if now[name] != recorded[name]} <= made_anew
    record, before = (json.loads(one[str(lost[0])]) for one in (now, recorded))
    added = ("computed", "redirected_steps")  # since
    assert [name for name in record if name not in added] == list(before)
    before["version"] = __version__
    for name, value in before.items():  # activations differ in their last digits by machine
        expected = pytest.approx(value, rel=1e-3) if name in ("objective", "best_value") else value
        assert record[name] == expected
    assert now[str(lost[2])] == recorded[str(lost[2])]
    for path, picture in pictures.items():
        assert np.abs(read_image(path).astype(int) - picture).max() < 24  # JPEG, sharp edges
        assert np.abs(read_image(path).astype(int) - picture).mean() < 1
