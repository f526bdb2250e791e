"""The page's files: parsed with Python's own HTML parser, and written atomically."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from helpers.engine_nets import conv, net_text
from helpers.results_folder import add_pictures, add_run, record

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.model.model import load_model
from deepvis_caffe.page import page
from deepvis_caffe.page.data import UNITS_PER_PART
from deepvis_caffe.page.page import write_page
from deepvis_caffe.results.additions import with_net
from deepvis_caffe.results.index import read_results
from deepvis_caffe.results.recipes import recipe_name

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028\\"


class Reader(HTMLParser):
    """The scripts, the addresses and the metadata of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.meta: dict[str, str | None] = {}
        self.title = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self._inside = tag
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]
        if tag == "meta":
            name = attributes.get("name") or attributes.get("http-equiv") or "charset"
            self.meta[name] = attributes.get("content")
        if tag == "script":
            self.scripts.append((attributes, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        if self._inside == "title":
            self.title += data

    @property
    def index(self) -> dict:
        ((_, text),) = [one for one in self.scripts if one[0].get("id") == "index"]
        return json.loads(text)


def _page(folder: Path, out: Path | None = None) -> tuple[Path, Reader]:
    path = write_page(read_results(folder), out)
    return path, Reader(path.read_text(encoding="utf-8"))


def _part(folder: Path, address: str) -> tuple[str, dict]:
    text = (folder / address).read_text(encoding="ascii")
    assert text.startswith("deepvisPart(")
    assert text.endswith(");\n")
    key, content = json.loads(f"[{text.removeprefix('deepvisPart(')[:-3]}]")
    return key, content


def test_the_index_and_the_part_of_a_layer(tmp_path: Path) -> None:
    add_run(tmp_path, "fire4_concat", record("fire4/concat", 12, 0, label="tabby, tabby cat"))
    add_run(tmp_path, "fire4_concat", record("fire4/concat", 3, 1, best_value=-123456.789))
    add_pictures(
        tmp_path,
        "regularized_opt/fire4_concat/fire4_concat_0012_montage.jpg",
        "max_im/pool1/pool1_0002.jpg",
        "max_deconv/pool1/pool1_0002.jpg",
    )
    path, reader = _page(tmp_path)
    assert path == tmp_path / "index.html"
    (address,) = reader.index["layers"][0]["parts"]
    recipe = recipe_name({})
    assert reader.index == {
        "base": "",
        "bits": {
            "montage": 1,
            "best_X": 2,
            "best_Xpm": 4,
            "max_im": 8,
            "max_deconv": 16,
            "max_gradient": 32,
            "max_guided": 64,
            "weights": 128,
        },
        "unitsPerPart": UNITS_PER_PART,
        "height": 999,
        "layers": [
            {
                "name": "fire4/concat",
                "folder": "fire4_concat",
                "count": None,
                "recipes": [{"name": recipe, "within": "", "whole": False}],
                "units": [3, 12],
                "labels": ["", "tabby, tabby cat"],
                "has": [6, 7],
                "made": None,
                "parts": [address],
                "correlation": None,
            },
            {
                "name": "pool1",
                "folder": "pool1",
                "count": None,
                "recipes": [],
                "units": [2],
                "labels": None,
                "has": [24],
                "made": None,
                "parts": [],
                "correlation": None,
            },
        ],
        "stages": [],
        "skipped": [],
    }
    key, part = _part(tmp_path, address)
    assert key == "0.0"
    assert len(part["made"]) == 1
    assert part["runs"][1] == [
        {
            "recipe": 0,
            "seed": 0,
            "pictures": {"best_X": "png", "best_Xpm": "png"},
            "down": False,
            "made": 0,
            "best": [2, 7.5],
            "top": 1,
            "stop": "finished",
            "window": [2, 1, 6, 7],
            "history": {
                "length": 4,
                "low": -2.5,
                "high": 7.5,
                "every": 1,
                "points": [300, 0, 999, 749],  # 3/10, 0, 1 and 3/4 of 999
            },
        }
    ]
    assert part["runs"][0][0]["best"] == [2, -123460.0]


def test_values_that_were_not_finite(tmp_path: Path) -> None:
    about = record("fc", 0, 0, objective=[None, None], best_value=None, best_iteration=None)
    add_run(tmp_path, "fc", about)
    add_run(tmp_path, "fc", record("fc", 1, 0, objective=[]))
    add_run(tmp_path, "fc", record("fc", 2, 0, objective=[4.0, None], best_value=4.0))
    _, reader = _page(tmp_path)
    _, part = _part(tmp_path, reader.index["layers"][0]["parts"][0])
    histories = [runs[0]["history"] for runs in part["runs"]]
    assert [history and history["points"] for history in histories] == [
        [None, None],
        None,
        [0, None],
    ]


def test_units_are_spread_over_parts(tmp_path: Path) -> None:
    for unit in range(UNITS_PER_PART + 1):
        add_run(tmp_path, "fc", record("fc", unit, 0))
    _, reader = _page(tmp_path)
    parts = [_part(tmp_path, address) for address in reader.index["layers"][0]["parts"]]
    assert [(key, len(part["runs"])) for key, part in parts] == [
        ("0.0", UNITS_PER_PART),
        ("0.1", 1),
    ]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = "a/b" + HOSTILE
    stem = "a_b" + "".join(c if c.isalnum() and c.isascii() else "_" for c in HOSTILE)
    model = {"name": HOSTILE, "prototxt": HOSTILE, "weights": None}
    about = record(name, 0, 0, label=HOSTILE, model=model, stop=HOSTILE, engine=HOSTILE)
    path = add_run(tmp_path, stem, about)
    damaged = path.with_name(f"{stem}_0000_1.json")
    damaged.write_text("{")
    add_pictures(tmp_path, "max_im/<b>&/<b>&_0000.jpg")
    _, harmless = _page_of_harmless(tmp_path / "harmless")
    _, reader = _page(tmp_path)
    assert reader.tags == harmless.tags
    assert reader.title == f"Units of {HOSTILE}"
    layers = reader.index["layers"]
    assert {layer["name"] for layer in layers} == {name, "<b>&"}
    ours = next(layer for layer in layers if layer["name"] == name)
    assert ours["labels"] == [HOSTILE]
    text = (tmp_path / ours["parts"][0]).read_text()
    assert "<" not in text
    assert _part(tmp_path, ours["parts"][0])[1]["runs"][0][0]["stop"] == HOSTILE


def _page_of_harmless(folder: Path) -> tuple[Path, Reader]:
    add_pictures(folder, "max_im/conv1/conv1_0000.jpg")
    return _page(folder)


@pytest.mark.parametrize(
    ("folder", "title"),
    [
        ("models/caffenet-yos/unit_jpg_vis", "Units of caffenet-yos"),  # the toolbox's own folders
        ("lenet/results", "Units of lenet"),
        ("flowers", "Units of flowers"),
    ],
)
def test_pictures_without_records_have_the_title_of_their_net_or_folder(
    tmp_path: Path, folder: str, title: str
) -> None:
    results = tmp_path / folder
    add_pictures(results, "regularized_opt/conv1/conv1_0000_montage.jpg")
    assert _page(results)[1].title == title
    (tmp_path / "net.prototxt").write_text(net_text(conv("conv1", "data", 1), data=(1, 1, 4, 4)))
    model = load_model(tmp_path / "net.prototxt", None, need_weights=False)
    named = with_net(read_results(results), model)
    assert Reader(write_page(named).read_text(encoding="utf-8")).title == "Units of small"


def test_nothing_outside_is_asked_for(tmp_path: Path) -> None:
    _, reader = _page_of_harmless(tmp_path)
    assert all(a.startswith(("#", "data:")) for a in reader.addresses), reader.addresses
    policy = dict(
        part.strip().split(" ", 1) for part in reader.meta["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "'self' file: data:"
    (_, script) = reader.scripts[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' file: 'sha256-{digest}'"


def test_every_template_is_used_and_ships() -> None:
    folder = resources.files("deepvis_caffe.page") / "templates"
    names = {path.name for path in folder.iterdir()}
    assert names == {*page.SCRIPTS, *page.STYLES, "page.html"}


@pytest.mark.parametrize(
    ("out", "base"),
    [
        ("pages/here/my page.html", "../../a%20%23%20folder/"),
        ("a # folder/other.html", ""),
        ("page.htm", "a%20%23%20folder/"),
    ],
)
def test_a_page_elsewhere_finds_the_pictures(tmp_path: Path, out: str, base: str) -> None:
    folder = tmp_path / "a # folder"
    add_run(folder, "fc", record("fc", 0, 0))
    path, reader = _page(folder, tmp_path / out)
    assert path == tmp_path / out
    assert reader.index["base"] == base
    (address,) = reader.index["layers"][0]["parts"]
    name = path.stem.replace(" ", "%20")
    assert address.startswith(f"{name}_files/")
    assert (path.parent / f"{path.stem}_files" / address.split("/")[1]).is_file()


def _files(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*") if p.is_file() and "regularized_opt" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_a_second_run_updates_and_leaves_no_old_parts(tmp_path: Path) -> None:
    add_run(tmp_path, "fc", record("fc", 0, 0))
    _page(tmp_path)
    first = _files(tmp_path)
    (tmp_path / "index_files" / "mine.js").write_text("// a reader's own")
    _page(tmp_path)
    assert _files(tmp_path) == {**first, "index_files/mine.js": b"// a reader's own"}
    add_run(tmp_path, "fc", record("fc", 1, 0))
    _, reader = _page(tmp_path)
    assert reader.index["layers"][0]["units"] == [0, 1]
    (address,) = reader.index["layers"][0]["parts"]
    assert set(_files(tmp_path)) == {"index.html", "index_files/mine.js", address}
    assert address not in first


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_what_fails_midway_leaves_the_old_page_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    add_run(tmp_path, "fc", record("fc", 0, 0))
    _page(tmp_path)
    before = _files(tmp_path)
    add_run(tmp_path, "fc", record("fc", 1, 0))
    add_run(tmp_path, "conv", record("conv", 1, 0, best_value=9.0))
    results = read_results(tmp_path)  # two parts and the page are going to be written
    replace, calls = Path.replace, []

    def full(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == fails_at:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResultsError, match=r"cannot write .*index\.html: No space left on device"):
        write_page(results)
    assert len(calls) == fails_at
    assert _files(tmp_path) == before


def test_a_first_page_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(tmp_path, "fc", record("fc", 0, 0))

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "page_html", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_page(read_results(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["regularized_opt"]


def test_somebody_elses_page_stays(tmp_path: Path) -> None:
    add_pictures(tmp_path, "max_im/conv1/conv1_0000.jpg")
    theirs = tmp_path / "index.html"
    theirs.write_text("<!doctype html><title>My thesis</title>")
    with pytest.raises(ResultsError, match=r"was not made by `deepvis gallery`; choose another"):
        _page(tmp_path)
    assert "My thesis" in theirs.read_text()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    add_pictures(tmp_path, "max_im/conv1/conv1_0000.jpg")
    results = read_results(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"page\.html: Not a directory; choose another file"):
        write_page(results, tmp_path / "file" / "page.html")
    with pytest.raises(ResultsError, match=r"must end in \.html, \.htm"):
        write_page(results, tmp_path / "page")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ResultsError, match=r"folder\.html: Is a directory"):
        write_page(results, tmp_path / "folder.html")
