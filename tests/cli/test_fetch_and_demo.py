"""`deepvis fetch` and `deepvis demo` with a small model in place of a real one."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model
from typer.testing import CliRunner, Result

from deepvis_caffe import fetch as fetching
from deepvis_caffe.cli import demo
from deepvis_caffe.cli.demo import Part
from deepvis_caffe.cli.main import app
from deepvis_caffe.fetch import zoo
from deepvis_caffe.resources import resource
from deepvis_caffe.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetching.KnownModel:
    """The one known model; fetching it copies a file."""
    source = tmp_path / "source"
    source.mkdir()
    small_model.write_model(source)
    row = fetching.KnownModel(
        name="squeezenet",
        title="A small model",
        licence="none",
        prototxt=source / "small.prototxt",
        weights="small.caffemodel",
        labels=source / "labels.txt",
        mean=small_model.MEAN,
    )

    def fetch(
        name: str, folder: Path | None = None, progress: object = None, checksum: object = None
    ) -> Path:
        assert name == row.name
        target = folder or tmp_path / "cache"
        target.mkdir(exist_ok=True)
        return Path(shutil.copy(source / row.weights, target))

    monkeypatch.setattr(fetching, "known_models", lambda: {row.name: row})
    monkeypatch.setattr(fetching, "fetch", fetch)
    monkeypatch.setattr(zoo, "known_model", lambda name: row)
    monkeypatch.setattr(zoo, "fetch_model", lambda model, folder, _: fetch(model.name, folder))
    monkeypatch.chdir(tmp_path)
    return row


def _deepvis(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def test_fetch_alone_lists_what_is_known() -> None:
    assert _deepvis("fetch").stdout.split(maxsplit=1) == ["squeezenet", "A small model\n"]


def test_fetch_prints_settings_that_load(tmp_path: Path, model: fetching.KnownModel) -> None:
    text = _deepvis("fetch", "squeezenet", "--folder", "here").stdout
    (tmp_path / "pasted.py").write_text(text)
    assert load_settings("pasted.py") == Settings(
        prototxt=model.prototxt,
        weights=tmp_path / "here" / "small.caffemodel",
        mean=small_model.MEAN,
        labels=model.labels,
        presets_file=tmp_path / "presets.json",
    )
    assert not Path("settings_local.py").exists()


def test_fetch_writes_settings_only_where_there_are_none() -> None:
    _deepvis("fetch", "squeezenet", "--write-settings")
    assert runpy.run_path("settings_local.py")["mean"] == small_model.MEAN
    assert '"weights": 844' in _deepvis("info", "--json", "--engine", "torch").stdout
    Path("settings_local.py").write_text("seeds = 1\n")
    result = _deepvis("fetch", "squeezenet", "--write-settings")
    assert "was not changed" in result.stderr
    assert "weights = " in result.stdout
    assert Path("settings_local.py").read_text() == "seeds = 1\n"


@pytest.mark.slow
def test_the_demo_makes_labelled_montages(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (Part("fc", (1, 3)), Part("conv/1", (0,)))
    monkeypatch.setattr(demo, "PARTS", parts)
    text = _deepvis("demo", "--engine", "torch", "-o", "pictures").stdout
    for name in ("demo_fc.png", "demo_conv_1.png"):
        assert f"pictures/{name}" in text
        assert Path("pictures", name).is_file()
    made = cv2.imread("pictures/demo_fc.png")[..., ::-1]
    # two cells of 72 x 96 (12 x 16, six times) beside each other, 6 pixels of white between
    single = cv2.imread("pictures/regularized_opt/fc/fc_0001_0_best_X.png")[..., ::-1] - 127.5
    vivid = np.clip(127.5 + 127.5 * single / np.percentile(abs(single), 99.5), 0, 255)
    np.testing.assert_allclose(made[6, 6], vivid[0, 0], atol=0.6)
    np.testing.assert_allclose(made[6 + 71, 6 + 95], vivid[-1, -1], atol=0.6)
    assert (made[:6] == 255).all()
    assert made[6 + 72 :, 6 : 6 + 96].min() < 100, "there is no caption"


@pytest.mark.slow
def test_the_demo_of_real_images(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (demo.ImagePart("conv/1", {0: "edges", 3: ""}), demo.ImagePart("fc", {1: ""}))
    monkeypatch.setattr(demo, "IMAGE_PARTS", parts)
    monkeypatch.setattr(demo, "COUNT", 4)
    monkeypatch.setattr("deepvis_caffe.image.sample_images", lambda more: ("text", "rocket"))
    command = ("demo", "--real-images", "--engine", "torch", "-o", "pictures")
    text = _deepvis(*command).stdout
    views = sorted(path.name for path in Path("pictures/views").iterdir())
    assert {name[:-19] for name in views} == {"text", "rocket"}
    assert f"{len(views)} images, 9 units of 2 layers" in text
    for stem, units in (("conv_1", (0, 3)), ("fc", (1,))):
        assert f"pictures/demo_images_{stem}.png" in text
        shown = cv2.imread(f"pictures/demo_images_{stem}.png").astype(int)
        for unit in units:
            for tree in ("max_im", "max_deconv"):
                single = Path("pictures", tree, stem, f"{stem}_{unit:04d}.jpg")
                cell = cv2.imread(str(single))
                small = cv2.resize(cell, None, fx=260 / max(cell.shape), fy=260 / max(cell.shape))
                found = cv2.matchTemplate(
                    shown.astype(np.uint8), small[20:-20, 20:-20], cv2.TM_CCOEFF_NORMED
                )
                assert found.max() > 0.97
    record = json.loads(Path("pictures/max_im/conv_1/conv_1_0000.json").read_text())
    assert 2 <= len(record["images"]) <= 4
    assert all(one["name"] in views for one in record["images"])
    before = {path: path.read_bytes() for path in Path("pictures").rglob("*.jp*g")}
    _deepvis(*command)
    assert {path: path.read_bytes() for path in Path("pictures").rglob("*.jp*g")} == before


def test_the_demos_units_are_those_that_it_names() -> None:
    names = resource("weights", "imagenet_labels.txt").read_text().splitlines()
    classes = next(part for part in demo.PARTS if part.layer == "pool10")
    assert [names[unit].split(",")[0] for unit in classes.units] == [
        "flamingo",
        "tiger",
        "tabby",
        "zebra",
        "peacock",
        "volcano",
    ]
