"""`deepvis gallery`: what it writes, says and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.results_folder import add_pictures, add_run, record
from helpers.small_model import write_model
from typer.testing import CliRunner, Result

from deepvis_caffe.cli.main import app


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    add_run(tmp_path / "out", "fc", record("fc", 3, 0, label="zebra"))
    add_pictures(tmp_path / "out", "max_im/conv1/conv1_0000.jpg")
    return tmp_path


def _deepvis(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_it_prints_the_page_that_it_wrote() -> None:
    result = _deepvis("gallery", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out/index.html\n"
    assert result.stderr == "2 units of 2 layers; open the page:\n"
    assert "zebra" in Path("out/index.html").read_text()


def test_without_a_folder_it_is_that_of_the_settings(folder: Path) -> None:
    result = _deepvis("gallery")
    assert result.exit_code == 2
    assert "cannot read results from results: there is no such folder" in result.stderr
    write_model(folder)
    (folder / "out").rename(folder / "elsewhere")
    with (folder / "settings_local.py").open("a") as settings:
        settings.write("\nresults = 'elsewhere'\nprint('read')\n")
    result = _deepvis("gallery")
    assert result.exit_code == 0, result.output
    assert result.output.count("read\n") == 1, "what the settings say is said once"
    page = Path(result.stdout.removeprefix("read\n").strip())
    assert page.resolve() == folder / "elsewhere" / "index.html"


def test_without_weights_there_is_the_order_of_the_net(folder: Path) -> None:
    write_model(folder)
    add_run(folder / "out", "conv_1", record("conv/1", 0, 0))
    with (folder / "settings_local.py").open("a") as settings:
        settings.write("\nweights = 'gone.caffemodel'\n")
    result = _deepvis("gallery", "out")
    assert "left out the drivers of the units: " in result.stderr
    page = Path("out/index.html").read_text()
    (text,) = re.findall(r'<script type="application/json" id="index">(.*?)</script>', page)
    index = json.loads(text)
    assert [one["name"] for one in index["layers"]] == ["conv/1", "fc", "conv1"], "the last of none"
    assert [one["layers"] for one in index["stages"]] == [["conv/1"], ["fc"]]


@pytest.mark.parametrize("flag", ["--out", "-o"])
def test_another_place(flag: str) -> None:
    assert _deepvis("gallery", "out", flag, "web/page.html").stdout == "web/page.html\n"
    assert Path("web/page.html").is_file()
    assert not Path("out/index.html").exists()


def test_damaged_records_are_counted_and_reported() -> None:
    for seed in range(1, 8):
        add_run(Path("out"), "fc", record("fc", 3, seed)).write_text("{")
    result = _deepvis("gallery", "out")
    assert result.exit_code == 0
    said = result.stderr.splitlines()
    assert said[0].startswith("left out: out/regularized_opt/fc/fc_0003_1.json: ")
    assert said[5:] == [
        "left out: 2 more; the page lists them all",
        "2 units of 2 layers; open the page:",
    ]


def test_what_cannot_be_done_is_one_line() -> None:
    for arguments, text in {
        ("nowhere",): "cannot read results from nowhere: there is no such folder",
        ("out/max_im",): "did you mean out?",
        ("out", "-o", "page.txt"): "must end in .html",
        ("out", "-o", "out/max_im/conv1/conv1_0000.jpg/x.html"): "Not a directory",
    }.items():
        result = _deepvis("gallery", *arguments)
        assert result.exit_code == 2
        assert text in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


def _drivers_on_the_page() -> bool:
    return any('"raising"' in part.read_text() for part in Path("out/index_files").glob("*.js"))


def test_the_net_of_the_settings_tells_what_drives_the_units(folder: Path) -> None:
    write_model(folder)
    assert _deepvis("gallery", "out").stdout == "out/index.html\n"
    assert _drivers_on_the_page()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, ""),
        ("labels = None\n", ""),
        ("prototxt = 'gone.prototxt'\nweights = 'gone.caffemodel'\n", "gone.prototxt"),
        ("prototxt = 3 +\n", "settings_local.py"),
    ],
)
def test_without_a_net_there_is_a_page(folder: Path, settings: str | None, said: str) -> None:
    if settings is not None:
        (folder / "settings_local.py").write_text(settings)
    result = _deepvis("gallery", "out")
    assert result.exit_code == 0
    assert result.stdout == "out/index.html\n"
    assert ("left out the structure of the net: " in result.stderr) == bool(said)
    assert said in result.stderr
    assert not _drivers_on_the_page()
