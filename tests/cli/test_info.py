"""``deepvis info`` of a net whose weights are elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import small_model
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
