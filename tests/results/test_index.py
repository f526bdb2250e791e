"""Reading a results folder, against folders and answers written out by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.results_folder import PNG, add_pictures, add_run, record

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.results.index import (
    LayerResults,
    Optimized,
    Recipe,
    Run,
    UnitResults,
    read_results,
)
from deepvis_caffe.results.records import MOST_POINTS, best_of, plain_value

TWO_KINDS = {"best_X": "png", "best_Xpm": "png"}


def test_our_own_results(tmp_path: Path) -> None:
    about = record("fire4/expand3x3", 12, 0, label="tabby, tabby cat")
    add_run(tmp_path, "fire4_expand3x3", about)
    add_run(tmp_path, "fire4_expand3x3", record("fire4/expand3x3", 12, 10))
    add_run(tmp_path, "fire4_expand3x3", record("fire4/expand3x3", 3, 0))
    stem = "regularized_opt/fire4_expand3x3/"
    add_pictures(tmp_path, f"{stem}fire4_expand3x3_0012_montage.jpg", f"{stem}whole_layer.jpg")
    (tmp_path / stem / "whole_layer.json").write_text('{"count": 128}')
    seen = []
    results = read_results(tmp_path, lambda done, total: seen.append((done, total)))
    (layer,) = results.layers
    assert (layer.name, layer.folder) == ("fire4/expand3x3", "fire4_expand3x3")
    assert (layer.count, layer.model) == (128, "Small")
    (recipe,) = layer.recipes
    assert (recipe.within, recipe.whole_layer) == ("", True)
    three, twelve = layer.units
    assert (three.unit, three.label, three.pictures) == (3, None, frozenset())
    assert (twelve.unit, twelve.label) == (12, "tabby, tabby cat")
    assert (twelve.pictures, twelve.optimized[0].montage) == (frozenset(), True)
    assert [(run.seed, run.pictures) for run in twelve.runs] == [(0, TWO_KINDS), (10, TWO_KINDS)]
    run = twelve.runs[0]
    assert (run.length, run.every) == (4, 1)
    assert run.record.activations == [0.5, -2.5, 7.5, 5.0]
    assert run.record.receptive_field_in_picture == (2, 1, 6, 7)
    assert run.record.facts() == (
        ("preset", "3"),
        ("decay", "0.0001"),
        ("blur width", "1"),
        ("blur every", "4"),
        ("rate", "GrayLevels (levels 4)"),
        ("iterations", "4"),
        ("start", "noise"),
        ("push", "up"),
        ("position", "center"),
        ("net", "Small"),
        ("prototxt", "a.prototxt"),
        ("weights", "a.caffemodel"),
        ("engine", "torch"),
        ("deepvis_caffe", "0.1.0"),
    )
    assert results.skipped == ()
    assert seen[-1] == (12, 12)


def test_what_applies_to_hidden_units_is_reported() -> None:
    assert plain_value({"decay": 0.014, "decay_end": 0.0}) == "decay 0.014, decay_end 0"


def test_what_the_toolbox_left(tmp_path: Path) -> None:
    add_pictures(
        tmp_path,
        "regularized_opt/conv1/conv1_0000_montage.jpg",
        "regularized_opt/conv1/conv1_0000_4_best_Xpm.jpg",
        "regularized_opt/conv1/conv1_0000_4_info.txt",
        "max_im/conv1/conv1_0000.jpg",
        "max_im/conv1/conv1_0001.jpg",
        "max_im/conv1/other_0002.jpg",
        "max_im/conv1/conv1_0003.gif",
        "max_deconv/conv1/conv1_0001.jpg",
        "max_deconv/conv_1/conv_1_0007.jpg",
    )
    assert read_results(tmp_path).layers == (
        LayerResults(
            "conv1",
            "conv1",
            None,
            (Recipe("toolbox"),),
            None,
            (
                UnitResults(
                    0,
                    None,
                    (Optimized("toolbox", (Run(4, {"best_Xpm": "jpg"}),), montage=True),),
                    frozenset({"max_im"}),
                ),
                UnitResults(1, None, (), frozenset({"max_im", "max_deconv"})),
            ),
        ),
        LayerResults(
            "conv_1",
            "conv_1",
            None,
            (),
            None,
            (UnitResults(7, None, (), frozenset({"max_deconv"})),),
        ),
    )


def test_recipes_side_by_side(tmp_path: Path) -> None:
    add_run(tmp_path, "fc", record("fc", 0, 0))
    add_run(tmp_path, "fc", record("fc", 1, 0))
    stem = "regularized_opt/fc"
    add_pictures(
        tmp_path,
        f"{stem}/preset2/fc_0000_montage.jpg",
        f"{stem}/preset2/fc_0002_7_best_X.png",
        f"{stem}/best/fc_0000_4_best_X.png",
        f"{stem}/best/whole_layer.jpg",
        f"{stem}/empty/notes.txt",
        "max_im/fc/fc_0000.jpg",
    )
    os.utime(write_mark(tmp_path / stem / "preset2"), (2, 2))  # the first was begun before
    (layer,) = read_results(tmp_path).layers
    names = [recipe.name for recipe in layer.recipes]
    assert names[:2] == ["best", "preset2"]
    assert [one.within for one in layer.recipes] == ["best", "preset2", ""]
    assert [one.whole_layer for one in layer.recipes] == [True, False, False]
    made = [[(one.recipe, len(one.runs)) for one in unit.optimized] for unit in layer.units]
    assert made == [
        [("best", 1), ("preset2", 0), (names[2], 1)],
        [(names[2], 1)],
        [("preset2", 1)],
    ]
    assert [unit.pictures for unit in layer.units] == [{"max_im"}, frozenset(), frozenset()]


def write_mark(folder: Path) -> Path:
    path = folder / "recipe.json"
    path.write_text('{"recipes": [{"params": {}}]}')
    return path


def test_top_images_join_the_layer_of_the_records(tmp_path: Path) -> None:
    add_run(tmp_path, "fire4_concat", record("fire4/concat", 1, 0))
    add_pictures(
        tmp_path, "max_im/fire4_concat/fire4_concat_0001.jpg", "max_im/pool1/pool1_0002.jpg"
    )
    (tmp_path / "max_im/pool1/pool1_0002.json").write_text(
        '{"layer": "pool1", "unit": 2, "label": "owl", "images": []}'
    )
    first, second = read_results(tmp_path).layers
    assert (first.name, first.units[0].pictures) == ("fire4/concat", {"max_im"})
    assert len(first.units[0].runs) == 1
    assert (second.name, second.units[0].label) == ("pool1", "owl")


def test_two_layers_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    add_run(tmp_path, "a_b", record("a/b", 0, 0))
    path = add_run(tmp_path, "a_b", record("a_b", 1, 0))
    add_pictures(tmp_path, "max_im/a_b/a_b_0000.jpg")
    (tmp_path / "max_im/a_b/a_b_0000.json").write_text('{"layer": "a_b", "unit": 0}')
    results = read_results(tmp_path)
    assert [layer.name for layer in results.layers] == ["a/b"]
    assert [unit.pictures for unit in results.layers[0].units] == [frozenset(), frozenset()]
    assert results.skipped == (
        f"{path}: it belongs to layer 'a_b'",
        f"{tmp_path}/max_im/a_b: it belongs to layer 'a_b', others to 'a/b'",
    )


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("conv10", "conv2", "fc8", "conv2_b"):
        add_pictures(tmp_path, f"max_im/{name}/{name}_0000.jpg")
    names = [layer.name for layer in read_results(tmp_path).layers]
    assert names == ["conv2", "conv2_b", "conv10", "fc8"]


DAMAGED = {
    "cut off": '{"layer": "fc",',
    "not an object": "[]",
    "empty": "",
    "not text": b"\xff\xfe\x00",
    "deep": "[" * 100_000,
    "another unit": record("fc", 8, 0),
    "another seed": record("fc", 7, 1),
    "another layer": record("conv", 7, 0),
    "no objective": {k: v for k, v in record("fc", 7, 0).items() if k != "objective"},
    "words": record("fc", 7, 0, objective=["high"]),
    "not finite": json.dumps(record("fc", 7, 0, best_value=float("nan"))),
    "a broken window": record("fc", 7, 0, window=[1, 2]),
    "a number for a label": record("fc", 7, 0, label=5),
    "half a character": json.dumps(record("fc", 7, 0, label="?")).replace("?", r"\ud800"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_left_out_and_its_pictures_stay(
    tmp_path: Path, content: object
) -> None:
    path = add_run(tmp_path, "fc", record("fc", 7, 0))
    add_run(tmp_path, "fc", record("fc", 7, 2))
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    results = read_results(tmp_path)
    damaged, whole = results.layers[0].units[0].runs
    assert (damaged.pictures, damaged.record) == (TWO_KINDS, None)
    assert whole.record.seed == 2
    (said,) = results.skipped
    assert said.startswith(f"{path}: ")


def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    path = add_run(tmp_path, "fc", record("fc", 7, 0))
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    results = read_results(tmp_path)
    assert results.skipped == (f"{path}: No such file or directory",)
    assert results.layers[0].units[0].runs[0].record is None


def test_a_record_whose_pictures_are_gone(tmp_path: Path) -> None:
    path = add_run(tmp_path, "fc", record("fc", 7, 0))
    for picture in path.parent.glob("*.png"):
        picture.unlink()
    with pytest.raises(ResultsError, match=r"holds no results.*fc unit 7, seed 0: its pictures"):
        read_results(tmp_path)
    add_run(tmp_path, "fc", record("fc", 1, 0))
    results = read_results(tmp_path)
    assert [unit.unit for unit in results.layers[0].units] == [1]
    assert results.skipped == ("fc unit 7, seed 0: its pictures are missing",)


def test_names_that_are_not_text(tmp_path: Path) -> None:
    add_pictures(tmp_path, "max_im/conv1/conv1_0000.jpg")
    bad = os.fsencode(tmp_path / "max_im") + b"/conv\xff"
    os.mkdir(bad)  # noqa: PTH102
    Path(os.fsdecode(bad), os.fsdecode(b"conv\xff_0000.jpg")).write_bytes(PNG)
    results = read_results(tmp_path)
    assert [layer.name for layer in results.layers] == ["conv1"]
    assert len(results.skipped) == 1
    assert "its name is not UTF-8" in results.skipped[0]
    results.skipped[0].encode()


def test_folders_without_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"nowhere: there is no such folder"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"file: is not a folder"):
        read_results(tmp_path / "file")
    with pytest.raises(ResultsError, match=r"holds no results: expected .*_0000_montage\.jpg"):
        read_results(tmp_path)
    add_pictures(tmp_path, "out/max_im/conv1/conv1_0000.jpg")
    for inside in ("out/max_im", "out/max_im/conv1"):
        with pytest.raises(ResultsError, match=rf"did you mean {tmp_path}/out\?"):
            read_results(tmp_path / inside)


def test_a_history_is_cut_to_the_best_of_each_so_many_steps(tmp_path: Path) -> None:
    assert best_of([1.0, 3.0, 2.0, None, None, None, -5.0], 3) == [3.0, None, -5.0]
    assert best_of([1.0, 3.0, None, 2.0, None, None], 2, -1) == [1.0, 2.0, None]
    values = [float(step % 4) for step in range(4 * MOST_POINTS)]  # as if blurred every 4 steps
    add_run(tmp_path, "fc", record("fc", 0, 0, objective=values))
    run = read_results(tmp_path).layers[0].units[0].runs[0]
    assert (run.every, run.length) == (4, 4 * MOST_POINTS)
    assert run.record.activations == [3.0] * MOST_POINTS
