"""Images made while the viewer runs: those of `optimize`, in the files of `deepvis optimize`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import small_model
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu
from helpers.jobs import make_layer
from helpers.waiting import LONG, eventually

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.model.same_units import same_units
from deepvis_caffe.optimizer import AscentParams, ascent_params, optimize
from deepvis_caffe.results.store import ResultStore
from deepvis_caffe.viewer.compute import synthesis as synthesis_module
from deepvis_caffe.viewer.compute.synthesis import (
    NOT_FINITE,
    SILENT,
    WAITING,
    Synthesis,
    SynthesisParams,
)
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.state.catalogue import Entry, catalogue

PARAMS = ascent_params(preset=3, iterations=6)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return small(tmp_path, engine)


@pytest.fixture
def torch_net(tmp_path: Path) -> Net:
    return small(tmp_path, "torch")


def small(folder: Path, engine: str) -> Net:
    small_model.write_model(folder)
    files = folder / "small.prototxt", folder / "small.caffemodel"
    return load_net(*files, engine=engine, mean=small_model.MEAN)


def entry_of(net: Net, name: str) -> Entry:
    return next(entry for entry in catalogue(net) if entry.name == name)


def never() -> bool:
    return False


class Viewer:
    """A library and a synthesis, and what a worker would do with them."""

    def __init__(
        self, net: Net, folder: Path, params: AscentParams = PARAMS, seeds: int = 2
    ) -> None:
        self.net, self.store = net, ResultStore(folder)
        self.library = Library(folder)
        how = SynthesisParams(params, seeds)
        self.synthesis = Synthesis(net, self.library, how)

    def run(self, name: str, unit: int, between: Callable[[], bool] = never) -> int:
        """Work until there is nothing to do; how often there was."""
        self.synthesis.request(entry_of(self.net, name), unit)
        calls = 0
        while self.synthesis(between):
            calls += 1
            assert calls < 50
        return calls

    def shown(self, name: str, unit: int) -> Any:
        return self.library.unit(entry_of(self.net, name), unit)


def files(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


# -- the same images as `deepvis optimize` ---------------------------------------------------------


@pytest.mark.parametrize("name", ["conv/1", "fc"])
def test_images_made_between_frames_are_those_of_a_plain_run(
    net: Net, tmp_path: Path, name: str
) -> None:
    viewer = Viewer(net, tmp_path / "live")

    def frame() -> bool:
        net.forward(noise(1, *small_model.INPUT, seed=7) * 50, blobs=["prob"])
        net.backward("fc", noise(1, 4), mode="deconv")
        return False

    viewer.run(name, 3, frame)
    plain = ResultStore(tmp_path / "plain")
    make_layer(net, plain, name, [3], [0, 1], PARAMS, batch_size=1)
    expected = {k: v for k, v in files(plain.folder).items() if "whole_layer" not in k}
    made = {
        name: content.replace(b',\n "in_passing": true', b"")
        for name, content in files(tmp_path / "live").items()
    }
    assert made == expected  # pictures, records and montage, to the last bit
    for run, shown in zip(
        optimize(net, name, [3], [0, 1], PARAMS), viewer.shown(name, 3).optimized, strict=True
    ):
        assert run.stop == "finished"
        np.testing.assert_array_equal(shown, plain.cell(name, 3, run.seed))


def test_the_command_finds_them_made(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    viewer.run("fc", 1)
    monkeypatch.setattr(type(torch_net), "evaluate", None)
    store = ResultStore(tmp_path / "out")
    (made,) = make_layer(torch_net, store, "fc", [1], [0, 1], PARAMS)
    assert made.new == 0
    assert Viewer(torch_net, tmp_path / "out").run("fc", 1) == 1  # to see that nothing is missing


def test_what_the_command_began_is_continued(torch_net: Net, tmp_path: Path) -> None:
    viewer = Viewer(torch_net, tmp_path / "out", seeds=3)
    make_layer(torch_net, viewer.store, "fc", [2], [1], PARAMS)
    before = viewer.store.picture("fc", 2, 1).stat().st_mtime_ns
    (tmp_path / "out/regularized_opt/fc/whole_layer.jpg").unlink()
    assert viewer.run("fc", 2) == 3  # a look, and two images
    assert viewer.store.picture("fc", 2, 1).stat().st_mtime_ns == before
    assert viewer.store.runs("fc") == {2: [0, 1, 2]}
    assert json.loads(viewer.store.montage("fc", 2).with_suffix(".json").read_text())["seeds"] == [
        *range(3)
    ]


def test_a_montage_that_is_missing_is_made_without_a_run(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    viewer.run("fc", 2)
    montage = viewer.store.montage("fc", 2).read_bytes()
    viewer.store.montage("fc", 2).unlink()
    monkeypatch.setattr(type(torch_net), "evaluate", None)
    Viewer(torch_net, tmp_path / "out").run("fc", 2)
    assert viewer.store.montage("fc", 2).read_bytes() == montage


def test_diverse_images_are_made_together(torch_net: Net, tmp_path: Path) -> None:
    params = PARAMS.but(diversity=3.0)
    viewer = Viewer(torch_net, tmp_path / "out", params, seeds=3)
    assert viewer.run("fc", 2) == 2
    runs = optimize(torch_net, "fc", [2], range(3), params)
    for run in runs:
        written = cv2.imread(str(viewer.store.picture("fc", 2, run.seed)))[..., ::-1]
        np.testing.assert_array_equal(written, run.picture())
    store = ResultStore(tmp_path / "out")
    assert make_layer(torch_net, store, "fc", [2], [0, 1, 2], params)[0].new == 0


# -- what is shown meanwhile, and when it ends -----------------------------------------------------


def test_an_image_is_shown_as_it_sharpens(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis_module, "SHOW_EVERY", 0.0)
    viewer = Viewer(torch_net, tmp_path / "out", seeds=1)
    viewer.synthesis.request(entry_of(torch_net, "fc"), 0)
    assert viewer.shown("fc", 0).note == WAITING
    seen: list[tuple[Any, float, str]] = []

    def look() -> bool:
        one = viewer.shown("fc", 0)
        seen.append((one.working, one.progress, one.note))
        return False

    viewer.run("fc", 0, look)
    assert seen[0][0] is None  # the start is noise
    assert [round(progress, 2) for _, progress, _ in seen] == [0, 0.33, 0.5, 0.67, 0.83, 1]
    assert {note for _, _, note in seen} == {""}
    last = viewer.shown("fc", 0)
    assert (last.working, last.progress, last.note) == (None, 0, "")
    (run,) = optimize(torch_net, "fc", 0, 1, PARAMS)
    assert run.best_iteration is not None
    np.testing.assert_array_equal(seen[run.best_iteration][0], last.optimized[0])


def test_it_stops_as_soon_as_another_unit_is_wanted(torch_net: Net, tmp_path: Path) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    fc, steps = entry_of(torch_net, "fc"), []

    def moves_on() -> bool:
        steps.append(0)
        if len(steps) == 2:
            viewer.synthesis.request(fc, 3)
        return False

    viewer.synthesis.request(fc, 0)
    assert viewer.synthesis(moves_on)  # looks
    assert viewer.synthesis(moves_on)
    assert len(steps) == 2
    assert files(tmp_path / "out") == {}
    assert viewer.shown("fc", 0).working is None
    while viewer.synthesis(never):
        pass
    assert viewer.store.runs("fc") == {3: [0, 1]}
    viewer.synthesis.request(None)
    assert not viewer.synthesis(never)
    viewer.run("fc", 0)  # whoever comes back gets it
    assert viewer.store.runs("fc") == {0: [0, 1], 3: [0, 1]}


def test_it_stops_where_the_worker_says_so(torch_net: Net, tmp_path: Path) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    viewer.synthesis.request(entry_of(torch_net, "fc"), 0)
    assert viewer.synthesis(lambda: True)
    assert viewer.synthesis(lambda: True)
    assert files(tmp_path / "out") == {}
    assert viewer.shown("fc", 0).note == ""


def test_the_workers_own_errors_pass_through(torch_net: Net, tmp_path: Path) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        viewer.run("fc", 0, lambda: 1 / 0)
    assert viewer.shown("fc", 0).note == ""
    viewer.run("fc", 0)
    assert len(viewer.shown("fc", 0).optimized) == 2


# -- what others made ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whose", ["another recipe", "another net", "the toolbox", "a single picture", "the blob's name"]
)
def test_what_others_made_is_left_alone(torch_net: Net, tmp_path: Path, whose: str) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    folder = tmp_path / "out/regularized_opt/fc"
    if whose == "another recipe":
        make_layer(torch_net, viewer.store, "fc", [1], [0], PARAMS.but(decay=0.5))
    elif whose == "another net":
        other = load_net(
            torch_net.model.prototxt, torch_net.model.caffemodel, engine="torch", mean=(1, 2, 3)
        )
        make_layer(other, viewer.store, "fc", [1], [0], PARAMS)
    else:
        stem = {"the toolbox": "fc_0001_montage.jpg", "a single picture": "fc_0001_0_best_X.jpg"}
        if whose == "the blob's name":
            folder = folder.with_name("alias")
        folder.mkdir(parents=True)
        name = stem.get(whose, "alias_0001_montage.jpg")
        cv2.imwrite(str(folder / name), np.full((9, 9, 3), 50, np.uint8))
    before = files(tmp_path / "out")
    fc = entry_of(torch_net, "fc")
    named = Entry("alias", fc.layer, fc.type, fc.shape, fc.units, fc.map_size)
    viewer.synthesis.request(named, 1)
    assert viewer.synthesis(never)
    assert not viewer.synthesis(never)
    assert files(tmp_path / "out") == before


def test_beside_a_picture_of_the_layer_by_others_images_are_kept(
    torch_net: Net, tmp_path: Path
) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    path = viewer.store.whole_layer("fc")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"the toolbox's")
    viewer.run("fc", 1)
    assert len(viewer.shown("fc", 1).optimized) == 2
    assert path.read_bytes() == b"the toolbox's"
    store = ResultStore(tmp_path / "out")
    assert make_layer(torch_net, store, "fc", [1], [0, 1], PARAMS)[0].new == 0
    assert path.read_bytes() == b"the toolbox's"


def test_images_that_came_meanwhile_are_not_written_over(torch_net: Net, tmp_path: Path) -> None:
    viewer = Viewer(torch_net, tmp_path / "out", seeds=1)
    done: list[dict[str, bytes]] = []

    def somebody() -> bool:
        if not done:
            make_layer(torch_net, viewer.store, "fc", [1], [0], PARAMS.but(decay=0.5))
            done.append(files(tmp_path / "out"))
        return False

    viewer.run("fc", 1, somebody)
    assert done[0].items() <= files(tmp_path / "out").items()
    assert viewer.shown("fc", 1).note == ""


def test_what_was_made_in_passing_is_in_nobodys_way(torch_net: Net, tmp_path: Path) -> None:
    """Neither for other parameters nor for another net, which find nothing to ask about."""
    other = load_net(
        torch_net.model.prototxt, torch_net.model.caffemodel, engine="torch", mean=(1, 2, 3)
    )
    viewer = Viewer(torch_net, tmp_path / "out")
    viewer.run("fc", 1)
    before = files(tmp_path / "out")
    store = ResultStore(tmp_path / "out")
    make_layer(torch_net, store, "fc", [0, 1], [0], PARAMS.but(decay=0.5))
    assert before.items() <= files(tmp_path / "out").items()
    assert make_layer(other, store, "fc", [1], [0, 1], PARAMS)[0].new == 2
    plain = ResultStore(tmp_path / "plain")
    make_layer(other, plain, "fc", [1], [0, 1], PARAMS)
    for seed in (0, 1):
        for path in (store.picture("fc", 1, seed), store.record("fc", 1, seed)):
            twin = plain.folder / path.relative_to(store.folder)
            assert path.read_bytes() == twin.read_bytes()


def test_a_folder_that_cannot_be_written(torch_net: Net, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    viewer = Viewer(torch_net, tmp_path / "file")
    viewer.run("fc", 0)
    shown = viewer.shown("fc", 0)
    assert len(shown.optimized) == 2
    assert "cannot write to" in shown.note
    assert viewer.run("fc", 0) == 0


# -- what cannot be climbed ------------------------------------------------------------------------

OFF = net_text(
    conv("conv", "data", 3, 1),
    layer("relu", "ReLU", "conv", "on"),
    layer("pool", "Pooling", "on", "", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"),
    conv("other", "data", 2, 1),
    relu("other_relu", "other"),
    layer("half", "Pooling", "other", "", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"),
    layer("joined", "Concat", "pool half"),
    conv("next", "joined", 2, 1),
    layer("power", "Power", "on", "", "power_param { scale: 2 }"),
    layer("best", "ArgMax", "next", "", "argmax_param { axis: 1 }"),
    layer("flat", "Reshape", "next", "", "reshape_param { shape { dim: -1 } }"),
    data=(1, 3, 6, 6),
)
# conv's unit 1 and other's unit 0 are far below 0 for every image
WEIGHTS = arrays(
    conv=(np.eye(3).reshape(3, 3, 1, 1), [0, -1e4, 0]),
    other=(np.full((2, 3, 1, 1), 0.5), [-1e4, 0]),
    next=(np.full((2, 5, 1, 1), 0.1), [0, 0]),
)


@pytest.fixture
def off(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, OFF, WEIGHTS, mean=100)


@pytest.mark.parametrize(("name", "unit", "below"), [("pool", 1, 1), ("joined", 3, 0)])
def test_a_silent_unit_is_climbed_below_its_relu(
    off: Net, tmp_path: Path, name: str, unit: int, below: int
) -> None:
    viewer = Viewer(off, tmp_path / "out")
    assert viewer.run(name, unit) == 4  # a look, one that is silent, two below
    lower = "conv" if name == "pool" else "other"
    assert viewer.store.runs(lower) == {below: [0, 1]}
    assert viewer.store.runs(name) == {}
    shown = viewer.shown(name, unit)
    assert len(shown.optimized) == 2
    assert f"below it: {lower}, unit {below}" in shown.note
    np.testing.assert_array_equal(shown.optimized[1], viewer.store.cell(lower, below, 1))
    before = files(tmp_path / "out")
    again = Viewer(off, tmp_path / "out")  # finds them made, and shows them
    assert again.run(name, unit) == 2
    np.testing.assert_array_equal(again.shown(name, unit).optimized[1], shown.optimized[1])
    assert files(tmp_path / "out") == before


def test_a_unit_that_is_one_of_another_layer_lacks_no_images(off: Net, tmp_path: Path) -> None:
    viewer = Viewer(off, tmp_path / "out")
    viewer.library.same = partial(same_units, off.model)
    viewer.run("other", 1)
    before = files(tmp_path / "out")
    assert viewer.run("joined", 4) == 1  # a look: it is pool's three units, and then other's two
    assert files(tmp_path / "out") == before
    assert viewer.run("joined", 1) > 1  # conv's unit 1 has none


def test_a_unit_without_any_gradient_is_not_tried_again(
    off: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Viewer(off, tmp_path / "out", seeds=3)
    assert viewer.run("power", 1) == 4  # every seed once
    assert viewer.shown("power", 1).note == SILENT
    monkeypatch.setattr(type(off), "evaluate", None)
    assert viewer.run("power", 1) == 0
    assert viewer.shown("power", 1).optimized == ()
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("name", "unit", "words"),
    [
        ("flat", 0, "is not the batch axis"),
        ("conv", 3, "has no unit 3"),
        ("best", 0, ""),
    ],
)
def test_what_cannot_be_climbed_is_said_in_words(
    off: Net, tmp_path: Path, name: str, unit: int, words: str
) -> None:
    viewer = Viewer(off, tmp_path / "out")
    viewer.run(name, unit)
    note = viewer.shown(name, unit).note
    assert note
    assert words in note
    assert viewer.run(name, unit) == 0
    assert files(tmp_path / "out") == {}


def test_an_engine_that_fails_is_a_note(
    torch_net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(type(torch_net), "evaluate", lambda *_: 1 / 0)
        viewer.run("fc", 0)
    assert viewer.shown("fc", 0).note == "ZeroDivisionError: division by zero"
    viewer.run("fc", 1)
    assert len(viewer.shown("fc", 1).optimized) == 2


def test_activations_that_are_not_finite(tmp_path: Path) -> None:
    weights = {**WEIGHTS, "conv": arrays(conv=(np.full((3, 3, 1, 1), 3e38), [0, 0, 0]))["conv"]}
    net = load_text("torch", tmp_path, OFF, weights, mean=100)
    viewer = Viewer(net, tmp_path / "out")
    viewer.run("conv", 0)
    assert viewer.shown("conv", 0).note == NOT_FINITE
    assert files(tmp_path / "out") == {}


def test_the_library_shows_from_disk_what_was_made(torch_net: Net, tmp_path: Path) -> None:
    viewer = Viewer(torch_net, tmp_path / "out")
    viewer.library.start()
    viewer.run("conv/1", 2)
    fresh = Library(tmp_path / "out")
    fresh.start()
    entry = entry_of(torch_net, "conv/1")

    def read() -> bool:
        fresh.request(entry, [2], optimized=True)
        return len(fresh.unit(entry, 2).optimized) == 2 and 2 in fresh.optimized(entry)

    eventually(read)
    for mine, theirs in zip(
        viewer.shown("conv/1", 2).optimized, fresh.unit(entry, 2).optimized, strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert viewer.library.close(LONG)
    assert fresh.close(LONG)


# -- one image of each unit that the grid shows ----------------------------------------------------


def fill(viewer: Viewer, unit: int, others: range) -> list[tuple[int, int]]:
    """Work until there is nothing to do: (unit, seed) in the order in which they were made."""
    made: list[tuple[int, int]] = []
    add = viewer.library.add

    def noted(entry: Entry, unit: int, seed: int, *more: Any) -> None:
        made.append((unit, seed))
        add(entry, unit, seed, *more)

    viewer.library.add = noted  # type: ignore[method-assign]
    viewer.synthesis.request(entry_of(viewer.net, "fc"), unit, others)
    while viewer.synthesis(never):
        pass
    viewer.library.add = add  # type: ignore[method-assign]
    return made


def test_each_unit_gets_one_image_the_selected_one_first_and_then_its_others(
    torch_net: Net, tmp_path: Path
) -> None:
    viewer = Viewer(torch_net, tmp_path / "live", seeds=3)
    assert fill(viewer, 2, range(4)) == [(2, 0), (0, 0), (1, 0), (3, 0), (2, 1), (2, 2)]
    plain = ResultStore(tmp_path / "plain")
    make_layer(torch_net, plain, "fc", range(4), [0, 1, 2], PARAMS)
    for unit, seed in ((0, 0), (1, 0), (3, 0), (2, 2)):
        np.testing.assert_array_equal(
            cv2.imread(str(viewer.store.picture("fc", unit, seed))),
            cv2.imread(str(plain.picture("fc", unit, seed))),
        )
    assert viewer.store.runs("fc") == {0: [0], 1: [0], 2: [0, 1, 2], 3: [0]}
    assert fill(viewer, 1, range(4)) == [(1, 1), (1, 2)], "nothing twice"


def test_what_is_there_is_not_made_again_and_a_page_is_only_its_own_units(
    torch_net: Net, tmp_path: Path
) -> None:
    viewer = Viewer(torch_net, tmp_path / "out", seeds=1)
    make_layer(torch_net, viewer.store, "fc", [0], [0], PARAMS)
    assert fill(viewer, 2, range(3)) == [(2, 0), (1, 0)]


def test_another_selection_comes_first_and_what_is_begun_goes_on_if_it_has_an_image(
    torch_net: Net, tmp_path: Path
) -> None:
    viewer = Viewer(torch_net, tmp_path / "out", seeds=1)
    fc = entry_of(torch_net, "fc")
    make_layer(torch_net, viewer.store, "fc", [0], [0], PARAMS)
    begun: list[int] = []

    def select(unit: int) -> None:
        viewer.synthesis.request(fc, unit, range(4))

    def between() -> bool:
        working = viewer.library.working(fc)
        if working is not None and working.unit not in begun:
            begun.append(working.unit)
            if len(begun) == 1:
                select(3)  # which has none: it is made at once
            elif len(begun) == 2:
                select(0)  # which has one: what is begun is finished
        return False

    select(1)
    while viewer.synthesis(between):
        pass
    assert begun == [1, 3, 2]
    assert viewer.store.runs("fc") == {unit: [0] for unit in range(4)}
