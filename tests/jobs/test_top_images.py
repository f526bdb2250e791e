"""A unit's top images on disk, in the toolbox's layout, made once and never replaced unasked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import small_model
from helpers.cluster_work import small_net
from helpers.image_sets import write_folder
from helpers.results_folder import files

from deepvis_caffe.cluster import LocalProcesses
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import Scan, ScanParams, scan_images
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.top_images import unit_examples
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ResultsError, SettingsError
from deepvis_caffe.image import read_image, write_image
from deepvis_caffe.jobs.forecast import Forecast
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.top_images import ScannedImages, TopUnit, make_top_pictures
from deepvis_caffe.results.index import read_results

RECIPE = {"images": "these", "layers": ["conv/1", "fc"]}
MODES = ("deconv", "guided")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source(write_folder(tmp_path_factory.mktemp("images"), 7), class_folders=True)


@pytest.fixture(scope="module")
def scan(net: Net, source: Source) -> Scan:
    return scan_images(net, source, ScanParams(("conv/1", "fc"), 9))


def make(
    net: Net, source: Source, scan: Scan, out: Path, layer: str = "conv/1", **more: object
) -> list[TopUnit]:
    own = {name: more.pop(name) for name in ("where", "make_net", "overwrite") if name in more}
    job = Job(net, out, **own)
    scanned = ScannedImages(source, scan, more.pop("recipe", RECIPE))
    units = {layer: more.pop("units", [0, 3])}
    given = {"modes": MODES, "with_crops": True, **more}
    return make_top_pictures(job, scanned, units, **given)[layer]


def test_files_are_where_the_toolbox_has_them_and_say_what_they_show(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    made = make(net, source, scan, tmp_path)
    assert [unit.new for unit in made] == [True, True]
    assert made[1].montage == tmp_path / "max_im/conv_1/conv_1_0003.jpg"
    for tree in ("max_im", "max_deconv", "max_guided"):
        stem = tmp_path / tree / "conv_1" / "conv_1_0003"
        record = json.loads(stem.with_suffix(".json").read_text())
        examples = unit_examples(net, source, scan, "conv/1", 3, MODES)
        assert [one["name"] for one in record["images"]] == [one.name for one in examples]
        for rank, (about, one) in enumerate(zip(record["images"], examples, strict=True)):
            assert about["value"] == one.value
            assert tuple(about["place"]) == one.place
            assert about["class_name"] == small_model.LABELS[0 if one.name[0] == "a" else 1]
            shown = one.crop if tree == "max_im" else one.diffs[tree[4:]]
            single = read_image(stem.with_name(f"conv_1_0003_{rank}.png"))
            np.testing.assert_array_equal(single, shown)
        # 3 pixels of the input, 43 times as large: nine places, of which two are empty.
        picture = read_image(stem.with_suffix(".jpg"))
        assert picture.shape == (3 * 130 + 1, 3 * 130 + 1, 3)
        gray = abs(picture.astype(int) - 128).max(axis=2) < 4
        assert gray[-120:-10, -120:-10].mean() > 0.99
        assert gray[10:120, 10:120].mean() < 0.5


def test_an_output_unit_is_shown_the_whole_input(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    make(net, source, scan, tmp_path, "fc", units=[1], modes=())
    record = json.loads((tmp_path / "max_im/fc/fc_0001.json").read_text())
    assert record["label"] == "bee, honey bee"
    for about in record["images"]:
        assert about["box"] == [0, 0, 12, 16]
        assert about["picture_box"] == [0, 0, 30, 40]
        single = read_image(tmp_path / f"max_im/fc/fc_0001_{record['images'].index(about)}.png")
        index = list(source.names).index(about["name"])
        np.testing.assert_array_equal(single, source.read(index))


def test_the_gallery_shows_them(net: Net, source: Source, scan: Scan, tmp_path: Path) -> None:
    make(net, source, scan, tmp_path)
    results = read_results(tmp_path)
    (layer,) = results.layers
    assert layer.name == "conv/1"
    assert [unit.unit for unit in layer.units] == [0, 3]
    assert layer.units[0].pictures == {"max_im", "max_deconv", "max_guided"}
    assert results.skipped == ()


@pytest.mark.process
def test_processes_write_the_same_files(
    net: Net, model: Path, source: Source, scan: Scan, tmp_path: Path
) -> None:
    make(net, source, scan, tmp_path / "here")
    more = {"where": LocalProcesses(2), "make_net": partial(small_net, model)}
    make(net, source, scan, tmp_path / "there", **more)
    assert files(tmp_path / "here") == files(tmp_path / "there")


@pytest.mark.parametrize("layer", ["conv/1", "fc"])
def test_files_do_not_depend_on_what_is_kept_nor_on_the_order(
    net: Net, source: Source, scan: Scan, tmp_path: Path, layer: str
) -> None:
    one = source.read(0).nbytes + 4 * 3 * 12 * 16
    for name, units, capacity in (
        ("anew", [0, 1, 2, 3], 0),
        ("few", [3, 1, 0, 2], 2 * one),
        ("all", [2, 3, 1, 0], None),
    ):
        make(net, source, scan, tmp_path / name, layer, units=units, capacity=capacity)
    anew = files(tmp_path / "anew")
    assert len(anew) >= 4 * 3 * 2
    assert files(tmp_path / "few") == anew
    assert files(tmp_path / "all") == anew


def test_an_image_is_read_once_for_all_units(
    net: Net, source: Source, scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = type(source).read, []

    def counted(self: Source, index: int) -> object:
        seen.append(index)
        return read(self, index)

    monkeypatch.setattr(type(source), "read", counted)
    make(net, source, scan, tmp_path, units=range(5))
    assert sorted(seen) == list(range(7))


def test_what_is_there_is_left_alone_and_what_is_missing_made(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    make(net, source, scan, tmp_path, units=[0])
    before = files(tmp_path)
    (tmp_path / "max_deconv/conv_1/conv_1_0000.jpg").unlink()
    made = make(net, source, scan, tmp_path, units=[0, 3])
    assert [unit.new for unit in made] == [True, True]
    assert {name: files(tmp_path)[name] for name in before} == before
    assert [unit.new for unit in make(net, source, scan, tmp_path)] == [False, False]


@pytest.mark.parametrize(
    "name", ["max_im/conv_1/conv_1_0000.jpg", "max_im/conv_1/conv_1_0000_1.png",
             "max_deconv/conv_1/conv_1_0000_0.png", "max_im/conv_1/conv_1_0000.json"],
)  # fmt: skip
@pytest.mark.parametrize("kept", [0, 0.5])
def test_what_a_power_cut_left_half_written_is_made_again(
    net: Net, source: Source, scan: Scan, tmp_path: Path, name: str, kept: float
) -> None:
    make(net, source, scan, tmp_path, units=[0])
    before = files(tmp_path)
    (tmp_path / name).write_bytes(before[name][: int(kept * len(before[name]))])
    assert [unit.new for unit in make(net, source, scan, tmp_path, units=[0])] == [True]
    assert files(tmp_path) == before


def test_others_pictures_are_not_replaced(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    theirs = write_image(tmp_path / "max_deconv/conv_1/conv_1_0003.jpg", picture)
    content = theirs.read_bytes()
    with pytest.raises(ResultsError, match="made by another program"):
        make(net, source, scan, tmp_path, overwrite=True)
    assert files(tmp_path) == {"max_deconv/conv_1/conv_1_0003.jpg": content}
    theirs.unlink()
    make(net, source, scan, tmp_path)
    with pytest.raises(SettingsError, match="from other images or with another net"):
        make(net, source, scan, tmp_path, recipe={**RECIPE, "images": "others"})
    make(net, source, scan, tmp_path, recipe={**RECIPE, "layers": ["fc"]})  # the same pictures
    made = make(net, source, scan, tmp_path, recipe={"images": "others"}, overwrite=True)
    assert [unit.new for unit in made] == [True, True]


def test_a_unit_that_answers_to_nothing_has_no_pictures(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    quiet = scan.layers["conv/1"]
    quiet.top.value[4], quiet.low[4] = 0, 0
    (unit,) = make(net, source, scan, tmp_path, units=[4])
    assert unit.montage is None
    assert not unit.new
    assert not files(tmp_path)


def test_the_montages_do_without_single_crops(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    make(net, source, scan, tmp_path / "all")
    make(net, source, scan, tmp_path / "lean", with_crops=False)
    everything = files(tmp_path / "all")
    lean = {name: data for name, data in everything.items() if not name.endswith(".png")}
    assert len(lean) == 2 * 3 * 2  # units, trees, montage and record
    assert files(tmp_path / "lean") == lean
    made = make(net, source, scan, tmp_path / "lean")  # the crops are asked for later
    assert [unit.new for unit in made] == [True, True]
    assert files(tmp_path / "lean") == everything
    made = make(net, source, scan, tmp_path / "lean", with_crops=False)  # and stay
    assert [unit.new for unit in made] == [False, False]
    assert files(tmp_path / "lean") == everything


def test_crops_of_another_scan_do_not_stay_beside_a_new_montage(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    make(net, source, scan, tmp_path)
    make(net, source, scan, tmp_path, recipe={"images": "others"}, with_crops=False, overwrite=True)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("replaced", [False, True])
def test_a_write_that_is_cut_off_is_made_up_for(
    net: Net,
    source: Source,
    scan: Scan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    replaced: bool,
) -> None:
    one = {"units": [0], "modes": (), "with_crops": False}
    if replaced:
        make(net, source, scan, tmp_path, **{**one, "recipe": {"images": "others"}})

    def cut_off(path: Path, *rest: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr("deepvis_caffe.results.top_store.write_image", cut_off)
        with pytest.raises(InterruptedError):
            make(net, source, scan, tmp_path, overwrite=True, **one)
    made = make(net, source, scan, tmp_path, overwrite=replaced, **one)
    assert [unit.new for unit in made] == [True]
    again = files(tmp_path)
    make(net, source, scan, tmp_path / "whole", **one)
    assert again == files(tmp_path / "whole")


def test_what_is_ahead_is_announced_after_two_units_of_each_layer(
    net: Net, source: Source, scan: Scan, tmp_path: Path
) -> None:
    job, scanned = Job(net, tmp_path), ScannedImages(source, scan, RECIPE)
    ahead: list[Forecast] = []
    units = {"conv/1": range(4), "fc": [0, 1, 2]}
    make_top_pictures(job, scanned, units, announce=ahead.append)
    (found,) = ahead
    assert found.tasks == (4 - 2) + (3 - 2)
    blocks = sum(-(-len(data) // 4096) * 4096 for data in files(tmp_path).values())
    assert found.size == pytest.approx(blocks * 3 / 7, rel=0.4)
    assert found.seconds > 0


def test_it_stops_before_a_disk_is_full(
    net: Net, source: Source, scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 99_000_000

    def usage(_: object) -> object:
        return SimpleNamespace(free=free)

    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(ResultsError, match=r"has 99 MB free; 100 MB must stay free"):
        make(net, source, scan, tmp_path)
    assert files(tmp_path) == {}
    free = 100_000_500  # room for the first units' files, by what was asked, and not for the rest
    with pytest.raises(ResultsError, match=r"has 100 MB free; about \d+ kB will be written"):
        make(net, source, scan, tmp_path, units=range(5), with_crops=False)
    assert len(files(tmp_path)) < 5 * 3 * 2  # some units, to know what the others take
    free = 200_000_000
    make(net, source, scan, tmp_path, units=range(5), with_crops=False)
