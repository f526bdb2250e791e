"""One pass over images, against `forward` and numpy for each image alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, relu
from helpers.image_sets import slow_pass, slow_top, write_folder

from deepvis_caffe.dataset.compiled_sweep import compiled_sweep
from deepvis_caffe.dataset.correlation import pearson
from deepvis_caffe.dataset.layer_scan import NONE
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import Scan, ScanParams, learned_layers, merge, scan_images
from deepvis_caffe.dataset.scan_file import read_scan, write_scan
from deepvis_caffe.dataset.statistics import selectivity, unit_rows
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ResultsError, SettingsError, UnknownNameError
from deepvis_caffe.image import write_image

TEXT = net_text(
    conv("conv1", "data", 6, 5, "stride: 3 pad: 2"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"),
    conv("conv2", "pool1", 5, 3),
    layer("fc", "InnerProduct", "conv2", "", "inner_product_param { num_output: 4 }"),
    layer("prob", "Softmax", "fc"),
    data=(1, 3, 24, 32),
)
LAYERS = ("conv1", "conv2", "fc")
DECONVOLUTION = "convolution_param { num_output: 2 kernel_size: 2 stride: 2 }"
IMAGES = 23


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT, mean=(100, 110, 120))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("images"), IMAGES)


def test_only_some_types_of_layers_with_weights_have_units_of_their_own(
    engine: str, tmp_path: Path
) -> None:
    text = net_text(
        conv("conv", "data", 2),
        layer("norm", "BatchNorm", "conv"),
        layer("scale", "Scale", "norm", "", "scale_param { bias_term: true }"),
        layer("slope", "PReLU", "scale"),
        layer("up", "Deconvolution", "slope", "", DECONVOLUTION),
        layer("fc", "InnerProduct", "up", "", "inner_product_param { num_output: 4 }"),
        layer("prob", "Softmax", "fc"),
        data=(1, 3, 4, 5),
    )
    net = load_text(engine, tmp_path, text)
    assert {one.name for one in net.layers if one.weights} == {
        *("conv", "norm", "scale", "slope", "up", "fc")
    }
    assert learned_layers(net) == ("conv", "up", "fc")


def found_rows(scan: Scan, name: str) -> list[list[tuple[float, str, int]]]:
    top = scan.layers[name].top
    return [
        [
            (float(value), scan.names[image], int(position))
            for value, image, position in zip(*row, strict=True)
            if image != NONE
        ]
        for row in zip(top.value, top.image, top.position, strict=True)
    ]


def assert_same_top(scan: Scan, name: str, expected: list[list[tuple[float, str, int]]]) -> None:
    for got, wanted in zip(found_rows(scan, name), expected, strict=True):
        assert [row[1:] for row in got] == [row[1:] for row in wanted]
        np.testing.assert_allclose(
            [row[0] for row in got], [row[0] for row in wanted], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("count", "size", "threads", "together"),
    [(3, 5, 1, 32), (3, 4, 2, 1), (9, 2, 2, 5), (30, 100, 2, 1)],
)
def test_the_strongest_images_are_those_of_a_slow_loop(
    net: Net,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    size: int,
    threads: int,
    together: int,
) -> None:
    monkeypatch.setattr("deepvis_caffe.dataset.scan.ADDED_TOGETHER", together)
    source = open_source(folder)
    scan = scan_images(net, source, ScanParams(LAYERS, count), None, size, threads)
    assert scan.images == IMAGES
    for name in LAYERS:
        names, values = slow_pass(net, folder, name)
        assert_same_top(scan, name, slow_top(names, values, count))
    used = {row[1] for name in LAYERS for unit in found_rows(scan, name) for row in unit}
    assert set(scan.names) == used


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("compiled_from", [IMAGES, IMAGES + 1])
def test_statistics_are_numpys_over_all_values(
    net: Net, folder: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, compiled_from: int
) -> None:
    swept = []

    def watched() -> Callable[..., None]:
        pytest.importorskip("numba")
        sweep = compiled_sweep()
        assert sweep is not None
        return lambda *arrays: swept.append(sweep(*arrays))

    monkeypatch.setattr("deepvis_caffe.dataset.scan.compiled_sweep", watched)
    monkeypatch.setattr("deepvis_caffe.dataset.scan.COMPILED_FROM", compiled_from)
    monkeypatch.setattr("deepvis_caffe.dataset.host_reduction.WIDE", 1)
    monkeypatch.setattr("deepvis_caffe.dataset.scan.ADDED_TOGETHER", 12)
    source = open_source(folder, class_folders=True)
    scan = scan_images(net, source, ScanParams(LAYERS, 2, correlation=kept), None, 8)
    assert bool(swept) == (net.engine == "torch" and compiled_from <= IMAGES)
    for name in LAYERS:
        names, values = slow_pass(net, folder, name)
        flat = values.astype(np.float64).transpose(1, 0, 2).reshape(values.shape[1], -1)
        found, strongest = scan.layers[name], values.max(axis=2)
        np.testing.assert_allclose(found.moments.mean, flat.mean(axis=1), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.moments.deviation(), flat.std(axis=1), rtol=1e-5)
        np.testing.assert_array_equal(found.zeros, (flat == 0).sum(axis=1))
        np.testing.assert_array_equal(found.active, (strongest > 0).sum(axis=0))
        np.testing.assert_allclose(found.low, strongest.min(axis=0), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.high, strongest.max(axis=0), rtol=1e-5)
        assert (found.histogram.sum(axis=1) == IMAGES).all()
        correlation = pearson(found.moments)
        assert (correlation is not None) == kept
        if correlation is not None:
            varied = flat.std(axis=1) > 0
            np.testing.assert_allclose(
                correlation[np.ix_(varied, varied)],
                np.corrcoef(flat)[np.ix_(varied, varied)],
                atol=2e-5,
            )
        means = values.astype(np.float64).mean(axis=2)
        of_a = np.array([one.startswith("a/") for one in names])
        np.testing.assert_array_equal(found.classes.label, [0, 1])
        np.testing.assert_array_equal(found.classes.count, [of_a.sum(), (~of_a).sum()])
        expected = [means[of_a].sum(axis=0), means[~of_a].sum(axis=0)]
        np.testing.assert_allclose(found.classes.total, expected, rtol=1e-5, atol=1e-3)
    assert (scan.layers["conv1"].zeros > 0).any()


def test_selectivity_by_hand(net: Net, folder: Path) -> None:
    source = open_source(folder, class_folders=True)
    scan = scan_images(net, source, ScanParams(("conv1", "conv2")), None, 8)
    classes = scan.layers["conv1"].classes
    index, best = selectivity(classes, scan.layers["conv1"].moments.mean)
    for unit in range(6):
        a, b = classes.total[:, unit] / classes.count
        assert best[unit] == (0 if a >= b else 1)
        if a + b > 0:
            assert index[unit] == pytest.approx(abs(a - b) / (a + b))
        else:
            assert np.isnan(index[unit])
    rows = unit_rows(scan, "conv2")  # not behind a ReLU: below 0 it is not defined
    negative = (scan.layers["conv2"].classes.total < 0).any(axis=0)
    assert negative.any()
    assert [row.selectivity is None for row in rows] == negative.tolist()


def test_batches_and_threads_and_parts_make_no_difference(net: Net, folder: Path) -> None:
    source, params = open_source(folder, True), ScanParams(LAYERS, 4, correlation=True)
    whole = scan_images(net, source, params, None, 16)
    parts = [
        scan_images(net, source, params, range(a, min(a + 7, IMAGES)), 3, 2) for a in (0, 7, 14, 21)
    ]
    other = merge([Scan.empty(net, params.for_net(net)), parts[2], parts[0], parts[3], parts[1]])
    assert other.names == whole.names
    classes = [0 if name.startswith("a/") else 1 for name in whole.names]
    assert whole.labels.tolist() == other.labels.tolist() == classes
    for name in LAYERS:
        assert_same_top(other, name, found_rows(whole, name))
        ours, theirs = whole.layers[name], other.layers[name]
        np.testing.assert_array_equal(ours.zeros, theirs.zeros)
        np.testing.assert_allclose(ours.moments.mean, theirs.moments.mean, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(ours.moments.squares, theirs.moments.squares, rtol=1e-5)
        np.testing.assert_allclose(
            ours.moments.products, theirs.moments.products, rtol=1e-4, atol=1
        )


def test_damaged_images_are_left_out_and_listed(net: Net, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "some", 9)
    expected = scan_images(net, open_source(folder), ScanParams(LAYERS, 3), None, 4)
    (folder / "a" / "0005.png").write_bytes(b"no image")
    whole = (folder / "b" / "001.png").read_bytes()
    (folder / "b" / "0015.png").write_bytes(whole[: len(whole) // 2])
    scan = scan_images(net, open_source(folder), ScanParams(LAYERS, 3), None, 4)
    assert scan.images == 9
    assert [name for name, _ in scan.skipped] == ["a/0005.png", "b/0015.png"]
    assert "truncated" in scan.skipped[1][1]
    for name in LAYERS:
        assert_same_top(scan, name, found_rows(expected, name))


def test_an_image_whose_activations_are_no_numbers_is_left_out(engine: str, tmp_path: Path) -> None:
    # log(pixel - 99) is finite where the pixel is 100 or more, and NaN where it is 98 or less.
    text = net_text(
        layer("log", "Log", "data", "", "log_param { shift: -99 }"),
        conv("one", "log", 2),
        data=(1, 1, 2, 2),
    )
    net = load_text(engine, tmp_path, text, mean=0)
    for name, level in {"a": 50, "b": 120, "c": 98, "d": 200}.items():
        path = tmp_path / "images" / f"{name}.png"
        write_image(path, np.full((2, 2), level, np.uint8))
    scan = scan_images(net, open_source(tmp_path / "images"), ScanParams(("one",)), None, 4)
    assert scan.images == 2
    assert scan.skipped == (("a.png", "one is not finite"), ("c.png", "one is not finite"))
    assert scan.names == ("b.png", "d.png")
    assert np.isfinite(scan.layers["one"].moments.mean).all()


def test_a_scan_is_read_as_it_was_written(net: Net, folder: Path, tmp_path: Path) -> None:
    source = open_source(folder, class_folders=True)
    scan = scan_images(net, source, ScanParams(LAYERS, 2, correlation=True), None, 8)
    again, recipe = read_scan(write_scan(tmp_path / "x.npz", scan, {"made": "so"}))
    assert recipe == {"made": "so"}
    assert (again.names, again.images, again.skipped) == (scan.names, scan.images, scan.skipped)
    np.testing.assert_array_equal(again.labels, scan.labels)
    assert again.label(0) in (0, 1)
    for name in LAYERS:
        a, b = scan.layers[name], again.layers[name]
        assert found_rows(scan, name) == found_rows(again, name)
        assert a.shape == b.shape
        for field in ("mean", "squares", "products"):
            np.testing.assert_array_equal(getattr(a.moments, field), getattr(b.moments, field))
        for field in ("zeros", "low", "high", "active", "histogram"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        np.testing.assert_array_equal(a.classes.total, b.classes.total)


def test_a_damaged_scan_is_a_clear_error(net: Net, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="top-images"):
        read_scan(tmp_path / "none.npz")
    scan = scan_images(net, open_source(folder), ScanParams(LAYERS, 2), range(4), 8)
    path = write_scan(tmp_path / "x.npz", scan, {})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ResultsError, match="cannot be read as a scan"):
        read_scan(path)
    np.savez(path.open("wb"), header=np.zeros(3, object))
    with pytest.raises(ResultsError, match="cannot be read as a scan"):
        read_scan(path)


def test_layers_are_those_with_weights_or_those_named(net: Net) -> None:
    assert ScanParams().for_net(net).layers == LAYERS
    assert ScanParams(("pool1", "prob")).for_net(net).layers == ("pool1", "prob")
    with pytest.raises(UnknownNameError, match="did you mean"):
        ScanParams(("conv",)).for_net(net)
    with pytest.raises(SettingsError, match="at least 1"):
        ScanParams(count=0)
