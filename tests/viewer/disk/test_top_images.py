"""What `deepvis top-images` writes, in the viewer: seen, told of, and clicked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.image_sets import slow_pass, slow_top
from helpers.scanned import IMAGES, TOP, UNIT, showing_unit, small_parts, write_results
from helpers.waiting import eventually

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import read_image
from deepvis_caffe.results.records import TopImage, read_top_record
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.images import top_source
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.units import UnitPictures


@pytest.fixture
def results(net: Net, images: Path, tmp_path: Path) -> Path:
    return write_results(net, images, tmp_path / "out", [UNIT])


@pytest.fixture
def session(results: Path, images: Path, tmp_path: Path, lasting: None) -> Iterator[Session]:
    with showing_unit(small_parts(tmp_path, images, results)) as made:
        yield made


def pictures(session: Session) -> UnitPictures:
    """Of the selected unit, once they are read."""

    def read() -> UnitPictures | None:
        session.draw()
        unit = session.view.unit
        return unit if unit.found else None

    return eventually(read)


def places(session: Session) -> dict[int, tuple[int, int]]:
    """A pixel of each top image on the screen."""
    found: dict[int, tuple[int, int]] = {}
    for y in range(0, 900, 5):
        for x in range(0, 1100, 5):
            hit = session.hit(y, x)
            if hit is not None and (hit.kind, hit.value) == ("picture", "top"):
                found.setdefault(hit.index, (y, x))
    return found


def open_enlarged(session: Session) -> None:
    """Click on what makes the enlarged top image the input."""
    session.draw()
    place = next(
        (y, x)
        for y in range(0, 900, 5)
        for x in range(0, 1100, 5)
        if (hit := session.hit(y, x)) is not None and hit.kind == "top"
    )
    session.mouse("click", *place)


@pytest.mark.slow
def test_a_top_image_that_is_enlarged_can_be_made_the_input_whole(
    session: Session, net: Net, images: Path
) -> None:
    assert session.state.unit == UNIT
    unit = pictures(session)
    expected = slow_top(*slow_pass(net, images, "conv/1"), TOP)[UNIT]
    assert [image.name for image in unit.found] == [name for _, name, _ in expected]
    assert [image.value for image in unit.found] == pytest.approx([one[0] for one in expected])
    at = places(session)
    assert sorted(at) == list(range(TOP))
    assert at[1][1] > at[0][1], "beside each other"
    for index in (3, 1):
        before = session.state
        session.mouse("click", *at[index])
        assert (session.state.zoom, session.state.zoom_index) == ("top", index)
        session.draw()
        if index == 3:
            session.press("enter")
        else:
            open_enlarged(session)
        assert session.state == replace(before, cursor="units")
        assert (session.state.layer, session.state.unit) == (before.layer, before.unit)
        whole = read_image(images / expected[index][1])

        def shown(whole: np.ndarray = whole) -> bool:
            session.draw()
            result = session.view.result
            here = result is not None and np.array_equal(result.frame.picture, whole)
            return here and session.settled

        eventually(shown)
        value = session.view.result.maps[UNIT].max()
        assert value == pytest.approx(expected[index][0], rel=1e-4), "its activation is on record"
    # One clicked image at a time is a source: after the folder comes the last one again.
    clicked = session.view.status.source
    session.press("c")
    eventually(lambda: session.view.status.source != clicked)
    session.press("c")
    eventually(lambda: session.view.status.source == clicked)


@pytest.mark.slow
def test_an_image_that_is_gone_is_said_and_the_input_stays(session: Session, images: Path) -> None:
    unit = pictures(session)
    eventually(lambda: session.draw() and session.settled)
    before = session.shown
    (images / unit.found[0].name).unlink()
    session.mouse("click", *places(session)[0])
    session.press("enter")
    status = session.view.status
    assert f"{unit.found[0].name} is gone" in status.message
    assert status.trouble
    session.draw()
    assert session.shown == before


@pytest.mark.slow
def test_tips_name_the_image_and_its_activation(session: Session) -> None:
    unit = pictures(session)
    hit = session.hit(*places(session)[1])
    assert hit is not None
    assert unit.found[1].name in hit.tip
    assert f"{unit.found[1].value:.2f}" in hit.tip


def test_what_cannot_be_opened_says_why() -> None:
    with pytest.raises(ImageError, match="has no record of its images"):
        top_source((), 0)
    with pytest.raises(ImageError, match="frame_00000007 was not an image file of its own"):
        top_source([TopImage("frame_00000007", 1.0)], 0)
    with pytest.raises(ImageError, match="no top image 2: the unit has 1"):
        top_source([TopImage("a", 1.0)], 1)


@pytest.mark.parametrize(
    "text", ["[]", "no", '{"layer": 3, "images": []}', '{"layer": "a", "images": [{"name": "x"}]}']
)
def test_a_record_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_top_record(tmp_path / "a.jpg") is None
    assert read_top_record(tmp_path / "b.jpg") is None


@pytest.mark.slow
def test_statistics_are_those_of_a_slow_loop(
    session: Session, net: Net, images: Path, results: Path
) -> None:
    unit = pictures(session)
    _, values = slow_pass(net, images, "conv/1")
    own = values[:, UNIT].astype(float)
    found = unit.statistics
    assert found is not None
    assert found.images == IMAGES
    assert found.mean == pytest.approx(own.mean(), rel=1e-4)
    assert found.deviation == pytest.approx(own.std(), rel=1e-4)
    assert found.zeros == pytest.approx((own == 0).mean())
    assert found.active == (own.max(axis=1) > 0).mean()
    assert not found.dead
    strongest = np.sort(own.max(axis=1))
    for count, low, high in zip(
        found.bars.counts, found.bars.edges[:-1], found.bars.edges[1:], strict=True
    ):
        assert count == ((strongest >= low) & (strongest < high)).sum()
    assert sum(found.bars.counts) == IMAGES
    flat = values.transpose(1, 0, 2).reshape(5, -1).astype(float)
    with np.errstate(invalid="ignore"):
        row = np.corrcoef(flat)[UNIT]
    others = [k for k in np.argsort(-np.abs(row)) if k != UNIT and np.isfinite(row[k])]
    assert [k for k, _ in found.alike] == others[:3]
    assert [r for _, r in found.alike] == pytest.approx([row[k] for k in others[:3]], abs=1e-4)
    hits: list[Hit | None] = [session.hit(y, x) for y in range(0, 900, 3) for x in (1090, 1000)]
    assert any(hit and "whose maximum is" in hit.tip for hit in hits)
    # Another scan replaces it, a damaged one is none.
    (results / "dataset" / "scan.npz").write_bytes(b"no scan")
    eventually(lambda: session.draw() and session.view.unit.statistics is None)
