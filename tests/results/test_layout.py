"""Names in a results folder: the toolbox's and those of existing results, parsed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepvis_caffe.results import layout
from deepvis_caffe.results.layout import (
    KINDS,
    TREES,
    LayerFile,
    Montage,
    RunPicture,
    RunRecordFile,
    ShardFile,
    TopCrop,
    TopMontage,
    WeightPicture,
    WholeLayer,
    parse_file,
    path_of,
)

UNITS = st.integers(0, 10**9 - 1) | st.just(10**9 - 1)
SEEDS = st.integers(0, 2**32 - 1) | st.just(2**32 - 1)  # small numbers come more often by far
OPTIMIZED_NAMES = (
    st.builds(RunPicture, UNITS, SEEDS, st.sampled_from(KINDS), st.sampled_from(["png", "jpg"]))
    | st.builds(RunRecordFile, UNITS, SEEDS)
    | st.builds(Montage, UNITS, st.sampled_from(["jpg", "json"]))
    | st.builds(WholeLayer, st.sampled_from(["jpg", "json"]))
)
TOP_NAMES = st.builds(TopMontage, UNITS, st.sampled_from(["jpg", "json"])) | st.builds(
    TopCrop, UNITS, st.integers(0, 9999)
)
NAMES = st.tuples(st.just(TREES[0]), OPTIMIZED_NAMES) | st.tuples(
    st.sampled_from([tree for tree in TREES[1:] if tree != layout.WEIGHTS]), TOP_NAMES
)
NAMES |= st.tuples(
    st.just(layout.WEIGHTS), st.builds(WeightPicture, UNITS, st.sampled_from(["png", "json"]))
)
# Layers' names that look like parts of ours, too.
LAYERS = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["whole", "whole_layer", "fc_0001", "0001", "a_0001_montage", "max_im", "fc_0001_2_best"]
)


# Each line was written out by hand: results folders on people's disks have these names.
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("regularized_opt/fire5_concat/fire5_concat_0007_2_best_X.png", RunPicture(7, 2, "best_X")),
        (
            "regularized_opt/fire5_concat/fire5_concat_12345_4294967295_best_Xpm.png",
            RunPicture(12345, 2**32 - 1, "best_Xpm"),
        ),
        ("regularized_opt/fire5_concat/fire5_concat_0007_2.json", RunRecordFile(7, 2)),
        ("regularized_opt/fire5_concat/fire5_concat_0007_montage.jpg", Montage(7)),
        ("regularized_opt/fire5_concat/fire5_concat_0007_montage.json", Montage(7, "json")),
        ("regularized_opt/fire5_concat/whole_layer.jpg", WholeLayer()),
        ("regularized_opt/fire5_concat/whole_layer.json", WholeLayer("json")),
        ("max_im/fire5_concat/fire5_concat_0007.jpg", TopMontage(7)),
        ("max_deconv/fire5_concat/fire5_concat_0007.json", TopMontage(7, "json")),
        ("max_gradient/fire5_concat/fire5_concat_0007_8.png", TopCrop(7, 8)),
        ("max_guided/fire5_concat/fire5_concat_0007_0.png", TopCrop(7, 0)),
        ("weights/fire5_concat/fire5_concat_0007.png", WeightPicture(7)),
        ("weights/fire5_concat/fire5_concat_0007.json", WeightPicture(7, "json")),
        # The toolbox writes single pictures as JPEG.
        (
            "regularized_opt/fire5_concat/fire5_concat_0007_2_best_X.jpg",
            RunPicture(7, 2, "best_X", "jpg"),
        ),
    ],
)
def test_names_of_units_files(path: str, name: LayerFile) -> None:
    tree, folder, file = path.split("/")
    assert path_of(Path("out"), tree, "fire5/concat", name) == Path("out", path)
    assert parse_file(tree, folder, file) == name


def test_names_of_everything_else() -> None:
    out, layer = Path("out"), "fire5/concat"
    assert {
        str(path.relative_to(out))
        for path in (
            layout.scan_path(out),
            layout.scan_folder(out) / layout.SCAN_RECIPE,
            layout.scan_folder(out) / str(ShardFile(12)),
            layout.statistics_table(layout.scan_folder(out), layer),
            layout.statistics_plot(layout.scan_folder(out), layer),
            layout.skipped_table(layout.scan_folder(out)),
            layout.run_folder(out, "00ff"),
            layout.sweep_figure(out, layer, 7, 2),
            layout.search_sheet(out, layer, [7, 130], 2, ".html"),
            layout.presets_figure(out, layer, 7),
            layout.layer_figure(out, layer),
            layout.sensitivity_folder(out),
            layout.demo_montage(out, layer),
            layout.demo_figure(out, layer),
            layout.demo_views(out),
            layout.viewer_folder(out),
            layout.gallery_page(out),
        )
    } == {
        "dataset/scan.npz",
        "dataset/recipe.json",
        "dataset/shard_00012.npz",
        "dataset/fire5_concat.csv",
        "dataset/fire5_concat.png",
        "dataset/skipped.csv",
        "runs/00ff",
        "sweep/fire5_concat_0007_2.png",
        "search/fire5_concat_0007_0130_2.html",
        "presets/fire5_concat_0007.png",
        "layers/fire5_concat.png",
        "sensitivity",
        "demo_fire5_concat.png",
        "demo_images_fire5_concat.png",
        "views",
        "viewer",
        "index.html",
    }


@given(LAYERS, NAMES)
def test_what_is_written_is_read_back(layer: str, named: tuple[str, LayerFile]) -> None:
    tree, name = named
    path = path_of(Path("out"), tree, layer, name)
    assert parse_file(tree, path.parent.name, path.name) == name


@given(st.integers(0, 10**7))
def test_a_shard_is_read_back(number: int) -> None:
    assert ShardFile.parse(str(ShardFile(number))) == ShardFile(number)


@given(st.from_regex(r"\A[0-9]{3,10}(_[0-9]{0,5})?(_montage|_best_X|_best_Xpm)?\.(png|jpg|json)\Z"))
def test_what_is_read_is_written_the_same(text: str) -> None:
    for tree in TREES[:2]:
        name = parse_file(tree, "fc", f"fc_{text}")
        if name is not None:
            # leading zeros are all that a name does not keep
            numbers = [int(one) for one in re.findall(r"\d+", text)]
            written = path_of(Path(), tree, "fc", name).name.removeprefix("fc_")
            assert [int(one) for one in re.findall(r"\d+", written)] == numbers
            assert re.sub(r"\d+", "", written) == re.sub(r"\d+", "", text)


@pytest.mark.parametrize(
    ("tree", "file"),
    [
        ("regularized_opt", "fc_0+2+3_0.json"),  # a sum of units
        ("regularized_opt", "fc_glasses-1f0a73bc_montage.jpg"),  # a direction
        ("regularized_opt", "fc_layer_0_best_X.png"),
        ("regularized_opt", "fc_0001.jpg"),  # of another tree
        ("max_im", "fc_0001_montage.jpg"),
        ("max_im", "whole_layer.jpg"),
        ("max_im", "0001.jpg"),
        ("regularized_opt", "conv_0001_montage.jpg"),  # of another layer
        ("regularized_opt", "fc_001_montage.jpg"),
        ("regularized_opt", "fc_0001_montage.jpg.part"),
        ("regularized_opt", ".fc_0001_montage.jpg"),
        ("regularized_opt", "fc_٠٠٠١_montage.jpg"),
    ],
)
def test_other_names_are_not_taken_for_a_units(tree: str, file: str) -> None:
    assert parse_file(tree, "fc", file) is None


def test_no_layer_has_the_folder_above_its_own() -> None:
    for name in ("", ".", "..", "/", "../.."):
        folder = layout.layer_folder(Path("r"), layout.OPTIMIZED, name)
        assert folder.parent == Path("r") / layout.OPTIMIZED
    assert layout.folders_apart({"": 1, "_": 2}) == {"": layout.name_apart("")}


def test_the_longest_names_fit_into_a_folder() -> None:
    unit = "+".join(map(str, range(100, 125)))  # as long as the name of a sum may be
    name = layout.RunPicture(unit + "9" * (100 - len(unit)), 2**31, "best_Xpm")
    path = layout.path_of(Path(), layout.OPTIMIZED, "layer" * 900, name)
    partial = f".{path.name}.{'0' * 8}.part"
    assert len(partial.encode()) <= 255  # of a file's name on Linux, Windows and macOS
