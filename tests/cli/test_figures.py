"""The figure commands end to end on a small model: files against the library's arrays."""

from __future__ import annotations

import csv
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import deepvis, read_rgb
from helpers.results_folder import contents

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.experiments.search import trial
from deepvis_caffe.optimizer import AscentParams
from deepvis_caffe.optimizer.presets import read_presets

pytestmark = pytest.mark.usefixtures("folder")

SHORT = ("--iterations", "3")


def _no_more_runs(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(net), "evaluate", None)


# -- sweep -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_is_the_optimizers_pictures_with_one_regularizer_each(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = deepvis("sweep", "fc", "--unit", "1", "--columns", "3", "--seed", "5", *SHORT).stdout
    record = json.loads(Path("out/sweep/fc_0001_5.json").read_text())
    assert [row["parameter"] for row in record["rows"]] == [
        "decay",
        "blur_width",
        "norm_percentile",
        "contribution_percentile",
    ]
    figure = read_rgb("out/sweep/fc_0001_5.png")
    for row in record["rows"]:
        for one in row["pictures"]:
            alone = {row["parameter"]: one["value"]} if one["value"] else {}
            if "blur_width" in alone:
                alone["blur_every"] = 4
            params = AscentParams(iterations=3, **alone)  # its rate is four gray levels
            (run,) = dv.optimize(net, "fc", 1, [5], preset=params)
            assert one["activation"] == pytest.approx(run.best_value, rel=1e-5)
            assert one["params"] == params.record()
            assert f"{one['activation']:.3g}" in said
            picture = read_rgb(Path("out") / one["picture"]).astype(int)
            assert np.abs(picture - run.symmetric_picture()).max() <= 1
    assert figure.shape[1] > 3 * 160
    assert figure.shape[0] > 4 * 120  # the input is 12 x 16
    before = figure.tobytes()
    _no_more_runs(net, monkeypatch)
    deepvis("sweep", "fc", "--unit", "1", "--columns", "3", "--seed", "5", *SHORT)
    assert read_rgb("out/sweep/fc_0001_5.png").tobytes() == before


def test_a_sweeps_values_and_file_are_ones_own() -> None:
    deepvis("sweep", "fc", "--unit", "0", "--columns", "2", "--decay", "0,0.1,0.9", *SHORT,
             "-o", "new/a.png", "--rate", "2.5", "--norm-percentile", "50")  # fmt: skip
    record = json.loads(Path("new/a.json").read_text())
    assert [one["value"] for one in record["rows"][0]["pictures"]] == [0, 0.1, 0.9]
    assert [one["value"] for one in record["rows"][2]["pictures"]] == [50]
    assert record["rows"][0]["pictures"][0]["params"]["rate"] == {"type": "Constant", "lr": 2.5}
    assert Path("new/a.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sweep fc --unit 4", "has no unit 4"),
        ("sweep fc --unit 1 --decay 0,a", "--decay: got '0,a', expected numbers"),
        ("sweep fc --unit 1 --decay 2", "decay must be a fraction"),
        ("sweep fc --unit 1 --columns 1", "at least 2 columns"),
        ("presets fc --unit 1 --presets 1,9", "presets.json; known: 1, 2, 3, 4"),
        ("presets fc --unit 1 --presets 1,,2", "expected numbers and names"),
        ("search fc --units 7", "'7' is out of range: the layer has 4 units"),
        ("search fc --units 1 --keep 3", "--keep TRIAL and --name NAME go together"),
        ("search fc --units 1 --keep 3 --name a", "make one first: deepvis search fc --units 1"),
        ("search fc --units 1 --judge nothing", "expected module:function"),
        ("search fc --units 1 --judge gone:f", "cannot import 'gone:f'"),
        ("layer-figure fc", "make them with: deepvis optimize fc"),
        ("filters --layer fc", "no convolution named 'fc'"),
        ("filters --images gone", "there is no folder gone"),
    ],
)
def test_clear_errors_and_no_file(arguments: str, message: str) -> None:
    result = deepvis(*arguments.split(), code=2)
    assert result.stderr.startswith("deepvis: ")
    assert message in result.stderr
    assert not Path("out").exists()


# -- presets ---------------------------------------------------------------------------------------


def test_presets_side_by_side_and_one_of_ones_own(net: Net) -> None:
    own = '{"mine": {"decay": 0.25, "rate": {"type": "Constant", "lr": 3}, "iterations": 3}}'
    Path("presets.json").write_text(own)
    arguments = ("--presets", "2,4,mine", "--seeds", "3", "--cell", "120", "--columns", "3")
    said = deepvis("presets", "fc", "--unit", "1", *arguments, *SHORT).stdout
    record = json.loads(Path("out/presets/fc_0001.json").read_text())
    assert [one["preset"] for one in record["presets"]] == [2, 4, "mine"]
    chosen = [2, 4, AscentParams(decay=0.25, rate=dv.optimizer.Constant(3), iterations=3)]
    for one, preset in zip(record["presets"], chosen, strict=True):
        runs = dv.optimize(net, "fc", 1, range(3), preset=preset, iterations=3)
        np.testing.assert_allclose(one["activations"], [r.best_value for r in runs], rtol=1e-5)
    assert "preset mine: activation" in said
    assert "; decay 0.25" in said
    assert read_rgb("out/presets/fc_0001.png").shape[1] == 2 * 14 + 3 * 120 + 2 * 6


# -- search ----------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The trials of a contact sheet, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.trials: list[dict[str, str]] = []
        self.images: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "figure":
            self.trials.append(values)
        if tag == "img":
            self.images.append(values["src"])


@pytest.mark.slow
def test_a_search_its_page_and_a_preset_from_it(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("eye.py").write_text("def likes(picture, unit):\n    return picture.mean() + unit\n")
    search = ("search", "fc", "--units", "2,0", "--trials", "5", *SHORT, "--judge", "eye:likes")
    deepvis(*search)
    record = json.loads(Path("out/search/fc_0002_0000_0.json").read_text())
    assert [one["trial"] for one in record["trials"]] == list(range(5))
    for one in record["trials"]:
        params = trial(0, one["trial"], iterations=3)
        runs = dv.optimize(net, "fc", [2, 0], [0], preset=params)
        assert one["params"] == params.record()
        mean = np.mean([run.best_value for run in runs])
        assert one["activation"] == pytest.approx(mean, rel=1e-5)
        assert one["judged"] == pytest.approx(np.mean([r.picture().mean() for r in runs]) + 1)

    text = Path("out/search/fc_0002_0000_0.html").read_text()
    page = _Page(text)
    assert [int(one["data-number"]) for one in page.trials] == list(range(5))
    for shown, one in zip(page.trials, record["trials"], strict=True):
        assert float(shown["data-activation"]) == pytest.approx(one["activation"])
        assert float(shown["data-judged"]) == pytest.approx(one["judged"])
        assert "gray levels a step" in shown["title"]
    assert len(page.images) == 5 * 2
    assert all(image.startswith("data:image/jpeg;base64,") for image in page.images)
    assert not re.search(r"(src|href)=\"(?!data:)", text), "the page needs another file"

    # The same search, and the same with fewer trials, runs nothing.
    with monkeypatch.context() as patch:
        patch.setattr(type(net), "evaluate", None)
        deepvis(*search)
        deepvis(*search, "--trials", "4")

    said = deepvis("search", "fc", "--units", "2,0", "--keep", "3", "--name", "crisp").stdout
    assert "use it with --preset crisp" in said
    assert read_presets(Path("presets.json")) == {"crisp": trial(0, 3, iterations=3)}
    assert "no trial 5" in deepvis("search", "fc", "--units", "2,0", "--keep", "5", "--name",
                                    "x", code=2).stderr  # fmt: skip

    deepvis("optimize", "fc", "--units", "1", "--preset", "crisp", "--seeds", "1")
    (run,) = dv.optimize(net, "fc", 1, preset=trial(0, 3, iterations=3))
    found = json.loads(Path("out/regularized_opt/fc/fc_0001_0.json").read_text())
    assert found["best_value"] == pytest.approx(run.best_value, rel=1e-5)
    unknown = deepvis("optimize", "fc", "--preset", "crips", code=2).stderr
    assert "did you mean 'crisp'" in unknown
    assert "1, 2, 3, 4, best, crisp" in re.sub(r"\s+", " ", unknown)


def test_the_command_that_a_search_says_keeps_the_trial_that_it_shows() -> None:
    """Beside a search of the same units in the usual folder."""
    search = ("search", "fc", "--units", "1", "--trials", "2")
    deepvis(*search, *SHORT)
    said = deepvis(*search, "--iterations", "4", "--results", "my results").stderr
    command = said.rpartition("preset: deepvis ")[2].strip()
    page = Path("my results/search/fc_0001_0.html").read_text()
    assert command.partition(" --keep")[0] in page.replace("\\u0027", "'").replace("&#39;", "'")
    words = shlex.split(command.replace("TRIAL", "1").replace("NAME", "mine"))
    deepvis(*words)
    assert read_presets(Path("presets.json")) == {"mine": trial(0, 1, iterations=4)}


def test_another_searchs_page_is_not_lost() -> None:
    search = ("search", "fc", "--units", "1", "--trials", "2")
    deepvis(*search, *SHORT)
    page = Path("out/search/fc_0001_0.html")
    before = page.read_bytes()
    refused = deepvis(*search, "--iterations", "4", code=2).stderr
    assert "of a search with 3 steps, and this one has 4" in refused
    assert page.read_bytes() == before
    deepvis(*search, "--iterations", "4", "--overwrite")
    record = json.loads(page.with_suffix(".json").read_text())
    assert {one["params"]["iterations"] for one in record["trials"]} == {4}


def test_a_judge_that_returns_no_number() -> None:
    Path("odd.py").write_text("def likes(picture, unit):\n    return 'much'\n")
    search = ("search", "fc", "--units", "1", "--trials", "1", *SHORT, "--judge", "odd:likes")
    said = deepvis(*search, code=2).stderr
    assert "--judge: it must return a number; for unit 1 it returned 'much'" in said


def test_presets_lie_beside_the_settings_wherever_the_command_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "presets.json").write_text('{"mine": {"iterations": 2}}')
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    arguments = ("fc", "--units", "1", "--seeds", "1", "--preset", "mine")
    deepvis("optimize", *arguments, "-s", "../settings_local.py")
    record = json.loads((folder / "out/regularized_opt/fc/fc_0001_0.json").read_text())
    assert record["params"]["iterations"] == 2
    other = deepvis("optimize", *arguments, "-s", "../settings_local.py", "--presets-file",
                     "none.json", code=2).stderr  # fmt: skip
    assert "none.json" in other


@pytest.mark.slow
def test_an_interrupted_search_shows_what_is_finished(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, steps = type(net).evaluate, []

    def stop(self: Net, x: object, name: str, channels: object = None) -> object:
        steps.append(name)
        if len(steps) == 8:  # within the third trial of three steps each
            raise KeyboardInterrupt
        return evaluate(self, x, name, channels)

    search = ("search", "fc", "--units", "1", "--trials", "4", *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(type(net), "evaluate", stop)
        assert "finished work is kept" in deepvis(*search, code=130).stderr
    path = Path("out/search/fc_0001_0.json")
    first = json.loads(path.read_text())["trials"]
    assert [one["trial"] for one in first] == [0, 1]
    deepvis(*search)
    assert json.loads(path.read_text())["trials"][:2] == first
    whole = path.read_bytes()
    deepvis(*search, "--results", "fresh")
    assert Path("fresh/search/fc_0001_0.json").read_bytes() == whole


# -- layer-figure ----------------------------------------------------------------------------------


def test_a_layer_from_results_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    deepvis("optimize", "fc", "--units", "0,2,3", "--seeds", "2", *SHORT)
    Path("small.caffemodel").unlink()  # no net is needed
    deepvis("layer-figure", "fc", "--columns", "2", "--no-labels", "--cell", "96")
    made = read_rgb("out/layers/fc.png")
    store = dv.ResultStore("out")
    assert store.runs("fc") == {0: [0, 1], 2: [0, 1], 3: [0, 1]}
    for place, unit in enumerate([0, 2, 3]):
        cell = store.cell("fc", unit, 0)  # 72 x 96, as large as it is shown
        top, left = 14 + place // 2 * (72 + 6), 14 + place % 2 * (96 + 6)
        np.testing.assert_array_equal(made[top : top + 72, left : left + 96], cell)
    said = deepvis("layer-figure", "fc", "--units", "1-3", "--seed", "1", "-o", "x.jpg").stderr
    assert "x.jpg: 2 units" in said
    assert "left out 1 units without images" in said
    assert read_rgb("x.jpg").shape[0] > 72 + 2 * 14  # there are labels, and a title
    for units in ("1", "30"):  # how many the layer has, nobody here knows
        said = deepvis("layer-figure", "fc", "--units", units, code=2).stderr
        assert "none of the requested units" in said


# -- filters ---------------------------------------------------------------------------------------


def test_filters_over_a_folder_of_photographs(net: Net) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), np.uint8)
    for number, picture in enumerate(pictures):
        dv.write_image(f"photos/{number}.png", picture)
    said = deepvis("filters", "--images", "photos", "--no-plot", "--count", "1").stdout
    values = net.forward(net.preprocessor(list(pictures)), ["conv/1"])["conv/1"]
    expected = values.mean(axis=(0, 2, 3))  # its ReLU works in place
    with Path("filters.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["mean_activation"]) for row in rows], expected, rtol=1e-4)
    assert "of lowest frequency" in said
    assert not Path("filters.png").exists()


# -- other processes -------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "fc", "--unit", "1", "--columns", "2"),
        ("presets", "fc", "--unit", "1", "--presets", "2,4", "--seeds", "2"),
        ("search", "fc", "--units", "2,0", "--trials", "3"),
    ],
    ids=lambda command: command[0],
)
def test_workers_make_the_same_files(
    command: tuple[str, ...], net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepvis(*command, *SHORT)
    serial = contents(Path("out"))
    Path("out").rename("serial")
    _no_more_runs(net, monkeypatch)  # in this process: only others can make an image
    deepvis(*command, *SHORT, "--workers", "2")
    assert any(name.endswith("_best_X.png") for name in serial)
    assert contents(Path("out")) == serial
