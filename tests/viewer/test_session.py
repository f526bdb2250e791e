"""The viewer whole, but for a window: a small net, pictures, keys and the mouse."""

from __future__ import annotations

import itertools
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.small_model import write_model
from helpers.waiting import LONG, eventually
from typer.testing import CliRunner

import deepvis_caffe as dv
from deepvis_caffe.cli.main import app
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import encode_png, read_image, write_image
from deepvis_caffe.optimizer import ascent_params
from deepvis_caffe.settings import load_settings
from deepvis_caffe.viewer import headless as headless_module
from deepvis_caffe.viewer import session as session_module
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.compute.synthesis import Synthesis, SynthesisParams
from deepvis_caffe.viewer.disk import library as library_module
from deepvis_caffe.viewer.disk import thumbnails as thumbnails_module
from deepvis_caffe.viewer.headless import run_headless
from deepvis_caffe.viewer.panes.screen import Screen
from deepvis_caffe.viewer.panes.status import left_pieces
from deepvis_caffe.viewer.panes.words import pending
from deepvis_caffe.viewer.parts import Parts, scene_of
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.open_source import parse_sources
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source
from deepvis_caffe.viewer.state.actions import ACTIONS, help_table
from deepvis_caffe.viewer.state.mouse import mouse_help
from deepvis_caffe.viewer.state.request import Frame, Request, Result, request_of
from deepvis_caffe.viewer.state.state import State

Start = Callable[..., Session]
Computing = Callable[[Frame, Request], Result]
STATUS = 30  # rows at the bottom that say how long things took


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(3):
        picture = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        write_image(tmp_path / "photos" / f"{number}.png", picture)
    return tmp_path / "photos"


class Replaceable:
    """Runs the net, until the test puts something in its place."""

    def __init__(self) -> None:
        self.now: Computing | None = None

    def __call__(self, frame: Frame, request: Request) -> Result:
        assert self.now is not None
        return self.now(frame, request)


@pytest.fixture
def start(engine: str, tmp_path: Path, photos: Path, lasting: None) -> Iterator[Start]:
    sessions: list[Session] = []

    def make(
        source: str | Source | None = None,
        synthesis: SynthesisParams | None = None,
        compute: Replaceable | None = None,
    ) -> Session:
        net = dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))
        if compute is not None:
            compute.now = Compute(net, scene_of(net))
        named = not isinstance(source, Source)
        sources = parse_sources(source or str(photos)) if named else [source]
        parts = Parts(net, sources, tmp_path / "out", synthesis, compute)
        session = Session(parts, 900, 700)
        session.start()
        sessions.append(session)
        return session

    yield make
    assert all(session.close(LONG) for session in sessions)


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


@pytest.mark.slow
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


def test_it_says_that_the_net_is_being_loaded(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, loaded = threading.Event(), Net.loaded

    def slow(net: Net) -> Net:
        assert go.wait(LONG)
        return loaded(net)

    monkeypatch.setattr(Net, "loaded", slow)
    session = start()
    session.draw()
    assert pending(session.view, "conv") == "loading the net ..."
    go.set()
    settle(session)
    assert not session.view.loading


def test_a_key_whose_effect_is_not_to_be_seen_says_why(start: Start, photos: Path) -> None:
    session = start(str(photos / "0.png"))
    at_an_end = ("left", "up", "fast_left", "fast_up", "previous_layer", "first_layer", "reset")
    elsewhere = ("screenshot", "record", "quit", "timing", "next_image", "previous_image")
    for action in ACTIONS:
        if action.name in at_an_end + elsewhere:
            continue
        session.press("esc")
        session.show_message("")
        before = settle(session)[:-STATUS], left_pieces(session.view)
        session.act(action.name)
        eventually(lambda: settle(session) is not None and not session.reading)
        now = settle(session)[:-STATUS], left_pieces(session.view)
        assert (before[0] != now[0]).any() or before[1] != now[1], action.name
        if action.name in ("search", "help"):
            session.act(action.name)
        session.press("esc")


def test_enter_goes_down_to_what_raises_a_unit_most_and_backspace_back_up(start: Start) -> None:
    session = start()
    settle(session)
    for key in ("end", "-", "enter"):  # prob, and the nearest layers
        session.press(key)
    assert session.state.shows_drivers
    assert session.state.layer == 2
    refs = [(2, 0)]
    for _ in range(2):
        settle(session)
        result = session.view.result
        assert result is not None
        assert result.drivers is not None
        refs.append(result.drivers.raising[0][1])
        session.press("enter")
        assert (session.state.layer, session.state.unit) == refs[-1]
    assert [layer for layer, _ in refs] == [2, 1, 0]
    assert session.state.trail == tuple(refs[:-1])
    settle(session)
    session.press("enter")  # below is the image
    assert (session.state.layer, session.state.unit) == refs[-1]
    for ref in refs[-2::-1]:
        session.press("backspace")
        assert (session.state.layer, session.state.unit) == ref
        settle(session)
    assert session.state.trail == ()


def test_a_click_on_a_driver_goes_down_to_it_and_its_picture_is_read(
    start: Start, tmp_path: Path
) -> None:
    session = start()
    settle(session)
    for key in ("o", "4"):  # fc
        session.press(key)
    settle(session)
    result = session.view.result
    assert result is not None
    assert result.drivers is not None
    (layer, unit) = result.drivers.raising[0][1]
    folder = tmp_path / "out" / "max_im" / "conv_1"
    write_image(folder / f"conv_1_{unit:04d}.jpg", np.full((30, 30, 3), 200, np.uint8))
    eventually(lambda: (session.draw(), (layer, unit) in session.view.driver_pictures.top)[1])
    width, height = 900, 700
    hits = {
        (hit.index, hit.value): (y, x)
        for y, x in itertools.product(range(0, height, 9), range(0, width, 9))
        if (hit := session.hit(y, x)) is not None and hit.kind == "driver"
    }
    session.mouse("click", *hits[unit, "conv/1"])
    assert (session.state.layer, session.state.unit, session.state.trail) == (0, unit, ((1, 0),))


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
    plain = Screen().draw(session.view, 900, 700)
    np.testing.assert_array_equal(picture[:-STATUS], plain[:-STATUS])


def test_images_go_on_and_back_and_freezing_does_not_hinder(start: Start) -> None:
    session = start()
    first = shown(session)
    session.press("e")
    eventually(lambda: session.draw() and session.shown != first)
    assert session.view.result is not None
    assert session.view.result.frame.name == "1.png (2 of 3)"
    session.press("f")
    session.press("w")
    eventually(lambda: session.draw() and session.view.result.frame.name == "0.png (1 of 3)")


def test_the_mouse_selects_what_it_points_at(start: Start) -> None:
    session = start()
    settle(session)
    places = {
        (hit.kind, hit.index): (y, x)
        for y in range(0, 700, 6)
        for x in range(0, 900, 6)
        if (hit := session.hit(y, x)) is not None
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
    assert session.view.hover is None
    session.mouse("wheel", *places["unit", 0], 1)
    assert session.state.unit == 4  # the last one: there is one row less than that


def test_a_picture_fills_the_window_until_any_key_or_click(start: Start) -> None:
    session = start()
    settle(session)
    before = session.state
    for key in ("left", "q", "esc", "s", "tab"):
        session.press("z")
        session.draw()
        assert session.state == replace(before, zoom="unit")
        session.press(key)
        assert session.state == before, f"{key} goes back, and does nothing else"
        assert session.running
    seen = []
    for _ in range(3):
        session.press("z")
        seen.append(session.state.zoom)
    assert seen == ["unit", "input", "off"]
    session.draw()
    places = {
        hit.value: (y, x)
        for y in range(0, 700, 6)
        for x in range(0, 900, 6)
        if (hit := session.hit(y, x)) is not None and hit.kind == "picture"
    }
    session.mouse("click", *places["input"])
    picture = settle(session)
    assert session.state == replace(before, zoom="input")
    np.testing.assert_array_equal(
        picture[:-STATUS], Screen().draw(session.view, 900, 700)[:-STATUS]
    )
    session.mouse("click", 300, 300)
    assert session.state == before


def test_a_unit_is_found_by_what_is_typed(start: Start) -> None:
    session = start()
    settle(session)
    before = session.state
    assert session.scene.labels, "the small net has some"
    label = session.scene.labels[2]
    session.press("/")
    for letter in label[:-1]:
        session.press("space" if letter == " " else letter)
    assert session.state == replace(before, search=label[:-1])
    assert session.running, "letters are no actions"
    picture = settle(session)
    np.testing.assert_array_equal(
        picture[:-STATUS], Screen().draw(session.view, 900, 700)[:-STATUS]
    )
    session.mouse("wheel", 350, 450, 1)
    session.press("enter")
    entry = session.scene.entries[session.state.layer]
    assert (entry.units, session.state.unit) == (len(session.scene.labels), 2)
    session.press("/")
    session.mouse("click", 690, 5)
    assert session.state.search is None


def test_what_is_enlarged_can_be_saved(start: Start, tmp_path: Path) -> None:
    session = start()
    session.press("z")
    picture = settle(session)
    session.press("p")
    assert session.state.zoom == "unit"
    path = tmp_path / "out" / "viewer" / "shot_0001.png"
    eventually(path.exists)
    np.testing.assert_array_equal(read_image(path)[:-STATUS], picture[:-STATUS])


def test_a_picture_from_outside_becomes_the_input(start: Start) -> None:
    session = start()
    first = shown(session)
    pushed = np.full((24, 32, 3), 77, np.uint8)
    session.push(pushed, "webcam")
    eventually(lambda: session.draw() and session.shown != first and session.settled)
    assert session.view.result is not None
    assert np.abs(session.view.result.picture.astype(int) - 77).max() <= 1


def test_an_image_file_becomes_the_input_until_another_source_is_chosen(
    start: Start, tmp_path: Path
) -> None:
    session = start()
    first = shown(session)
    noisy = np.random.default_rng(5).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    path = write_image(tmp_path / "own.png", noisy)
    session.open_image(session.read_image(path.read_bytes()), "own.png")
    eventually(lambda: session.draw() and session.shown != first and session.settled)
    result = session.view.result
    assert result is not None
    np.testing.assert_array_equal(result.frame.picture, noisy)
    assert (result.frame.name, result.frame.live) == ("own.png", False)
    last = session.shown
    session.press("c")
    eventually(lambda: session.draw() and session.shown != last and session.settled)
    assert session.view.status.source == "0.png (1 of 3)"
    with pytest.raises(dv.ImageError, match="cannot read the image"):
        session.read_image(b"no image")


def test_an_image_file_has_the_limit_of_all_images(engine: str, tmp_path: Path) -> None:
    net = dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))
    sources = parse_sources("chelsea")
    session = Session(Parts(net, sources, tmp_path / "out", megapixels=0.01))
    fits, large = (np.zeros((side, 100, 3), np.uint8) for side in (100, 101))
    assert session.read_image(encode_png(fits)).shape == (100, 100, 3)
    with pytest.raises(dv.ImageError, match="too large: 101 x 100 pixels"):
        session.read_image(encode_png(large))
    assert session.close(LONG)


def test_q_would_quit_only_where_it_is_not_typed_or_goes_back(start: Start) -> None:
    session = start()
    assert session.would_quit("q")
    assert not session.would_quit("z")
    assert not session.would_quit("no such key")
    session.press("z")
    assert not session.would_quit("q")
    session.press("q")
    session.press("/")
    assert not session.would_quit("q")
    session.press("q")
    assert session.state.search == "q"
    assert session.running


def test_an_error_of_the_worker_is_said_and_goes_away(start: Start) -> None:
    computing = Replaceable()
    session = start(compute=computing)
    settle(session)
    compute = computing.now
    assert compute is not None

    def broken(frame: Frame, request: Request) -> Result:
        raise dv.DeepVisError("the fan is off")

    computing.now = broken
    session.press("o")
    eventually(lambda: session.trouble)
    status = session.view.status
    assert (status.message, status.trouble) == ("the fan is off", True)
    assert not status.busy, "nothing more is computed"
    assert session.view.failure == "the fan is off"
    gate = threading.Event()

    def slow(frame: Frame, request: Request) -> Result:
        assert gate.wait(LONG)
        return compute(frame, request)

    computing.now = slow
    session.press("o")
    assert session.view.failure == "the fan is off", "until the next good result"
    gate.set()
    settle(session)
    gate.clear()
    session.press("u")
    eventually(lambda: session.view.status.busy)
    assert session.view.failure == "", "a slow net has not failed"
    gate.set()
    computing.now = compute
    session.press("u")
    settle(session)
    assert session.trouble == ""
    assert session.view.status.message == ""


def test_screenshots_are_what_is_shown(start: Start, tmp_path: Path) -> None:
    session = start()
    picture = settle(session)
    session.press("p")
    path = tmp_path / "out" / "viewer" / "shot_0001.png"
    eventually(path.exists)
    eventually(lambda: session.saved == (path,))
    saved = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(saved[:-STATUS], picture[:-STATUS])


def test_sizes_are_kept_within_limits(start: Start) -> None:
    session = start()
    for asked, given in (((10, 10), (320, 240)), ((9000, 400), (3840, 400)), ((640, 481),) * 2):
        session.resize(*asked)
        assert session.draw()[1].shape == (given[1], given[0], 3)


def test_x_says_where_no_images_can_be_made(start: Start) -> None:
    session = start()
    session.press("x")
    status = session.view.status
    assert "--no-synthesis" in status.message
    assert status.trouble


def test_a_method_of_many_passes_comes_after_the_frame(
    start: Start, engine: str, tmp_path: Path
) -> None:
    session = start()
    for key in ("end", "u", "7", "7"):  # to fc; gradient x input, integrated gradients
        session.press(key)
    settle(session)
    view = session.view
    assert view.result is not None
    assert not view.result.later
    net = dv.load_net(load_settings(write_model(tmp_path), {"engine": engine}))
    photo = view.result.frame.picture
    expected = dv.attribute(net, photo, "fc", 0, "integrated_gradients").map
    np.testing.assert_allclose(view.attribution, expected, atol=1e-5 * np.abs(expected).max())
    left_out = "LRP-epsilon, LRP-z+ left out: layer-wise relevance propagation needs the torch en"
    assert (left_out in view.status.message) == (engine == "pycaffe")
    methods = {view.state.back}
    for _ in range(8):
        session.press("7")
        methods.add(session.state.back)
    assert ("lrp_z_plus" in methods) == (engine == "torch")


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
    session.press("h")
    picture = settle(session)
    help_only = Screen([*help_table(), mouse_help()]).draw(session.view, 900, 700)
    np.testing.assert_array_equal(picture[:-STATUS], help_only[:-STATUS])
    session.press("h")
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
    params = SynthesisParams(ascent_params(3, iterations=5), seeds=2)
    session = start(synthesis=params)
    session.press("o")  # fc
    session.press("down")
    session.press("right")
    folder = tmp_path / "out" / "regularized_opt" / "fc"
    eventually((folder / "fc_0001_montage.jpg").exists)
    eventually(lambda: session.draw() and len(session.view.unit.optimized) == 2)
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


def test_s_fills_the_grid(start: Start, tmp_path: Path) -> None:
    session = start(synthesis=SynthesisParams(ascent_params(3, iterations=5), seeds=1))
    for key in ("o", "down", "right", "s"):  # fc
        session.press(key)
    eventually(lambda: session.draw() and len(session.view.optimized) == 4)
    names = {f"fc_{unit:04d}_montage.jpg" for unit in range(4)}
    folder = tmp_path / "out" / "regularized_opt" / "fc"
    eventually(lambda: names <= {path.name for path in folder.iterdir()})


def test_recipes_are_chosen(start: Start, tmp_path: Path) -> None:
    """The best that each unit has, until another one is chosen; then that one, where there is."""
    folder = tmp_path / "out" / "regularized_opt" / "fc"
    levels = {"fc_0000": 50, "fc_0001": 100, "best/fc_0001": 200}
    for name, level in levels.items():
        path = folder / f"{name}_montage.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((20, 20, 3), level, np.uint8))
    session = start()

    def shown() -> tuple[list[int], str, list[int]]:
        """The level of the unit's picture, its recipe, and the levels of all units."""
        session.draw()
        unit = session.view.unit
        levels = [session.view.optimized[k] for k in sorted(session.view.optimized)]
        mean = lambda picture: round(float(picture.mean()), -1)  # noqa: E731
        return [*map(mean, unit.optimized)], unit.recipe, [*map(mean, levels)]

    for key in ("o", "down", "right", "s"):  # fc, unit 1
        session.press(key)
    eventually(lambda: shown() == ([200], "best", [50, 200]))
    session.press(".")
    eventually(lambda: shown() == ([100], "toolbox", [50, 100]))
    assert session.view.status.message.startswith("optimized images by toolbox (2 of 2 recipes)")
    session.press("S")
    eventually(lambda: shown() == ([200], "best", [50, 200]))
    assert session.state.recipe == ""


def test_the_recipe_is_turned_as_soon_as_it_is_known_which_there_are(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "regularized_opt" / "fc"
    for name in ("fc_0000", "best/fc_0000"):
        path = folder / f"{name}_montage.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((20, 20, 3), 100, np.uint8))
    session = start()
    for key in ("9", "o", "."):  # nothing that is shown asks for the unit's pictures
        session.press(key)
    run_headless(session, 1, tmp_path / "shots")
    assert session.state.recipe == "toolbox"


def test_what_is_said_of_no_other_recipe_makes_one(start: Start, tmp_path: Path) -> None:
    session = start()
    model = ["--settings", str(tmp_path / "settings_local.py"), "--results", str(tmp_path / "out")]

    def known() -> tuple[str, ...]:
        return session._parts.library.recipes(session.scene.entries[0]) or ()

    def after_key(beginning: str) -> str:
        session.press(".")
        eventually(lambda: session.draw() and session.view.status.message.startswith(beginning))
        return session.view.status.message

    for count, said in enumerate(("conv/1 has no", "all optimized images of conv/1 are by best-")):
        program, *words = shlex.split(after_key(said).rpartition(": ")[2])
        assert program == "deepvis"
        few = ["--seeds", "1", "--iterations", str(3 + count)]
        assert CliRunner().invoke(app, [*words, *few, *model]).exit_code == 0
        eventually(lambda n=count: session.draw() and len(known()) == n + 1)
    after_key("optimized images by best-")
    assert "(2 of 2 recipes)" in session.view.status.message


def test_x_stops_the_making(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SynthesisParams(ascent_params(3, iterations=5), seeds=1)
    session = start(synthesis=params)
    session.press("x")
    session.press("o")
    settle(session)
    assert session.state == replace(session.state, synthesis=False)
    assert session.view.status.message == "optimizing missing images: off"
    idle, rested = Synthesis.__call__, threading.Event()

    def watched(synthesis: Synthesis, between: Callable[[], bool]) -> bool:
        worked = idle(synthesis, between)
        if not worked:
            rested.set()
        return worked

    monkeypatch.setattr(Synthesis, "__call__", watched)
    assert rested.wait(LONG), "there is nothing to be made"
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
    session = start()
    session.press("o")
    settle(session)
    drawn: list[int] = []

    def draw() -> tuple[int, np.ndarray]:
        number, picture = Session.draw(session)
        drawn.append(number)
        return number, picture

    def read_behind(path: Path) -> np.ndarray:
        before = len(drawn)
        eventually(lambda: len(drawn) > before)
        return read_image(path)

    monkeypatch.setattr(session, "draw", draw)
    monkeypatch.setattr(library_module, "read_image", read_behind)
    monkeypatch.setattr(thumbnails_module, "read_image", read_behind)
    session.press("s")
    (path,) = run_headless(session, 1, tmp_path / "shots")
    view = session.view
    assert sorted(view.optimized) == [0, 1, 2, 3]
    assert len(view.unit.optimized) == 1
    np.testing.assert_array_equal(read_image(path), session.draw()[1])


def test_headless_says_what_the_worker_says(start: Start, tmp_path: Path) -> None:
    computing = Replaceable()
    session = start(compute=computing)

    def broken(frame: Frame, request: Request) -> Result:
        raise dv.DeepVisError("the fan is off")

    computing.now = broken
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
    assert session.close(LONG)


class Noise(Source):
    """Another picture each time, as fast as they are taken."""

    live = True
    name = "noise"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def read(self, pause: Pause) -> Shot:
        pause(0.001)  # leave others some time, too
        return Shot(self._rng.integers(0, 256, (24, 32, 3)).astype(np.uint8), self.name)


def test_a_stream_that_never_rests_is_settled_all_the_same(start: Start, tmp_path: Path) -> None:
    session = start(Noise())
    written = run_headless(session, 3, tmp_path / "shots")
    session.press("o")
    settle(session)
    assert len({read_image(path)[:-STATUS].tobytes() for path in written}) == 3
    assert session.live


class Timed(Session):
    """A session whose stream has a new result just before those drawings that the test names."""

    def __init__(self, parts: Parts, compute: Computing, fresh: Iterable[bool]) -> None:
        super().__init__(parts, 320, 240)
        self._timed, self._compute = parts, compute
        self._noise, self._fresh, self._frame_numbers = Noise(), iter(fresh), itertools.count(1)
        parts.library.start()  # for what was requested at once; nothing more is read from disk
        self.state = replace(self.state, unit_images=False)

    def draw(self, stop: Callable[[], bool] = lambda: False) -> tuple[int, np.ndarray]:
        if next(self._fresh):
            picture = self._noise.read(lambda seconds: None).picture
            frame = Frame(picture, next(self._frame_numbers), "noise", live=True)
            self._timed.frames.put(frame)
            result = self._compute(frame, request_of(self.state, self.scene))
            self._timed.results.put(result)
        drawn = super().draw(stop)
        self.wake.set()
        return drawn


def test_the_time_of_a_streams_passes_changes_twice_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = dv.load_net(load_settings(write_model(tmp_path), {"engine": "torch"}))
    parts = Parts(net, [Noise()], tmp_path / "out")
    session, compute = Session(parts, 320, 240), Compute(net, parts.scene)
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(session_module, "time", clock)

    def shown(number: int, live: bool) -> float:
        frame = Frame(Noise().read(lambda seconds: None).picture, number, "noise", live=live)
        result = compute(frame, request_of(session.state, session.scene))
        parts.frames.put(frame)
        parts.results.put(replace(result, seconds=float(number)))
        session.draw()
        return session.view.status.seconds

    times = []
    for number, now[0] in enumerate([100.0, 100.1, 100.4, 100.6, 101.0, 101.2], 1):
        times.append(shown(number, live=True))
    assert times == [1, 1, 1, 4, 4, 6]
    assert shown(7, live=False) == 7, "a still image's own"
    assert session.close(LONG)


@pytest.mark.slow
def test_headless_writes_no_frame_twice_whenever_the_next_one_comes(tmp_path: Path) -> None:
    net = dv.load_net(load_settings(write_model(tmp_path), {"engine": "torch"}))
    for fresh in itertools.product((True, False), repeat=5):
        parts = Parts(net, [Noise()], tmp_path / "out")
        compute = Compute(net, parts.scene)
        session = Timed(parts, compute, itertools.chain(fresh, itertools.repeat(True)))
        written = run_headless(session, 3, tmp_path / "shots")
        pictures = {read_image(path)[:-STATUS].tobytes() for path in written}
        assert len(pictures) == 3, fresh
        assert session.close(LONG)
