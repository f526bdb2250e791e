"""Pictures of the units that drive another, optimized and top images; room for them for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.results_folder import add_run, record
from helpers.scenes import entry, scene
from helpers.waiting import LONG, eventually

from deepvis_caffe.attribution.driver_results import Driver
from deepvis_caffe.viewer.disk.driver_pictures import DriverLibrary
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.state.request import UnitDrivers

SCENE = scene(entry("conv1", 1, 9, 4, 4), entry("conv2", 1, 9, 4, 4))
NOTHING = np.zeros((4, 4), np.float32)


def driven(*refs: tuple[int, int] | None) -> UnitDrivers:
    some = [(Driver("conv", 0, 1.0, 0.5, NOTHING, NOTHING), ref) for ref in refs]
    return UnitDrivers(raising=tuple(some[:1]), lowering=tuple(some[1:]))


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[DriverLibrary]:
    for unit, level in ((2, 60), (3, 90)):
        path = tmp_path / "max_im" / "conv1" / f"conv1_{unit:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((30, 30, 3), level, np.uint8))
    about = record("conv1", 3, 0, window=None, sees=None)
    made = add_run(tmp_path, "conv1", about)
    made.with_name("conv1_0003_0_best_X.png").unlink()  # the other is shown as it is
    cv2.imwrite(str(made.with_name("conv1_0003_0_best_Xpm.png")), np.full((8, 8, 3), 200, np.uint8))
    library = Library(tmp_path)
    library.start()
    yield DriverLibrary(library, SCENE)
    assert library.close(LONG)


def test_optimized_and_top_images(pictures: DriverLibrary) -> None:
    found = driven((0, 2), (0, 3), (1, 2), None)

    def known() -> bool:
        pictures.request(found)
        now = pictures.of(found)
        return now.top.keys() == {(0, 2), (0, 3)} and now.optimized.keys() == {(0, 3)}

    eventually(known)
    now = pictures.of(found)
    for unit, level in ((2, 60), (3, 90)):
        assert now.top[0, unit].shape == (10, 30, 3), "the first row"
        assert np.abs(now.top[0, unit].astype(int) - level).max() <= 2
    assert np.abs(now.optimized[0, 3].astype(int) - 200).max() <= 2
    assert pictures.of(found) is now


def test_room_for_pictures_stays(pictures: DriverLibrary) -> None:
    found = driven((0, 2))
    assert not pictures.of(None).has_top

    def known() -> bool:
        pictures.request(found)
        return pictures.of(found).has_top

    eventually(known)
    assert pictures.of(None).has_top
    assert not pictures.of(None).top
    other = pictures.of(driven((1, 5)))
    assert (other.has_top, other.has_optimized) == (True, False)
