"""Pictures of units: what the test wrote is what is known, and nobody waits for it."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.results_folder import add_run, record
from helpers.waiting import LONG, eventually

from deepvis_caffe.model.same_units import SameUnits
from deepvis_caffe.viewer.cache import LruCache
from deepvis_caffe.viewer.disk.library import LOOK_EVERY, Library
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.units import UnitPictures

CONV = Entry("conv1", "conv1", "Convolution", (1, 7, 9, 9), 7, (9, 9))
SLASH = Entry("blob", "fire/conv", "Convolution", (1, 4, 9, 9), 4, (9, 9))


class Clock:
    """Time that passes when the test says so, and a little with each look at it."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self._tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self._tick
        return self.now


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    made = Library(tmp_path)
    made.start()
    yield made
    assert made.close(LONG)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(tmp_path: Path, clock: Clock) -> Iterator[Library]:
    """A library that looks at the disk again only when the test lets time go by."""
    made = Library(tmp_path, clock=clock)
    made.start()
    yield made
    assert made.close(LONG)


def plain(level: int | tuple[int, ...], height: int = 8, width: int = 10) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])


def look(library: Library, entry: Entry, unit: int) -> UnitPictures:
    """Do what each frame does: request a unit, and take what is known of it by now."""
    library.request(entry, [unit])
    return library.unit(entry, unit)


def look_at_all(library: Library, entry: Entry) -> Mapping[int, np.ndarray]:
    """Likewise, the optimized images of a layer."""
    library.request(entry, optimized=True)
    return library.optimized(entry)


def known(library: Library, unit: int, count: int = 1, entry: Entry = CONV) -> UnitPictures:
    return eventually(lambda: len((one := look(library, entry, unit)).optimized) == count and one)


def cells(library: Library, units: set[int], entry: Entry = CONV) -> dict[int, np.ndarray]:
    return eventually(lambda: set(one := look_at_all(library, entry)) == units and dict(one))


def look_again(library: Library, clock: Clock, *units: int) -> None:
    """Let time go by, and wait until the disk was looked at again for a layer and these units."""
    eventually(lambda: not library.busy)
    clock.now += 2 * LOOK_EVERY
    library.request(CONV, units, optimized=True)
    eventually(lambda: not library.busy)  # units are read before the layer


def gray(picture: np.ndarray) -> float:
    return float(picture.mean())


# -- one unit --------------------------------------------------------------------------------------


def test_a_units_runs_are_shown_by_seed_as_their_montage_has_them(
    library: Library, tmp_path: Path
) -> None:
    # rows 2 to 6 and columns 1 to 7 of the picture are what the unit sees
    picture = plain(127, 50, 50)
    picture[2:6, 1:4], picture[2:6, 4:7] = 97, 158
    for seed in (10, 2):
        path = add_run(tmp_path, "conv1", record("conv1", 3, seed))
        write(path.with_name(f"conv1_0003_{seed}_best_X.png"), picture if seed == 2 else plain(0))
    first, last = known(library, 3, 2).optimized
    assert first.shape == (64, 96, 3)  # 4 x 6, enlarged to at least 96
    assert (first[:, :40] == 0).all()
    assert (first[:, 60:] == 255).all()
    assert (last == 0).all()


@pytest.mark.slow
def test_a_folder_of_the_toolbox_is_shown(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "regularized_opt/conv1/conv1_0002_montage.jpg", plain((200, 100, 0), 30, 30))
    write(tmp_path / "max_im/conv1/conv1_0002.jpg", plain(60, 20, 40))
    write(tmp_path / "max_deconv/conv1/conv1_0002.jpg", plain(90, 20, 40))
    write(tmp_path / "max_im/conv1/conv1_0004.jpg", plain(70))
    found = known(library, 2)
    np.testing.assert_allclose(found.optimized[0], plain((200, 100, 0), 30, 30), atol=4)
    assert found.top is not None
    assert found.deconv is not None
    assert (gray(found.top), gray(found.deconv)) == pytest.approx((60, 90), abs=2)
    other = eventually(lambda: (one := look(library, CONV, 4)).top is not None and one)
    assert (other.optimized, other.deconv, gray(other.top)) == ((), None, pytest.approx(70, abs=2))
    write(tmp_path / "regularized_opt/conv1/conv1_0002_5_best_X.jpg", plain(255))
    eventually(lambda: gray(known(library, 2).optimized[0]) > 250)


def test_both_names_of_a_layer_are_looked_for(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "regularized_opt/blob/blob_0001_montage.jpg", plain(50))
    write(tmp_path / "max_im/fire_conv/fire_conv_0001.jpg", plain(80))
    found = eventually(
        lambda: (one := look(library, SLASH, 1)).optimized and one.top is not None and one
    )
    assert gray(found.optimized[0]) == pytest.approx(50, abs=2)
    assert gray(found.top) == pytest.approx(80, abs=2)


def test_runs_of_another_layer_in_the_same_folder_are_not_shown(
    library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_run(tmp_path, "fire_conv", record("fire/conv", 0, 0))
    add_run(tmp_path, "fire_conv", record("fire_conv", 1, 0))
    cells(library, {0}, SLASH)
    known(library, 0, 1, SLASH)
    library.request(SLASH, [1])
    eventually(lambda: not library.busy)
    assert "belongs to layer 'fire_conv', not 'fire/conv'" in caplog.text
    assert library.unit(SLASH, 1).optimized == ()


@pytest.mark.slow
def test_what_changes_on_disk_is_seen(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "regularized_opt/conv1/conv1_0000_montage.jpg"
    write(path, plain(30))
    known(library, 0)
    write(path, plain(230, 12, 12))  # in place: the folder's time stays

    def bright() -> bool:  # there is none where it was read while it was being written
        found = look(library, CONV, 0).optimized
        return bool(found) and gray(found[0]) > 220

    eventually(bright)
    path.unlink()
    known(library, 0, 0)
    assert not library.unit(CONV, 0).optimized


def test_the_same_object_as_long_as_nothing_changes(
    timed: Library, clock: Clock, tmp_path: Path
) -> None:
    add_run(tmp_path, "conv1", record("conv1", 0, 0))
    first = known(timed, 0)
    before = look_at_all(timed, CONV)
    cells(timed, {0})
    settled = timed.optimized(CONV)
    assert settled is not before
    look_again(timed, clock, 0)
    assert timed.unit(CONV, 0) is first
    assert timed.optimized(CONV) is settled


def test_what_cannot_be_read_is_left_out_and_said_once(
    timed: Library, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "regularized_opt/conv1"
    for seed in (0, 1):
        add_run(tmp_path, "conv1", record("conv1", 0, seed))
    (folder / "conv1_0000_0_best_X.png").write_bytes(b"no picture")
    (folder / "conv1_0000_1.json").write_text("{")
    (folder / "whole_layer.jpg").write_bytes(b"")
    add_run(tmp_path, "conv1", record("conv1", 5, 0, sees=[1, 2]))
    add_run(tmp_path, "conv1", record("conv1", 6, 0, sees=[-9, -9, 10**9, -2], window=None))
    known(timed, 0)
    cells(timed, {5, 6})
    known(timed, 5)
    known(timed, 6)
    look_again(timed, clock, 0, 5, 6)
    known(timed, 0)
    cells(timed, {5, 6})
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(lines) == len(set(lines)) + 1  # once for the unit, once as its layer's pattern
    assert sum("conv1_0000_0_best_X.png" in line for line in lines) == 2
    assert sum("whole_layer.jpg" in line for line in lines) == 1


def test_no_folder_is_no_trouble(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    before = look_at_all(library, CONV)
    assert look(library, CONV, 0).optimized == ()
    assert before == {}
    eventually(lambda: not library.busy)
    assert library.unit(CONV, 0).optimized == ()
    assert library.optimized(CONV) == {}
    assert not caplog.records


@pytest.mark.slow
def test_a_broken_disk_ends_nothing(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(tmp_path, "conv1", record("conv1", 0, 0))
    with monkeypatch.context() as patch:
        patch.setattr("deepvis_caffe.viewer.disk.library.read_run", lambda *_: 1 / 0)
        library.request(CONV, [0])
        eventually(lambda: not library.busy)
        assert library.unit(CONV, 0).optimized == ()
    known(library, 0)


# -- a whole layer ---------------------------------------------------------------------------------


def sprite(levels: list[int], side: int, cell: int = 16) -> np.ndarray:
    rows = np.array(levels, np.uint8).reshape(side, side)
    return np.repeat(np.kron(rows, np.ones((cell, cell), np.uint8))[..., None], 3, axis=2)


# 7 units are 3 x 3:  0 1 2 / 3 4 5 / 6 - -
LEVELS = [0, 30, 60, 90, 120, 150, 180, 255, 255]


def test_the_toolboxs_picture_of_a_layer_is_cut_into_its_units(
    library: Library, tmp_path: Path
) -> None:
    write(tmp_path / "regularized_opt/conv1/whole_layer.jpg", sprite(LEVELS, 3))
    found = cells(library, set(range(7)))
    assert [gray(found[unit]) for unit in range(7)] == pytest.approx(LEVELS[:7], abs=3)
    assert found[6].shape == (16, 16, 3)


def test_our_picture_of_a_layer_says_which_units_it_has(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "regularized_opt/conv1"
    write(folder / "whole_layer.jpg", sprite(LEVELS, 3))
    about = {"layer": "conv1", "count": 7, "units": [1, 5, "x", 99, None], "recipe": None}
    (folder / "whole_layer.json").write_text(json.dumps(about))
    add_run(tmp_path, "conv1", record("conv1", 3, 4))
    write(folder / "conv1_0003_4_best_X.png", plain(255, 300, 300))
    found = cells(library, {1, 3, 5})
    assert [gray(found[unit]) for unit in (1, 3, 5)] == pytest.approx([30, 255, 150], abs=3)


@pytest.mark.parametrize(
    "about", [{"layer": "other"}, {"count": 10, "layer": "conv1"}, {"count": "many", "layer": "x"}]
)
def test_a_picture_of_another_layer_is_not_cut(
    library: Library, tmp_path: Path, about: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "regularized_opt/conv1"
    write(folder / "whole_layer.jpg", sprite(LEVELS, 3, 17))  # 51 is not 4 times anything
    (folder / "whole_layer.json").write_text(json.dumps(about))
    write(folder / "conv1_0001_montage.jpg", plain(10))
    cells(library, {1})
    assert "whole_layer.jpg" in caplog.text


def test_patterns_are_small_and_the_first_seeds(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "regularized_opt/conv1"
    for seed, level in ((10, 255), (9, 0)):
        write(folder / f"conv1_0000_{seed}_best_X.png", plain(level, 400, 200))
    found = cells(library, {0})
    assert found[0].shape == (128, 64, 3)
    assert gray(found[0]) == 0


@pytest.mark.slow
def test_a_picture_of_a_layer_that_is_made_anew_is_read_anew(
    library: Library, tmp_path: Path
) -> None:
    folder = tmp_path / "regularized_opt/conv1"
    write(folder / "whole_layer.jpg", sprite(LEVELS, 3))
    cells(library, set(range(7)))
    write(folder / "new.jpg", sprite([*LEVELS[:6], 20, 0, 0], 3))
    (folder / "new.jpg").replace(folder / "whole_layer.jpg")
    eventually(lambda: gray(look_at_all(library, CONV)[6]) < 25)
    (folder / "whole_layer.jpg").unlink()
    eventually(lambda: not look_at_all(library, CONV))


def test_a_layer_of_a_thousand_units_is_shown_as_it_is_read(tmp_path: Path) -> None:
    """Each look at the clock takes 10 ms, so that a showing has some tens of units more.

    The test looks on from the thread that reads, which reads no further meanwhile.
    """
    many = Entry("fc", "fc", "InnerProduct", (1, 1000), 1000, (1, 1))
    folder = tmp_path / "regularized_opt/fc"
    write(folder / "fc_0000_0_best_X.png", plain(0, 100, 100))
    for unit in range(1, 1000):
        os.link(folder / "fc_0000_0_best_X.png", folder / f"fc_{unit:04d}_0_best_X.png")
    write(tmp_path / "max_im/conv1/conv1_0001.jpg", plain(70))
    shown: list[Mapping[int, np.ndarray]] = []
    other: list[int] = []  # how many units were shown when another layer's unit was read
    whole = threading.Event()

    def watch() -> None:
        cells = look_at_all(library, many)
        if not shown or cells is not shown[-1]:
            shown.append(cells)
        if not other and look(library, CONV, 1).top is not None:
            other.append(len(cells))
        if len(cells) == 1000:
            whole.set()

    library = Library(tmp_path, watch, Clock(0.01))
    library.request(many, optimized=True)
    library.start()
    assert whole.wait(LONG)
    assert library.close(LONG)
    counts = [len(cells) for cells in shown]
    assert counts == sorted(set(counts)), "newer mappings have more units"
    assert len(shown) > 2
    # It was asked for at the first showing: a newer wish does not wait for a thousand units.
    assert other == [counts[0]]


# -- from the synthesis ----------------------------------------------------------------------------


@pytest.mark.slow
def test_what_was_made_is_shown_at_once_and_the_disk_replaces_it(
    library: Library, tmp_path: Path
) -> None:
    library.request(CONV, optimized=True)
    eventually(lambda: not library.busy)
    before = library.optimized(CONV)
    library.add(CONV, 2, 1, plain(11, 300, 300))
    library.add(CONV, 2, 0, plain(22, 300, 300))
    assert [gray(one) for one in library.unit(CONV, 2).optimized] == [22, 11]
    later = library.optimized(CONV)
    assert later is not before
    assert (later[2].shape, gray(later[2])) == ((128, 128, 3), 22)
    write(tmp_path / "regularized_opt/conv1/conv1_0002_0_best_X.png", plain(255, 300, 300))
    eventually(lambda: [gray(o) for o in look(library, CONV, 2).optimized] == [255, 11])
    eventually(lambda: gray(look_at_all(library, CONV)[2]) == 255)


def test_what_was_made_before_its_layer_was_looked_at(library: Library) -> None:
    library.add(CONV, 5, 0, plain(44))
    assert gray(cells(library, {5})[5]) == 44


def test_what_is_being_made_is_of_one_unit() -> None:
    told: list[int] = []
    library = Library("nowhere", lambda: told.append(0))
    library.set_progress(CONV, 1, plain(5), 0.25, "on its way")
    one = library.unit(CONV, 1)
    assert one.working is not None
    assert (gray(one.working), one.progress, one.note) == (5, 0.25, "on its way")
    assert library.unit(CONV, 2).working is None
    library.set_progress(CONV, 2, plain(6), 0.5)
    assert library.unit(CONV, 1).working is None
    assert library.unit(CONV, 1).note == "on its way"
    library.set_progress(CONV, 2)
    assert (library.unit(CONV, 2).working, library.unit(CONV, 2).progress) == (None, 0)
    assert len(told) == 3


def test_what_is_kept_is_bounded() -> None:
    recent: LruCache[str, int] = LruCache(100)
    for name, size in (("a", 60), ("b", 30), ("a", 50), ("c", 20)):
        recent.put(name, size, size)
    assert (list(recent), recent.get("b")) == (["b", "a", "c"], 30), "100 bytes in all"
    recent.put("d", 1, 10)  # "a" was put longest ago, "b" has been used since
    assert (recent.get("a"), list(recent)) == (None, ["c", "b", "d"])
    recent.put("f", 3, 41)  # one more than there is room for, once 60 are held
    assert list(recent) == ["b", "d", "f"]
    recent.put("e", 2, 500)
    assert (list(recent), recent.get("e")) == (["e"], 2)


# -- pictures of the same unit of another layer --------------------------------------------------

JOINED = Entry("joined", "joined", "Concat", (1, 5, 9, 9), 5, (9, 9))


def test_a_unit_without_pictures_has_those_of_the_same_unit(tmp_path: Path) -> None:
    asked: list[str] = []

    def same(layer: str) -> tuple[SameUnits, ...]:
        asked.append(layer)
        return (SameUnits(("right", "right_on"), {3: 0, 4: 1}),)

    def add(name: str, unit: int, level: int) -> None:
        path = add_run(tmp_path, name, record(name, unit, 0))
        path.with_name(f"{path.stem}_best_X.png").unlink()
        write(path.with_name(f"{path.stem}_best_Xpm.png"), plain(level))

    add("right", 0, 50)
    add("right_on", 1, 100)
    add("joined", 4, 200)
    write(tmp_path / "max_im/right/right_0000.jpg", plain(90))
    library = Library(tmp_path, same=same)
    library.start()
    (picture,) = known(library, 3, 1, JOINED).optimized
    assert (picture == 50).all()
    assert library.unit(JOINED, 3).shown_as == "right 0"
    assert library.unit(JOINED, 3).top is not None
    (picture,) = known(library, 4, 1, JOINED).optimized
    assert (picture == 200).all()
    assert library.unit(JOINED, 4).shown_as == ""
    shown = cells(library, {3, 4}, JOINED)
    assert {unit: gray(cell) for unit, cell in shown.items()} == {3: 50, 4: 200}
    assert set(asked) == {"joined"}
    add("joined", 3, 250)  # a picture of its own
    eventually(lambda: not look(library, JOINED, 3).shown_as)
    (picture,) = known(library, 3, 1, JOINED).optimized
    assert (picture == 250).all()
    assert library.unit(JOINED, 3).top is None
    eventually(lambda: gray(look_at_all(library, JOINED)[3]) == 250)
    assert library.close(LONG)
