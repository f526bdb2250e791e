"""The correlation that a scan on disk has, in the viewer: read, walked through, clicked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.image_sets import slow_pass
from helpers.scanned import IMAGES, PARAMS, UNIT, showing_unit, small_parts, write_results
from helpers.scenes import entry
from helpers.waiting import LONG, eventually

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import read_image, write_image
from deepvis_caffe.jobs.scan import scan_dataset
from deepvis_caffe.results.layer_files import Stamp, stamp_of
from deepvis_caffe.viewer.disk import correlations as correlations_module
from deepvis_caffe.viewer.disk import library as library_module
from deepvis_caffe.viewer.disk.correlations import Correlations, Known
from deepvis_caffe.viewer.disk.relations import strip
from deepvis_caffe.viewer.headless import run_headless
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.state.units import UnitPictures

LAYER = entry("conv/1", 1, 5, 4, 4)


@pytest.fixture
def results(net: Net, images: Path, tmp_path: Path) -> Path:
    return write_results(net, images, tmp_path / "out", range(5))


@pytest.fixture
def parts(results: Path, images: Path, tmp_path: Path) -> Parts:
    return small_parts(tmp_path, images, results)


@pytest.fixture
def session(parts: Parts) -> Iterator[Session]:
    with showing_unit(parts) as made:
        yield made


@pytest.fixture
def matrix(net: Net, images: Path) -> np.ndarray:
    """Numpy's word on a slow loop's activations."""
    _, values = slow_pass(net, images, "conv/1")
    with np.errstate(invalid="ignore"):
        return np.corrcoef(values.transpose(1, 0, 2).reshape(5, -1).astype(float))


def known(store: Correlations, layer=LAYER) -> Known:
    """What is known of it, once anything is."""
    store.request(layer)
    eventually(lambda: not store.busy)
    return store.layer(layer)


def reader(folder: Path) -> Correlations:
    made = Correlations(folder)
    made.start()
    return made


def test_it_is_numpys_and_the_same_object_until_the_scan_is_another(
    results: Path, matrix: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepvis_caffe.viewer.disk.correlations.LOOK_EVERY", 0.0)
    store = reader(results)
    first = known(store)
    assert first.correlation is not None
    np.testing.assert_allclose(first.correlation.values, matrix, atol=1e-4)
    assert first.correlation.images == IMAGES
    assert first.note == ()
    looks: list[Path] = []

    def counted(path: Path) -> Stamp | None:
        looks.append(path)
        return stamp_of(path)

    monkeypatch.setattr(correlations_module, "stamp_of", counted)
    # With the fourth look, three are over.
    eventually(lambda: (store.request(LAYER), len(looks) > 3)[1])
    assert store.layer(LAYER) is first
    (results / "dataset" / "scan.npz").write_bytes(b"no scan")
    eventually(lambda: known(store).correlation is None)
    assert "cannot be read as a scan" in known(store).note[0]
    assert store.close(LONG)


def test_why_there_is_none_and_what_to_do(
    net: Net, images: Path, results: Path, tmp_path: Path
) -> None:
    command = "deepvis top-images --images DIR --correlation"
    nothing = reader(tmp_path / "none")
    assert known(nothing).note == ("there is no dataset scan in this results folder", command)
    scanned = reader(results)
    other = known(scanned, entry("pool", 1, 5, 2, 2))
    assert other.note == (
        "the scan does not include pool",
        f"{command} --layers pool,... --overwrite",
    )
    plain = tmp_path / "plain"
    scan_dataset(net, open_source(images), plain / "dataset", replace(PARAMS, correlation=False))
    without = reader(plain)
    assert known(without).note == (
        "the scan was made without --correlation",
        f"{command} --overwrite",
    )
    assert all(one.close(LONG) for one in (nothing, scanned, without))


def test_a_scan_that_is_made_meanwhile_is_seen(
    net: Net, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepvis_caffe.viewer.disk.correlations.LOOK_EVERY", 0.0)
    heard: list[bool] = []
    store = Correlations(tmp_path / "out", lambda: heard.append(True))
    store.start()
    assert known(store).correlation is None
    scan_dataset(net, open_source(images), tmp_path / "out" / "dataset", PARAMS)
    eventually(lambda: known(store).correlation is not None)
    assert store.close(LONG)
    assert len(heard) == 2


def whole(session: Session) -> bool:
    session.draw()
    return session.settled and not session.reading


@pytest.mark.slow
def test_arrows_walk_in_the_matrix_s_order_and_clicks_select(
    session: Session, results: Path, matrix: np.ndarray
) -> None:
    assert session.state.unit == UNIT
    session.press("1")
    eventually(lambda: whole(session) and session.state.order)
    order = session.state.order
    relation = session.view.relation
    assert relation.correlation is not None
    assert relation.correlation.order == order
    assert session.view.relation is relation, "the same while nothing is new"
    number = session.draw()[0]
    assert session.draw()[0] == number, "and so nothing is drawn"
    seen: list[int] = []
    for key in ("up", "K", "K"):  # to the last
        session.press(key)
    for _ in order:
        seen.append(session.state.unit)
        session.press("left")
    assert tuple(seen[::-1]) == order
    assert session.state.unit == order[0]
    assert session.state.cursor == "units"
    session.press("up")
    assert session.state.cursor == "layers", "over the upper edge"
    session.press("2")
    assert session.state.order == ()
    session.press("2")
    # Partners are the row's, with the first images that excite them.
    session.press("down")
    unit = order[1]
    session.press("right")
    assert session.state.unit == unit
    eventually(lambda: whole(session))
    relation = session.view.relation
    row = np.delete(matrix[unit], unit)
    expected = sorted((r for r in row if abs(r) > 0.005), key=lambda r: (r < 0, -abs(r)))
    assert [one.value for one in relation.partners] == pytest.approx(expected, abs=1e-4)
    assert [matrix[unit, one.unit] for one in relation.partners] == pytest.approx(
        expected, abs=1e-4
    )
    folder = results / "max_im" / "conv_1"
    for partner in relation.partners:
        path = folder / f"conv_1_{partner.unit:04d}.jpg"
        if path.exists():
            montage = read_image(path)
            assert partner.picture is not None
            np.testing.assert_array_equal(partner.picture, montage[: len(montage) // 2])
    assert relation.pictured
    # A click on a pair selects its row, and then, in that row, its column.
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for y in range(0, 900, 5):
        for x in range(0, 1100, 5):
            hit = session.hit(y, x)
            if hit is not None and hit.kind == "pair":
                places.setdefault((hit.index, int(hit.value)), (y, x))
    assert len(places) == 25
    one, other = order[3], order[0]
    session.mouse("click", *places[one, other])
    assert session.state.unit == one
    assert session.state.zoom == "off"
    session.mouse("click", *places[one, other])
    assert session.state.unit == other
    session.mouse("wheel", *places[one, other], 2)
    assert session.state.unit == order[2]


def test_a_picture_without_a_window_waits_for_all_of_it(session: Session, tmp_path: Path) -> None:
    session.press("1")
    (path,) = run_headless(session, 1, tmp_path / "shots")
    shown = session.view.relation
    assert all(partner.picture is not None for partner in shown.partners)
    np.testing.assert_array_equal(read_image(path), session.draw()[1])


@pytest.mark.slow
def test_what_is_read_later_is_waited_for_and_drawn(
    parts: Parts, session: Session, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, looked = threading.Event(), threading.Event()

    def read_after(event: threading.Event, read: Callable[..., Any]) -> Callable[..., Any]:
        def later(*args: Any) -> Any:
            assert event.wait(LONG)
            return read(*args)

        return later

    eventually(lambda: whole(session))
    later = read_after(drawn, correlations_module.read_moments)
    monkeypatch.setattr(correlations_module, "read_moments", later)
    monkeypatch.setattr(library_module, "read_image", read_after(looked, read_image))
    session.press("1")
    session.draw()
    drawn.set()
    eventually(lambda: not parts.correlations.busy)
    assert not parts.library.busy, "nobody has asked for the partners' pictures yet"
    assert session.reading
    assert not whole(session)
    looked.set()
    eventually(lambda: whole(session))
    number = session.draw()[0]
    partner = session.view.relation.partners[0]
    assert partner.picture is not None
    path = results / "max_im" / "conv_1" / f"conv_1_{partner.unit:04d}.jpg"
    write_image(path, np.full_like(read_image(path), 77))
    eventually(lambda: session.draw()[0] > number)
    picture = session.view.relation.partners[0].picture
    assert picture is not None
    assert np.abs(picture.astype(int) - 77).max() < 3


def test_a_strip_is_the_first_row_of_a_montage() -> None:
    montage = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(6, 6, 3)
    unit = UnitPictures(top=montage, columns=3)
    got = strip(unit)
    np.testing.assert_array_equal(got, montage[:2])
    assert strip(unit) is got
    wide = np.concatenate([montage, montage], axis=1)  # cells twice as wide as high
    np.testing.assert_array_equal(strip(UnitPictures(top=wide, columns=3)), wide[:3])
    assert strip(UnitPictures(optimized=(montage,))) is montage
    assert strip(UnitPictures()) is None
