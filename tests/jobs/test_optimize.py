"""From net to files: the pictures are the optimizer's, and interruptions lose no finished work."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model
from helpers.engine_nets import conv, load_text, net_text
from helpers.jobs import make_layer
from helpers.results_folder import contents

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import ImageError, ResultsError, SettingsError
from deepvis_caffe.figures.montage import vivid
from deepvis_caffe.image import read_image
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, check_layers
from deepvis_caffe.optimizer import AscentParams, ascent_params, optimize
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.results.store import ResultStore

PARAMS = ascent_params(preset=3, iterations=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    small_model.write_model(path)
    return path


@pytest.fixture
def net(folder: Path, engine: str) -> Net:
    return _load(folder, engine)


@pytest.fixture(scope="module")
def torch_net(folder: Path) -> Net:
    return _load(folder, "torch")


def _load(folder: Path, engine: str, **more: object) -> Net:
    files = folder / "small.prototxt", folder / "small.caffemodel"
    own = {"mean": small_model.MEAN, "labels": small_model.LABELS}
    return load_net(*files, engine=engine, **{**own, **more})


def _files(store: ResultStore) -> dict[str, bytes]:
    return contents(store.folder)


def _read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_pictures_are_the_optimizers_x_with_and_without_mean(net: Net, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    make_layer(net, store, "fc", [2, 0], [5, 6], PARAMS, batch_size=3)
    for run in optimize(net, "fc", [0, 2], [5, 6], preset=3, iterations=6, rate="auto"):
        rgb = run.image[::-1].transpose(1, 2, 0).astype(float)  # the net is BGR
        mean = np.array(small_model.MEAN[::-1])
        plus_mean = _read(store.picture("fc", run.unit, run.seed, "best_Xpm"))
        np.testing.assert_allclose(plus_mean, np.clip(rgb + mean, 0, 255), atol=0.6)
        symmetric = _read(store.picture("fc", run.unit, run.seed, "best_X"))
        np.testing.assert_allclose(symmetric, 127.5 + 127.5 * rgb / abs(rgb).max(), atol=0.6)
        record = json.loads(store.record("fc", run.unit, run.seed).read_text())
        np.testing.assert_allclose(record["objective"], run.activations, rtol=1e-5)
        assert record["best_iteration"] == run.best_iteration == int(np.argmax(run.activations))
        assert record["label"] == small_model.LABELS[run.unit]
        assert record["engine"] == net.engine
        assert record["params"]["blur_width"] == 1.0  # preset 3, Table 1


def test_the_summary_of_each_unit(torch_net: Net, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    made = make_layer(torch_net, store, "fc", [3, 1], [0, 1], PARAMS)
    runs = optimize(torch_net, "fc", [3, 1], [0, 1], preset=PARAMS)
    assert [unit.unit for unit in made] == [3, 1]
    assert [unit.label for unit in made] == ["dog", "bee, honey bee"]
    assert [unit.new for unit in made] == [2, 2]
    for unit, (first, second) in zip(made, (runs[:2], runs[2:]), strict=True):
        assert unit.value == pytest.approx(max(first.best_value, second.best_value))
        assert unit.met_top == sum(run.met_top is not None for run in (first, second))
    down = make_layer(
        torch_net, ResultStore(tmp_path / "down"), "fc", [3], [0], PARAMS.but(push=-1)
    )
    assert down[0].value < made[0].value


def test_a_convolution_units_montage_is_its_receptive_field(torch_net: Net, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    make_layer(torch_net, store, "conv/1", [1], [0], PARAMS, position=(2, 3))
    # kernel 3, stride 2, no padding: position (2, 3) sees rows 4 to 6 and columns 6 to 8
    assert json.loads(store.montage("conv/1", 1).with_suffix(".json").read_text())["sees"] == [
        *(4, 6, 7, 9)
    ]
    assert json.loads(store.record("conv/1", 1, 0).read_text())["window"] == [4, 6, 7, 9]
    seen = _read(store.picture("conv/1", 1, 0, "best_X")) - 127.5
    assert seen.shape == (3, 3, 3)
    stretched = np.clip(127.5 + 127.5 * seen / np.percentile(abs(seen), 99.5), 0, 255)
    cell = store.cell("conv/1", 1, 0)
    assert cell.shape == (96, 96, 3)
    np.testing.assert_allclose(cell[0, 0], stretched[0, 0], atol=0.6)
    np.testing.assert_allclose(cell[-1, -1], stretched[-1, -1], atol=0.6)


def test_the_same_call_runs_nothing_again(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path)
    make_layer(torch_net, store, "fc", [0, 1], [0], PARAMS)
    before = _files(store)
    times = {p: p.stat().st_mtime_ns for p in store.folder.rglob("*_best_*")}
    monkeypatch.setattr(type(torch_net), "evaluate", None)
    made = make_layer(torch_net, store, "fc", [0, 1], [0], PARAMS)
    assert _files(store) == before
    assert {p: p.stat().st_mtime_ns for p in store.folder.rglob("*_best_*")} == times
    assert [unit.new for unit in made] == [0, 0]


def test_a_montage_that_is_missing_is_made_without_a_run(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path)
    make_layer(torch_net, store, "fc", [0], [0, 1, 2], PARAMS)
    before = store.montage("fc", 0).read_bytes()
    store.montage("fc", 0).unlink()
    monkeypatch.setattr(type(torch_net), "evaluate", None)
    make_layer(torch_net, store, "fc", [0], [0, 1, 2], PARAMS)
    assert store.montage("fc", 0).read_bytes() == before
    make_layer(torch_net, store, "fc", [0], [1], PARAMS)  # fewer seeds: another montage
    assert cv2.imread(str(store.montage("fc", 0))).shape == (72 + 2, 96 + 2, 3)


@pytest.mark.slow
def test_a_montage_is_drawn_from_memory_and_reads_only_what_earlier_runs_left(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> np.ndarray:
        read.append(path.name)
        return read_image(path)

    monkeypatch.setattr("deepvis_caffe.results.store.read_image", counted)
    store = ResultStore(tmp_path)
    make_layer(torch_net, store, "fc", [0, 1], [0, 1, 2], PARAMS, batch_size=1)
    whole_layer = ["fc_0000_0_best_X.png", "fc_0001_0_best_X.png"]  # is drawn from files
    assert read == whole_layer
    before = _files(store)
    store.record("fc", 0, 1).unlink()
    store.montage("fc", 0).unlink()
    read.clear()
    make_layer(torch_net, store, "fc", [0, 1], [0, 1, 2], PARAMS, batch_size=1)
    assert sorted(read) == sorted(["fc_0000_0_best_X.png", "fc_0000_2_best_X.png", *whole_layer])
    assert _files(store) == before


def test_what_other_parameters_made_stays_beside_it(torch_net: Net, tmp_path: Path) -> None:
    both = ResultStore(tmp_path / "both")
    several = [PARAMS, PARAMS.but(decay=0.5, sign=-1), ascent_params("best", iterations=4)]
    for params in several:
        make_layer(torch_net, both, "fc", [0], [0, 1], params)
    folders = [path.parent for path in both.folder.rglob("*_montage.jpg")]
    side_by_side = [{one.name: one.read_bytes() for one in _plain(path)} for path in folders]
    for number, params in enumerate(several):
        assert make_layer(torch_net, both, "fc", [0], [0, 1], params)[0].new == 0
        alone = ResultStore(tmp_path / str(number))
        make_layer(torch_net, alone, "fc", [0], [0, 1], params)
        own = {one.name: one.read_bytes() for one in _plain(alone.layer_folder("fc"))}
        side_by_side.remove(own)
    assert not side_by_side


def _plain(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def test_what_another_net_made_is_lost_only_on_request(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path)
    make_layer(torch_net, store, "fc", [0], [0], PARAMS)
    before = _files(store)
    other = load_net(
        torch_net.model.prototxt, torch_net.model.caffemodel, engine="torch", mean=(1, 2, 3)
    )
    with monkeypatch.context() as patch:
        patch.setattr(type(other), "evaluate", None)
        for unit, name in ((0, "fc_0000_0"), (1, "whole_layer")):
            with pytest.raises(SettingsError) as caught:
                make_layer(other, store, "fc", [unit], [0], PARAMS)
            assert "regularized_opt/fc holds other results" in str(caught.value)
            assert f"{name}.json: another net or preprocessing" in str(caught.value)
    assert _files(store) == before
    make_layer(other, store, "fc", [0], [0], PARAMS, overwrite=True)
    changed = {name for name, content in _files(store).items() if content != before[name]}
    assert "regularized_opt/fc/fc_0000_0_best_Xpm.png" in changed


def test_a_conflict_in_the_last_layer_is_found_before_the_first_step(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_net(
        torch_net.model.prototxt, torch_net.model.caffemodel, engine="torch", mean=(1, 2, 3)
    )
    make_layer(other, ResultStore(tmp_path), "fc", [3], [0], PARAMS)
    job, ascents = Job(torch_net, tmp_path), Ascents(PARAMS)
    layers = [(TargetLayer.of(torch_net, name), [3]) for name in ("conv/1", "fc")]
    with pytest.raises(SettingsError, match="another net or preprocessing"):
        check_layers(job, layers, ascents)
    check_layers(replace(job, overwrite=True), layers, ascents)
    assert not (tmp_path / "regularized_opt/conv_1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 7, 20])
def test_an_interrupted_run_is_taken_up_where_it_stopped(
    torch_net: Net, tmp_path: Path, stop_after: int
) -> None:
    """Three units, three seeds, batches of one or two: 30 reports; stop within any of them."""

    def run(store: ResultStore, limit: int | None = None) -> int:
        seen: list[tuple[int, int]] = []

        def progress(done: int, total: int) -> None:
            seen.append((done, total))
            if limit is not None and len(seen) > limit:
                raise KeyboardInterrupt

        make_layer(
            torch_net, store, "fc", [0, 1, 2], [0, 1, 2], PARAMS, batch_size=2, progress=progress
        )
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1][0] == seen[-1][1]
        return seen[-1][1]

    whole, broken = ResultStore(tmp_path / "whole"), ResultStore(tmp_path / "broken")
    all_steps = run(whole)
    assert all_steps == 9 * PARAMS.iterations
    with pytest.raises(KeyboardInterrupt):
        run(broken, stop_after)
    finished = len(list(broken.folder.rglob("*_best_Xpm.png")))
    assert run(broken) == all_steps - finished * PARAMS.iterations
    assert _files(broken) == _files(whole)


@pytest.mark.slow
@pytest.mark.parametrize("full_after", [0, 1, 4, 9])
def test_a_full_disk_loses_nothing_that_was_finished(
    torch_net: Net, tmp_path: Path, full_after: int
) -> None:
    whole, broken = ResultStore(tmp_path / "whole"), ResultStore(tmp_path / "broken")

    def run(store: ResultStore) -> None:
        make_layer(torch_net, store, "fc", [0, 1], [0, 1], PARAMS, batch_size=2)

    run(whole)
    plain, written = Path.write_bytes, []

    def write_bytes(path: Path, content: bytes) -> int:
        if len(written) == full_after:
            plain(path, content[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return plain(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(ImageError, match=r"cannot write .*: No space left on device"):
            run(broken)
    kept = {path: path.read_bytes() for path in broken.folder.rglob("*.png")}
    assert len(kept) == sum(path.name.count(".png") for path in written)
    run(broken)
    assert _files(broken) == _files(whole)
    records = broken.folder.rglob("fc_000?_?.json")
    assert sum(json.loads(path.read_text())["seed"] in (0, 1) for path in records) == 4


def test_the_fingerprint_knows_net_weights_and_preprocessing(folder: Path, tmp_path: Path) -> None:
    own = _load(folder, "torch").fingerprint
    assert own == _load(folder, "torch").fingerprint
    assert own != _load(folder, "torch", mean=(1, 2, 3)).fingerprint
    assert own != _load(folder, "torch", raw_scale=1.0).fingerprint
    weights = small_model.weights()
    weights["fc"][1][2] += 1e-3
    other = load_net(folder / "small.prototxt", weights, engine="torch", mean=small_model.MEAN)
    assert own != other.fingerprint
    commented = tmp_path / "commented.prototxt"
    commented.write_text("# a comment\n" + small_model.PROTOTXT)
    same = load_net(commented, folder / "small.caffemodel", engine="torch", mean=small_model.MEAN)
    assert own == same.fingerprint


def test_parameters_of_ones_own(torch_net: Net, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    make_layer(torch_net, store, "fc", [0], [0], AscentParams(iterations=3, start="mean"))
    record = json.loads(store.record("fc", 0, 0).read_text())
    assert len(record["objective"]) == 3
    assert record["params"]["start"] == "mean"


@pytest.mark.parametrize("theirs", ["whole_layer.jpg", "fc_0002_montage.jpg"])
def test_another_programs_pictures_stay_where_they_are(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    store, plain = ResultStore(tmp_path / "out"), ResultStore(tmp_path / "plain")
    path = store.layer_folder("fc") / theirs
    path.parent.mkdir(parents=True)
    path.write_bytes(b"downloaded")
    for one in (store, plain):
        make_layer(torch_net, one, "fc", [0, 2], [0], PARAMS)
    assert path.read_bytes() == b"downloaded"
    (within,) = (one for one in path.parent.iterdir() if one.is_dir())
    made = {one.name: one.read_bytes() for one in within.iterdir()}
    assert made == {
        one.name: one.read_bytes() for one in plain.layer_folder("fc").iterdir()
    }  # all that there is without them
    # In a recipe's own folder, they stop everything before the first step.
    (within / theirs).with_suffix(".json").unlink()
    monkeypatch.setattr(type(torch_net), "evaluate", None)
    monkeypatch.setattr(type(torch_net), "input_gradient", None)
    with pytest.raises(ResultsError, match="made by another program"):
        make_layer(torch_net, store, "fc", [0, 2], [0], PARAMS)


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(type(torch_net), "evaluate", None)
    with pytest.raises(
        ResultsError, match=r"cannot write to .*regularized_opt/fc: Not a directory"
    ):
        make_layer(torch_net, ResultStore(tmp_path / "file"), "fc", [0], [0], PARAMS)


def test_a_unit_that_sees_only_padding_shows_the_whole_picture(tmp_path: Path) -> None:
    text = net_text(conv("c", "data", 2, 1, "pad: 1"), data=(1, 3, 8, 8))
    net = load_text("torch", tmp_path, text)
    store = ResultStore(tmp_path / "out")
    (made,) = make_layer(net, store, "c", [1], [0], PARAMS, position=(0, 0))
    picture = _read(store.picture("c", 1, 0, "best_X"))
    cell = store.cell("c", 1, 0)
    assert cell.shape == (96, 96, 3)
    assert picture.shape == (1, 1, 3)  # the smallest window there is, at its corner
    np.testing.assert_array_equal(cell, np.broadcast_to(vivid(picture), cell.shape))
    assert made.new == 1


def test_a_units_diverse_images_are_kept_or_made_again_together(
    torch_net: Net, tmp_path: Path
) -> None:
    # pictures depend on the seeds beside them: one that is lost brings all of its unit's again
    params = PARAMS.but(diversity=5.0)
    store, whole = ResultStore(tmp_path / "parts"), ResultStore(tmp_path / "whole")
    made = make_layer(torch_net, whole, "fc", [0, 1], [0, 1, 2], params, batch_size=99)
    make_layer(torch_net, store, "fc", [0, 1], [0, 1, 2], params, batch_size=2)
    assert _files(store) == _files(whole)
    store.record("fc", 1, 2).unlink()
    again = make_layer(torch_net, store, "fc", [0, 1], [0, 1, 2], params, batch_size=2)
    assert ([unit.new for unit in made], [unit.new for unit in again]) == ([3, 3], [0, 3])
    assert _files(store) == _files(whole)
    (fewer,) = make_layer(torch_net, store, "fc", [0], [0, 1], params)  # others: they are beside
    assert fewer.new == 2
    assert _files(whole).items() <= _files(store).items()
