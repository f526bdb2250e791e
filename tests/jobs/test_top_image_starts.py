"""Silent units start again from their top images, if the results folder has some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text
from helpers.jobs import make_layer
from helpers.results_folder import contents, files

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import write_image
from deepvis_caffe.optimizer import AscentParams, Constant
from deepvis_caffe.results.store import ResultStore

# Unit 0 is on where the mean of its 3 x 3 pixels is above 200, unit 1 for every image, and unit 2
# for none. The steps of the ascents here are far too small to get there.
NET = net_text(
    conv("conv", "data", 3, 3, "pad: 1"),
    layer("on", "ReLU", "conv"),
    layer("pool", "Pooling", "on", "", "pooling_param { kernel_size: 3 stride: 1 pad: 1 }"),
    data=(1, 1, 11, 13),
)
WEIGHTS = arrays(conv=(np.full((3, 1, 3, 3), [[[[1 / 9]]]] * 3), [-100, 1000, -1000]))
PARAMS = AscentParams(iterations=70, rate=Constant(1e-5))


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, NET, WEIGHTS, mean=100)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Of the size of the input: two with a bright spot, at different places, and a dark one."""
    folder = tmp_path / "photos"
    for name, spot, level in (("a", (2, 3), 240), ("b", (8, 10), 220), ("dark", (5, 5), 60)):
        picture = np.full((11, 13, 3), 50, np.uint8)
        y, x = spot
        picture[y - 1 : y + 2, x - 1 : x + 2] = level
        write_image(folder / f"{name}.png", picture)
    return folder


def records(store: ResultStore, unit: int, seeds: int = 3) -> list[dict]:
    return [json.loads(store.record("on", unit, seed).read_text()) for seed in range(seeds)]


def test_a_silent_unit_starts_from_its_top_images(net: Net, photos: Path, tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "out")
    found = dv.top_images(net, photos, ["on"], results=store.folder)
    off, on, dead = make_layer(net, store, "on", [0, 1, 2], [0, 1, 2], PARAMS)
    assert (off.restarted, off.no_gradient) == (3, 0)
    assert (on.restarted, on.redirected, on.no_gradient) == (0, 0, 0)
    assert (dead.restarted, dead.no_gradient) == (0, 3)
    # What the net computes of the whole image at the spot, the ascent has at its own position:
    # seed 2 begins with the first image again.
    best = [example.value for example in found["on", 0]]
    assert best == pytest.approx([140 - 100, 120 - 100])
    got = records(store, 0)
    assert [one["objective"][0] for one in got] == pytest.approx([40, 20, 40], rel=1e-4)
    assert [one["started_from"]["top_image"] for one in got] == ["a.png", "b.png", "a.png"]
    assert [one["started_from"]["value"] for one in got] == pytest.approx([40, 20, 40], rel=1e-4)
    assert all(one["params"]["start"] == "noise" and one["stop"] == "finished" for one in got)
    assert not any("started_from" in one for one in (*records(store, 1), *records(store, 2)))
    # `dv.optimize` with the same folder finds them; in another folder with the scan it makes them.
    before = files(store.folder)
    runs = dv.optimize(net, "on", [0], 3, preset=PARAMS, results=store.folder)
    assert files(store.folder) == before
    assert [run.started_from["top_image"] for run in runs] == ["a.png", "b.png", "a.png"]


def test_top_images_of_the_same_unit_of_another_layer(
    net: Net, photos: Path, tmp_path: Path
) -> None:
    """The convolution below the ReLU was scanned, as `deepvis top-images` does by itself."""
    store = ResultStore(tmp_path / "out")
    dv.top_images(net, photos, ["conv"], results=store.folder)
    (off,) = make_layer(net, store, "on", [0], [0, 1, 2], PARAMS)
    assert off.restarted == 3
    got = records(store, 0)
    assert [one["objective"][0] for one in got] == pytest.approx([40, 20, 40], rel=1e-4)
    # The middle of what a pooling's position sees, and not its first position.
    (off,) = make_layer(net, store, "pool", [0], [0, 1], PARAMS)
    got = [json.loads(store.record("pool", 0, seed).read_text()) for seed in (0, 1)]
    assert [one["objective"][0] for one in got] == pytest.approx([40, 20], rel=1e-4)


def test_top_images_that_come_later_are_started_from(
    net: Net, photos: Path, tmp_path: Path
) -> None:
    store = ResultStore(tmp_path / "out")
    (off,) = make_layer(net, store, "on", [0], [0, 1], PARAMS)
    assert (off.no_gradient, off.restarted) == (2, 0)
    assert make_layer(net, store, "on", [0], [0, 1], PARAMS)[0].new == 0  # nothing more to try
    dv.top_images(net, photos, ["on"], results=store.folder)
    (again,) = make_layer(net, store, "on", [0], [0, 1], PARAMS)
    assert (again.no_gradient, again.restarted, again.new) == (0, 2, 2)
    assert make_layer(net, store, "on", [0], [0, 1], PARAMS)[0].new == 0
    straight = ResultStore(tmp_path / "straight")
    dv.top_images(net, photos, ["on"], results=straight.folder)
    make_layer(net, straight, "on", [0], [0, 1], PARAMS)
    assert contents(store.folder) == contents(straight.folder)  # montages, too


def test_silent_runs_of_older_versions_are_made_again(net: Net, tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "out")
    make_layer(net, store, "on", [1, 2], [0], PARAMS)
    before = contents(store.folder)
    for unit in (1, 2):
        path = store.record("on", unit, 0)
        old = json.loads(path.read_text())
        del old["redirected_steps"]
        path.write_text(json.dumps(old))
    made = make_layer(net, store, "on", [1, 2], [0], PARAMS)
    assert [unit.new for unit in made] == [0, 1]
    after = contents(store.folder)
    lacking = {name for name in before if before[name] != after[name]}
    assert [name.rpartition("/")[2] for name in lacking] == ["on_0001_0.json"]
