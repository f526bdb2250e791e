"""``deepvis info``: a net whose weights are elsewhere, and how layers are named."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import small_model
from helpers.engine_nets import conv, layer, net_text, relu
from typer.testing import CliRunner

from deepvis_caffe.cli.main import app


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


def test_layers_in_place_are_marked_and_their_naming_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    scale = layer("scale1", "Scale", "conv1", "conv1")
    some = [conv("conv1", "data", 2), scale, relu("relu1", "conv1")]
    path.write_text(net_text(*some, conv("conv2", "conv1", 2), data=(1, 3, 4, 4)))
    text = CliRunner().invoke(app, ["info", "--prototxt", str(path)]).stdout
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert [name for name, row in rows.items() if ", in place" in row] == ["scale1", "relu1"]
    said = " ".join(text.split())
    assert "conv1 is the value after relu1, conv1:raw the one before any of them" in said
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
    assert "not for each image: found and 1 layer(s) behind it. These layers have no units" in said
    assert "the viewer draws the boxes of found" in said
    record = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert {one["name"]: one["finder"] for one in record["layers"] if one["finder"]} == {
        "found": "found",
        "behind": "found",
    }
