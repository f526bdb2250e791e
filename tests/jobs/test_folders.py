"""Two layers whose names give the same folder: their results are kept apart, and found again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import deepvis
from helpers.engine_nets import conv, load_text, net_text
from helpers.image_sets import write_folder
from helpers.jobs import make_layer
from helpers.results_folder import add_run, record

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import read_image
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.scan import run_scan, scan_recipe
from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.optimizer import ascent_params, optimize
from deepvis_caffe.results.index import read_results
from deepvis_caffe.results.layer_files import LayerFolder
from deepvis_caffe.results.layout import net_folders
from deepvis_caffe.results.store import ResultStore
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.sources.source import Pushed

PARAMS = ascent_params(preset=3, iterations=2)
LAYERS = ("conv/1", "conv_1", "卷积", "池化")
TEXT = net_text(
    conv("conv/1", "data", 2, 3),
    conv("conv_1", "conv/1", 2, 3),
    conv("卷积", "conv_1", 2),
    conv("池化", "卷积", 2),
    data=(1, 3, 12, 12),
)


def digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


FOLDERS = {
    "conv/1": f"conv_1-{digest('conv/1')}",
    "conv_1": "conv_1",
    "卷积": f"__-{digest('卷积')}",
    "池化": f"__-{digest('池化')}",
}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    return load_text("torch", tmp_path_factory.mktemp("net"), TEXT)


@pytest.fixture(scope="module")
def results(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one optimized image of unit 1 of every layer."""
    folder = tmp_path_factory.mktemp("results")
    for layer in LAYERS:
        make_layer(net, ResultStore(folder), layer, [1], [0], PARAMS)
    return folder


def test_every_layer_has_its_own_pictures(net: Net, results: Path) -> None:
    for layer, folder in FOLDERS.items():
        (run,) = optimize(net, layer, [1], [0], preset=PARAMS)
        found = read_image(results / "regularized_opt" / folder / f"{folder}_0001_0_best_X.png")
        np.testing.assert_array_equal(found, run.symmetric_picture())


def test_the_same_command_again_finds_them(
    net: Net, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(net), "evaluate", None)  # nothing may run
    for layer in LAYERS:
        (unit,) = make_layer(net, ResultStore(results), layer, [1], [0], PARAMS)
        assert unit.new == 0


def test_the_viewer_the_page_and_the_figure_find_them(
    net: Net, results: Path, tmp_path: Path
) -> None:
    found = read_results(results)
    assert {layer.name: layer.folder for layer in found.layers} == FOLDERS
    assert found.skipped == ()
    library = Parts(net, [Pushed("none")], results).library
    for layer, folder in FOLDERS.items():
        files = LayerFolder(results, (layer, layer), library.folders).files()
        assert files.units[1].runs[0]["best_X"].parent.name == folder
        out = tmp_path / f"{folder}.png"
        deepvis("layer-figure", layer, "--results", str(results), "-o", str(out))
        assert out.is_file()


def test_top_images_are_kept_apart(net: Net, tmp_path: Path) -> None:
    source = open_source(write_folder(tmp_path / "images", 3))
    job = Job(net, tmp_path / "out")
    params = ScanParams(LAYERS[:2], 1).for_net(net)
    scan = run_scan(job, source, params)
    for layer in LAYERS[:2]:
        scanned = ScannedImages(source, scan, scan_recipe(job, source, params))
        unit = int(np.argmax(scan.layers[layer].top.value[:, 0]))
        (made,) = make_top_pictures(job, scanned, {layer: [unit]})[layer]
        assert made.montage is not None
        assert made.montage.parent.name == FOLDERS[layer]
        about = json.loads(made.montage.with_suffix(".json").read_text())
        assert about["layer"] == layer
        assert about["images"][0]["value"] == pytest.approx(scan.layers[layer].top.value.max())


def test_figures_are_kept_apart(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(TEXT, encoding="utf-8")
    layers = {name: ("Convolution", blobs) for name, blobs in net.model.weights.items()}
    write_caffemodel(Path("net.caffemodel"), "net", layers)
    files = ("--prototxt", "net.prototxt", "--weights", "net.caffemodel", "--engine", "torch")
    for layer in LAYERS[:2]:
        given = (layer, "--units", "1", "--trials", "1", "--iterations", "1")
        said = deepvis("search", *given, *files, "--results", "out").output
        keep = ("--keep", "0", "--name", FOLDERS[layer])
        deepvis("search", *given, "--results", "out", *keep)
        assert str(Path("out/search", f"{FOLDERS[layer]}_0001_0.html")) in said
    kept = {path.name for path in Path("out/search").iterdir()}
    assert len(kept) == 6


def test_names_that_are_not_alike_keep_their_folders(tmp_path: Path) -> None:
    text = net_text(conv("a/b", "data", 1), conv("c:d", "a/b", 1), data=(1, 1, 4, 4))
    assert net_folders(load_text("torch", tmp_path, text).model.graph) == {}


def test_a_layer_and_its_own_blob_share_a_folder(tmp_path: Path) -> None:
    text = net_text(
        'layer { name: "conv/1" type: "ReLU" bottom: "data" top: "conv_1" }', data=(1, 1, 4, 4)
    )
    assert net_folders(load_text("torch", tmp_path, text).model.graph) == {}


def test_the_value_below_an_in_place_layer_belongs_to_no_other_layer(tmp_path: Path) -> None:
    text = net_text(
        conv("c", "data", 1),
        'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }',
        conv("c_raw", "c", 1),
        data=(1, 1, 4, 4),
    )
    folders = net_folders(load_text("torch", tmp_path, text).model.graph)
    assert folders == {"c:raw": f"c_raw-{digest('c:raw')}"}


def test_a_long_name_is_a_folder_that_any_disk_can_hold(tmp_path: Path) -> None:
    name = "block/" * 60
    text = net_text(conv(name, "data", 1), conv(f"{name}x", name, 1), data=(1, 1, 4, 4))
    net = load_text("torch", tmp_path, text)
    for layer in (name, f"{name}x"):
        make_layer(net, ResultStore(tmp_path / "out"), layer, [0], [0], PARAMS)
    assert {layer.name for layer in read_results(tmp_path / "out").layers} == {name, f"{name}x"}


def test_what_a_layer_had_before_another_claimed_its_folder_is_named(tmp_path: Path) -> None:
    add_run(tmp_path, "conv_1", record("conv/1", 1, 0))
    add_run(tmp_path, FOLDERS["conv/1"], record("conv/1", 2, 0))
    (layer,) = (found := read_results(tmp_path)).layers
    assert (layer.folder, [unit.unit for unit in layer.units]) == (FOLDERS["conv/1"], [2])
    (said,) = found.skipped
    assert said.startswith("conv_1: ")
    assert FOLDERS["conv/1"] in said
