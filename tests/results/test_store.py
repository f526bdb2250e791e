"""The results store: DVT's paths, complete files, and what counts as finished."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.results.layout import folder_name, record_of
from deepvis_caffe.results.records import read_record, write_record
from deepvis_caffe.results.store import ResultStore

RECIPE = {"params": {"decay": 0.1, "where": (3, 4)}}


def _picture(level: int) -> np.ndarray:
    return np.full((100, 120, 3), level, np.uint8)


def _write(
    store: ResultStore,
    layer: str = "fc",
    unit: int = 3,
    seed: int = 0,
    level: int = 50,
    recipe: dict = RECIPE,
    **more: object,
) -> None:
    pictures = {"best_X": _picture(level), "best_Xpm": _picture(level + 1)}
    store.write_run(pictures, layer, unit, seed, {"recipe": recipe, **more})


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "out")


def test_the_layout_is_dvts(store: ResultStore) -> None:
    _write(store, "conv1", 7, 2)
    store.write_montage("conv1", 7, [2], {"recipe": RECIPE})
    store.write_whole_layer("conv1", 96, RECIPE)
    found = {str(p.relative_to(store.folder)) for p in store.folder.rglob("*") if p.is_file()}
    assert found == {
        "regularized_opt/conv1/conv1_0007_montage.jpg",
        "regularized_opt/conv1/conv1_0007_montage.json",
        "regularized_opt/conv1/conv1_0007_2_best_X.png",
        "regularized_opt/conv1/conv1_0007_2_best_Xpm.png",
        "regularized_opt/conv1/conv1_0007_2.json",
        "regularized_opt/conv1/whole_layer.jpg",
        "regularized_opt/conv1/whole_layer.json",
    }


@pytest.mark.parametrize(
    ("layer", "folder"),
    [("fire5/concat", "fire5_concat"), ("../x", "__x"), ("a b:c", "a_b_c"), ("fc-8.1", "fc-8.1")],
)
def test_layer_names_become_safe_folders(layer: str, folder: str) -> None:
    assert folder_name(layer) == folder


def test_the_record_keeps_the_true_name(store: ResultStore) -> None:
    _write(store, "fire5/concat")
    record = json.loads(store.record("fire5/concat", 3, 0).read_text())
    assert (record["layer"], record["unit"], record["seed"]) == ("fire5/concat", 3, 0)


def test_two_layers_of_one_folder_do_not_mix(store: ResultStore) -> None:
    _write(store, "a/b")
    with pytest.raises(ResultsError, match=r"belongs to layer 'a/b', and layer 'a_b' has the same"):
        _write(store, "a_b")


def test_finished_means_every_picture_by_the_same_recipe(store: ResultStore) -> None:
    _write(store, seed=0)
    assert store.has_run("fc", 3, 0, RECIPE)
    assert not store.has_run("fc", 3, 1, RECIPE)
    assert not store.has_run("fc", 3, 0, {"params": {"decay": 0.2, "where": (3, 4)}})
    assert not store.finished("fc", 3, [0], RECIPE), "there is no montage yet"
    _write(store, seed=1)
    store.write_montage("fc", 3, [0, 1], {"recipe": RECIPE})
    assert store.finished("fc", 3, [0, 1], RECIPE)
    assert not store.finished("fc", 3, [0], RECIPE), "the montage shows other seeds"
    store.picture("fc", 3, 1, "best_X").unlink()
    assert not store.finished("fc", 3, [0, 1], RECIPE)


@pytest.mark.parametrize("kept", [0, 40, -1])
def test_a_picture_that_was_cut_off_is_not_finished(store: ResultStore, kept: int) -> None:
    _write(store, seed=0)
    store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    for path in (store.montage("fc", 3), store.picture("fc", 3, 0, "best_Xpm")):
        whole = path.read_bytes()
        path.write_bytes(whole[:kept])
        assert not store.finished("fc", 3, [0], RECIPE)
        path.write_bytes(whole)
        assert store.finished("fc", 3, [0], RECIPE)


def test_a_damaged_record_counts_as_none(store: ResultStore) -> None:
    _write(store)
    store.record("fc", 3, 0).write_text('{"recipe":')
    assert not store.has_run("fc", 3, 0, RECIPE)


def test_an_interrupted_write_leaves_the_old_file_whole(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(store, level=50)
    store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    before = {p: p.read_bytes() for p in store.folder.rglob("*") if p.is_file()}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _write(store, level=90)
    with pytest.raises(KeyboardInterrupt):
        write_record(store.record("fc", 3, 0), {"new": 1})
    with pytest.raises(KeyboardInterrupt):
        store.write_montage("fc", 3, [0], {"recipe": {}})
    after = {p: p.read_bytes() for p in store.folder.rglob("*") if p in before}
    assert after == before


def test_pictures_cut_off_before_their_record_are_not_finished(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"params": {"decay": 0.9}}
    _write(store, level=50)
    monkeypatch.setattr("deepvis_caffe.results.store.write_record", _stop)
    with pytest.raises(KeyboardInterrupt):
        _write(store, level=90, recipe=other)
    assert not store.has_run("fc", 3, 0, other)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_somebody_elses_montage_stays(store: ResultStore) -> None:
    _write(store)
    theirs = store.montage("fc", 3)
    theirs.write_bytes(b"downloaded")
    with pytest.raises(
        ResultsError, match="made by another program; choose another results folder"
    ):
        store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    assert theirs.read_bytes() == b"downloaded"


def test_somebody_elses_whole_layer_stays(store: ResultStore) -> None:
    _write(store)
    store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    theirs = store.whole_layer("fc")
    theirs.write_bytes(b"downloaded")
    with pytest.raises(
        ResultsError, match="made by another program; choose another results folder"
    ):
        store.write_whole_layer("fc", 5, RECIPE)
    assert theirs.read_bytes() == b"downloaded"


def test_a_montage_cut_off_before_its_record_is_ours_and_unfinished(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(store)
    with monkeypatch.context() as patch:
        patch.setattr("deepvis_caffe.results.records.write_image", _stop)
        with pytest.raises(KeyboardInterrupt):
            store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    store.montage("fc", 3).write_bytes(b"just written")
    assert not store.finished("fc", 3, [0], RECIPE)
    store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    assert store.finished("fc", 3, [0], RECIPE)


@pytest.mark.parametrize("left", ["", '{"recipe": {"net"', "\0\0\0\0"])
def test_a_record_that_a_power_cut_left_is_ours_and_unfinished(
    store: ResultStore, left: str
) -> None:
    _write(store)
    store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    store.write_whole_layer("fc", 5, RECIPE)
    for path in (store.montage("fc", 3), store.whole_layer("fc"), store.record("fc", 3, 0)):
        record_of(path).write_text(left)
    store.claim("fc", [3], [0], RECIPE)  # neither refused as another program's, nor as others'
    assert not store.has_run("fc", 3, 0, RECIPE)
    assert not store.finished("fc", 3, [0], RECIPE)
    _write(store)
    store.write_montage("fc", 3, [0], {"recipe": RECIPE})
    store.write_whole_layer("fc", 5, RECIPE)
    assert store.finished("fc", 3, [0], RECIPE)


def test_a_montage_shows_what_the_unit_sees(store: ResultStore) -> None:
    picture = _picture(0)
    picture[20:70, 30:60], picture[20:70, 60:90] = 30, 225  # as far from gray as each other
    pictures = {"best_X": picture, "best_Xpm": _picture(0)}
    # the picture is the input's part from row 100 and column 200 on
    boxes = {"window": (100, 200, 200, 320), "sees": (120, 230, 170, 290)}
    store.write_run(pictures, "conv", 0, 0, {"recipe": RECIPE, **boxes})
    cell = store.cell("conv", 0, 0)
    assert (cell[:, :59] == 0).all()
    assert (cell[:, 61:] == 255).all()
    path = store.write_montage("conv", 0, [0], {"recipe": RECIPE})
    made = cv2.imread(str(path))  # 60 wide is enlarged to 120, 1 pixel of padding around
    assert made.shape == (2 * 50 + 2, 2 * 60 + 2, 3)
    assert made[10:-10, 10:50].max() <= 3
    assert made[10:-10, 75:-10].min() >= 252


def test_the_whole_layer_has_each_units_first_seed_in_its_place(store: ResultStore) -> None:
    for unit, level in ((0, 40), (4, 200)):
        _write(store, unit=unit, seed=0, level=level - 1)
        _write(store, unit=unit, seed=1, level=100)
        store.write_montage("fc", unit, [0, 1], {"recipe": RECIPE})
    _write(store, unit=2, recipe={})
    store.write_montage("fc", 2, [0], {"recipe": {}})  # by another recipe: not shown
    path = store.write_whole_layer("fc", 5, RECIPE)
    assert path == store.whole_layer("fc")
    made = cv2.imread(str(path)).astype(int)
    assert made.shape == (300, 360, 3)  # 3 x 3 cells
    middles = made[50::100, 60::120, 0]
    np.testing.assert_allclose(middles, [[0, 128, 128], [128, 255, 128], [128, 128, 128]], atol=3)
    assert read_record(path.with_suffix(".json"))["units"] == [0, 4]


def test_a_large_layer_has_small_cells(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepvis_caffe.results.store.LARGEST_LAYER", 90)
    _write(store, unit=8, level=200)
    store.write_montage("fc", 8, [0], {"recipe": RECIPE})
    made = cv2.imread(str(store.write_whole_layer("fc", 9, RECIPE))).astype(int)
    assert made.shape == (3 * 25, 3 * 30, 3)  # 100 x 120, shrunk to 30 wide
    assert (made[::25, ::30] == 128).sum() == 8 * 3
    assert made[-5, -5].min() > 250


def test_nothing_finished_makes_no_whole_layer(store: ResultStore) -> None:
    assert store.write_whole_layer("fc", 5, RECIPE) is None
    assert not store.folder.exists()
