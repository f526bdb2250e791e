"""The viewer whole, but for a window: a small net, pictures, keys and the mouse."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.small_model import LABELS, write_model
from helpers.waiting import eventually

import deepvis_caffe as dv
from deepvis_caffe.image import read_image, write_image
from deepvis_caffe.optimizer import ascent_params
from deepvis_caffe.settings import load_settings
from deepvis_caffe.viewer import headless as headless_module
from deepvis_caffe.viewer.compute.request import Request, Result
from deepvis_caffe.viewer.compute.synthesis import Making
from deepvis_caffe.viewer.compute.threads import Frame
from deepvis_caffe.viewer.disk import library as library_module
from deepvis_caffe.viewer.disk import thumbnails as patterns_module
from deepvis_caffe.viewer.headless import run_headless
from deepvis_caffe.viewer.panes.screen import Screen
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.open_source import parse_sources
from deepvis_caffe.viewer.state.actions import help_table
from deepvis_caffe.viewer.state.mouse import mouse_help
from deepvis_caffe.viewer.state.state import State

Start = Callable[..., Session]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(3):
        picture = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        write_image(tmp_path / "photos" / f"{number}.png", picture)
    return tmp_path / "photos"


@pytest.fixture
def start(engine: str, tmp_path: Path, photos: Path) -> Iterator[Start]:
    sessions: list[Session] = []

    def make(source: str | None = None, making: Making | None = None) -> Session:
        net = dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))
        sources = parse_sources(source or str(photos))
        session = Session(Parts(net, sources, tmp_path / "out", LABELS, making), 900, 700)
        session.start()
        sessions.append(session)
        return session

    yield make
    assert all(session.close() for session in sessions)


def settle(session: Session) -> np.ndarray:
    """Wait until what is shown answers what is asked; the picture."""

    def done() -> bool:
        session.draw()
        return session.settled

    eventually(done)
    return session.draw()[1]


def shown(session: Session) -> int | None:
    settle(session)
    return session.shown


def test_every_key_leaves_a_session_that_goes_on(start: Start) -> None:
    from deepvis_caffe.viewer.state.actions import BY_KEY

    session = start()
    settle(session)
    for key in [*BY_KEY, *BY_KEY]:
        if key not in ("q", "r", "p", "c", "C", "v"):
            session.press(key)
            settle(session)
            assert not session.trouble
    session.press("no such key")
    assert session.running
    session.press("q")
    assert not session.running


def test_pictures_are_drawn_only_when_something_changed(start: Start) -> None:
    session = start()
    settle(session)
    number, picture = eventually(
        lambda: (first := session.draw()) and first[0] == session.draw()[0] and first
    )
    session.press("T")
    later, boosted = session.draw()
    assert later == number + 1
    assert np.any(picture != boosted)


def test_a_drawing_that_is_stopped_shows_what_was_there(start: Start) -> None:
    session = start()
    settle(session)
    number, picture = eventually(
        lambda: (first := session.draw()) and first[0] == session.draw()[0] and first
    )
    session.press("T")
    stopped, same = session.draw(lambda: True)
    assert stopped == number
    assert same is picture
    later, boosted = session.draw(lambda: False)
    assert later == number + 1
    assert np.any(picture != boosted)


def test_what_is_drawn_is_the_screen_of_its_view(start: Start) -> None:
    session = start()
    session.press("o")
    session.press("b")
    picture = settle(session)
    plain = Screen().draw(session._view(), 900, 700)
    status = 700 - 30  # its time is another one
    np.testing.assert_array_equal(picture[:status], plain[:status])


def test_images_go_on_and_back_and_freezing_does_not_hinder(start: Start) -> None:
    session = start()
    first = shown(session)
    session.press("e")
    eventually(lambda: session.draw() and session.shown != first)
    assert session._result is not None
    assert session._result.frame.name == "1.png (2 of 3)"
    session.press("f")
    session.press("w")
    eventually(lambda: session.draw() and session._result.frame.name == "0.png (1 of 3)")


def test_the_mouse_selects_what_it_points_at(start: Start) -> None:
    session = start()
    settle(session)
    places = {
        (hit.kind, hit.index): (y, x)
        for y in range(0, 700, 6)
        for x in range(0, 900, 6)
        if (hit := session._screen.hit(session._view(), y, x)) is not None
    }
    session.mouse("click", *places["layer", 1])
    assert (session.state.layer, session.state.cursor) == (1, "layers")
    settle(session)
    session.mouse("click", *places["layer", 0])
    settle(session)
    session.mouse("click", *places["unit", 3])
    assert (session.state.unit, session.state.cursor) == (3, "units")
    before = settle(session)
    session.mouse("move", *places["unit", 1])
    assert np.any(settle(session) != before)  # a tip beside the mouse
    session.mouse("leave", 0, 0)
    assert session._view().hover is None
    session.mouse("wheel", *places["unit", 0], 1)
    assert session.state.unit == 4  # the last one: there is one row less than that


def test_a_picture_from_outside_becomes_the_input(start: Start) -> None:
    session = start()
    first = shown(session)
    pushed = np.full((24, 32, 3), 77, np.uint8)
    session.push(pushed, "webcam")
    eventually(lambda: session.draw() and session.shown != first and session.settled)
    assert session._result is not None
    assert np.abs(session._result.picture.astype(int) - 77).max() <= 1


def test_an_error_of_the_worker_is_said_and_goes_away(start: Start) -> None:
    session = start()
    settle(session)
    compute = session._parts.worker._compute

    def broken(frame: object, request: object) -> None:
        raise dv.DeepVisError("the fan is off")

    session._parts.worker._compute = broken  # type: ignore[assignment]
    session.press("o")
    eventually(lambda: session.trouble)
    status = session._view().status
    assert (status.message, status.trouble) == ("the fan is off", True)
    assert not status.busy, "nothing more is computed"
    assert session._view().failure == "the fan is off"
    gate = threading.Event()

    def slow(frame: Frame, request: Request) -> Result:
        assert gate.wait(20)
        return compute(frame, request)

    session._parts.worker._compute = slow
    session.press("o")
    assert session._view().failure == "the fan is off", "until the next good result"
    gate.set()
    settle(session)
    gate.clear()
    session.press("u")
    eventually(lambda: session._view().status.busy)
    assert session._view().failure == "", "a slow net has not failed"
    gate.set()
    session._parts.worker._compute = compute
    session.press("u")
    settle(session)
    assert session.trouble == ""
    assert session._view().status.message == ""


def test_screenshots_are_what_is_shown(start: Start, tmp_path: Path) -> None:
    session = start()
    picture = settle(session)
    session.press("p")
    path = tmp_path / "out" / "viewer" / "shot_0001.png"
    eventually(path.exists)
    saved = cv2.imread(str(path))[..., ::-1]
    status = 700 - 30
    np.testing.assert_array_equal(saved[:status], picture[:status])


def test_sizes_are_kept_within_limits(start: Start) -> None:
    session = start()
    for asked, given in (((10, 10), (320, 240)), ((9000, 400), (3840, 400)), ((640, 481),) * 2):
        session.resize(*asked)
        assert session.draw()[1].shape == (given[1], given[0], 3)


def test_x_says_where_no_images_can_be_made(start: Start) -> None:
    session = start()
    session.press("x")
    status = session._view().status
    assert "without the making of images" in status.message
    assert status.trouble


def test_under_the_help_the_wheel_turns_nothing(start: Start) -> None:
    session = start()
    session.press("h")
    settle(session)
    before = session.state
    session.mouse("wheel", 350, 450, 1)
    assert session.state == before
    session.press("h")
    session.draw()
    session.mouse("wheel", 350, 450, 1)
    assert session.state != before


def test_the_help_names_the_keys_and_the_mouse_and_a_click_goes_on_in_it(start: Start) -> None:
    session = start()
    titles = [title for title, _ in session._screen._help_groups]
    assert titles == [*(title for title, _ in help_table()), mouse_help()[0]]
    session.resize(320, 240)
    session.press("h")
    pages = session.state.help_pages
    assert pages > 2
    seen = []
    while session.state.help:
        seen.append(settle(session)[:210].copy())
        session.mouse("click", 100, 100)
    assert len(seen) == pages
    assert all(np.any(one != other) for one, other in itertools.pairwise(seen))
    session.press("h")
    session.resize(1280, 800)
    assert session.state.help_pages == 1


def test_a_unit_without_images_gets_some_while_nothing_else_happens(
    start: Start, tmp_path: Path
) -> None:
    making = Making(ascent_params(3, iterations=5), seeds=2, labels=LABELS)
    session = start(making=making)
    session.press("o")  # fc
    session.press("down")
    session.press("right")
    folder = tmp_path / "out" / "regularized_opt" / "fc"
    eventually((folder / "fc_0001_montage.jpg").exists)
    eventually(lambda: session.draw() and len(session._view().unit.optimized) == 2)
    plain = dv.optimize(
        dv.load_net(load_settings(tmp_path / "settings_local.py", {"engine": "torch"})),
        "fc",
        [1],
        seeds=range(2),
        preset=ascent_params(3, iterations=5),
    )
    for seed, result in enumerate(plain):
        made = cv2.imread(str(folder / f"fc_0001_{seed}_best_Xpm.png"))[..., ::-1].astype(int)
        assert np.abs(made - result.picture()).max() <= 2  # engines round differently


def test_x_stops_the_making(start: Start, tmp_path: Path) -> None:
    making = Making(ascent_params(3, iterations=5), seeds=1, labels=LABELS)
    session = start(making=making)
    session.press("x")
    session.press("o")
    settle(session)
    assert session.state == replace(session.state, synthesis=False)
    assert session._view().status.message == "units without images get none"
    session.press("e")
    settle(session)
    assert not (tmp_path / "out" / "regularized_opt" / "fc").exists()


def test_headless_goes_through_the_images(start: Start, tmp_path: Path) -> None:
    session = start()
    written = run_headless(session, 3, tmp_path / "shots")
    assert [path.name for path in written] == [f"frame_000{n}.png" for n in (1, 2, 3)]
    pictures = [cv2.imread(str(path)) for path in written]
    assert {picture.shape for picture in pictures} == {(700, 900, 3)}
    assert np.any(pictures[0] != pictures[1])
    assert np.any(pictures[1] != pictures[2])


def test_headless_waits_for_the_pictures_on_disk(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / "regularized_opt" / "fc"
    for unit in range(4):
        write_image(folder / f"fc_{unit:04d}_montage.jpg", np.full((20, 20, 3), 200, np.uint8))

    def slowly(path: Path) -> np.ndarray:
        time.sleep(0.2)
        return read_image(path)

    monkeypatch.setattr(library_module, "read_image", slowly)
    monkeypatch.setattr(patterns_module, "read_image", slowly)
    session = start()
    session.press("o")
    session.press("s")
    run_headless(session, 1, tmp_path / "shots")
    view = session._view()
    assert sorted(view.patterns) == [0, 1, 2, 3]
    assert len(view.unit.optimized) == 1


def test_headless_says_what_the_worker_says(start: Start, tmp_path: Path) -> None:
    session = start()

    def broken(frame: object, request: object) -> None:
        raise dv.DeepVisError("the fan is off")

    session._parts.worker._compute = broken  # type: ignore[assignment]
    session.press("o")
    with pytest.raises(dv.DeepVisError, match="the fan is off"):
        run_headless(session, 2, tmp_path / "shots")


def test_headless_says_at_once_that_there_is_no_picture(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headless_module, "LONGEST", 20.0)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(dv.DeepVisError, match=r"cannot read the image .*broken\.png"):
        run_headless(start(str(tmp_path / "broken.png")), 1, tmp_path / "shots")
    one = start(f"{tmp_path / 'broken.png'},{tmp_path / 'photos'}")
    assert len(run_headless(one, 1, tmp_path / "shots")) == 1, "the next source has some"


def test_a_session_that_never_started_closes(engine: str, tmp_path: Path, photos: Path) -> None:
    net = dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))
    session = Session(Parts(net, parse_sources(str(photos)), tmp_path / "out"))
    assert session.state == State(aspect=session.state.aspect)
    assert session.close()


def test_a_stream_that_never_rests_is_settled_all_the_same(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (32, 24))
    for level in range(0, 250, 5):
        writer.write(np.full((24, 32, 3), level, np.uint8))
    writer.release()
    session = start(str(path))
    written = run_headless(session, 3, tmp_path / "shots")
    session.press("o")
    settle(session)
    assert len({cv2.imread(str(path)).tobytes() for path in written}) == 3
    assert session.live
