"""``deepvis info``: a net whose weights are elsewhere, and how layers are named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import small_model
from helpers.engine_nets import conv, layer, net_text, relu
from typer.testing import CliRunner

import deepvis_caffe as dv
from deepvis_caffe.cli.info import as_record
from deepvis_caffe.cli.main import app
from deepvis_caffe.engines.torch_support import for_processors_only
from deepvis_caffe.errors import EngineError
from deepvis_caffe.settings.file import load_settings


def test_a_prototxt_alone_tells_its_layers(tmp_path: Path) -> None:
    settings = small_model.write_model(tmp_path)
    alone = ["info", "--prototxt", str(tmp_path / "small.prototxt")]
    whole = ["info", "--json", "--settings", str(settings)]
    mine, theirs = (
        json.loads(CliRunner().invoke(app, line).stdout) for line in ([*alone, "--json"], whole)
    )
    assert [mine.pop(name) for name in ("engine", "device", "engine_reason")] == [None] * 3
    assert theirs["engine_reason"] == "as asked for"
    assert mine == {name: theirs[name] for name in mine}
    assert "; no weights" in CliRunner().invoke(app, alone).stdout


@pytest.mark.process
def test_pytorch_is_not_imported_where_it_has_no_gpu(tmp_path: Path) -> None:
    """Importing it takes longer than all the rest."""
    settings = small_model.write_model(tmp_path)
    code = (
        "import sys; from deepvis_caffe.cli.main import run; "
        "sys.argv = ['deepvis', 'info', '--json', '--settings', sys.argv[1]]\n"
        "try: run()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(not for_processors_only())
    net = dv.load_net(load_settings(settings))
    assert json.loads(done.stdout) == as_record(net.model, net.layers, net.choice)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None", True),
        ("cuda = None\nhip = None\n", True),
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None", False),
        ("cuda: Optional[str] = None\nhip = '7.1'", False),
        ("__version__ = '3'", False),
    ],
)
def test_what_pytorch_was_built_for_is_read_from_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, expected: bool
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    (tmp_path / "torch" / "version.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert for_processors_only() is expected


def test_a_net_that_was_not_to_run_says_so(tmp_path: Path) -> None:
    net = dv.load_net(load_settings(small_model.write_model(tmp_path)), run=False)
    with pytest.raises(EngineError, match="loaded with run=False"):
        net.forward(np.zeros((1, *net.preprocessor.shape)))


def test_layers_in_place_are_marked_and_their_naming_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    scale = layer("scale1", "Scale", "conv1", "conv1")
    some = [conv("conv1", "data", 2), scale, relu("relu1", "conv1")]
    path.write_text(net_text(*some, conv("conv2", "conv1", 2), data=(1, 3, 4, 4)))
    text = CliRunner().invoke(app, ["info", "--prototxt", str(path)]).stdout
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert [name for name, row in rows.items() if ", in place" in row] == ["scale1", "relu1"]
    said = " ".join(text.split())
    assert "conv1 is the value after relu1, and conv1:raw the value before all of them" in said
    path.write_text(net_text(conv("conv1", "data", 2), data=(1, 3, 4, 4)))
    assert ":raw" not in CliRunner().invoke(app, ["info", "--prototxt", str(path)]).stdout


def test_layers_with_a_row_for_each_thing_found_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    prior = layer("prior", "PriorBox", "x data", "", "prior_box_param { min_size: 4 }")
    params = "detection_output_param { num_classes: 2 }"
    found = layer("found", "DetectionOutput", "offsets scores prior", "", params)
    behind = layer("behind", "Power", "found")
    shapes = {"data": (1, 3, 6, 6), "x": (1, 1, 2, 2), "offsets": (1, 16), "scores": (1, 8)}
    path.write_text(net_text(prior, found, behind, **shapes))
    line = ["info", "--prototxt", str(path)]
    said = " ".join(CliRunner().invoke(app, line).stdout.split())
    assert (
        "instead of one per image: found and 1 layer(s) after it. These layers have no units"
        in said
    )
    assert "the viewer draws the boxes of found" in said
    record = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert {one["name"]: one["finder"] for one in record["layers"] if one["finder"]} == {
        "found": "found",
        "behind": "found",
    }
