"""The player: which source is read when, and that nothing a source does ends it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers.waiting import LONG, eventually

from deepvis_caffe.viewer.sources.player import Player
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source
from deepvis_caffe.viewer.state.request import Frame

PICTURE = np.zeros((1, 1, 3), np.uint8)


class Stills(Source):
    """Numbered pictures that stand still."""

    live = False

    def __init__(self, name: str = "still") -> None:
        self.name, self.at, self.reads, self.closed = name, 0, 0, 0

    def read(self, pause: Pause) -> Shot | None:
        self.reads += 1
        return Shot(PICTURE, f"{self.name} {self.at}")

    def step(self, count: int) -> None:
        self.at += count

    def close(self) -> None:
        self.closed += 1


class Stream(Source):
    """Gives what the test lets it give: a name, None with trouble, or an error."""

    live = True

    def __init__(self, name: str = "stream") -> None:
        self.name, self.given, self.closed = name, queue.Queue(), 0

    def read(self, pause: Pause) -> Shot | None:
        item = self.given.get(timeout=LONG)
        if isinstance(item, Exception):
            raise item
        self.trouble = "" if item else f"{self.name} is gone; trying again"
        return Shot(PICTURE, item) if item else None

    def close(self) -> None:
        self.closed += 1


class Frames:
    """Takes what the player puts."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Frame] = queue.Queue()

    def __call__(self, frame: Frame) -> None:
        self._queue.put(frame)

    def next(self) -> str:
        return self.frame().name

    def frame(self) -> Frame:
        return self._queue.get(timeout=LONG)

    @property
    def empty(self) -> bool:
        return self._queue.empty()


@pytest.fixture
def frames() -> Frames:
    return Frames()


@pytest.fixture
def play(frames: Frames) -> Iterator[Callable[..., Player]]:
    players: list[tuple[Player, tuple[Source, ...]]] = []

    def start(*sources: Source) -> Player:
        players.append((Player(sources, frames), sources))
        players[-1][0].start()
        return players[-1][0]

    yield start
    for player, sources in players:
        for source in sources:
            if isinstance(source, Stream):
                source.given.put("the end")
        assert player.close(LONG)


def test_a_still_is_put_once_and_again_when_it_is_stepped(
    play: Callable[..., Player], frames: Frames
) -> None:
    still = Stills()
    player = play(still)
    assert frames.next() == "still 0"
    player.step(3)
    assert frames.next() == "still 3"
    player.step(-1)
    assert frames.next() == "still 2"
    assert still.reads == 3
    assert frames.empty


def test_frames_have_numbers_of_their_own_and_know_whether_they_are_live(
    play: Callable[..., Player], frames: Frames
) -> None:
    stream = Stream()
    player = play(Stills(), stream)
    still = frames.frame()
    stream.given.put("s1")
    player.switch(1)
    live = frames.frame()
    assert (still.live, live.live) == (False, True)
    assert still.number < live.number


def test_a_stream_goes_on_by_itself_until_it_is_frozen(
    play: Callable[..., Player], frames: Frames
) -> None:
    stream = Stream()
    player = play(stream)
    for name in ("a", "b"):
        stream.given.put(name)
        assert frames.next() == name
    player.freeze(True)
    stream.given.put("c")  # one may have been on its way
    stream.given.put("d")
    player.step(0)  # reads once more, so that what comes now was read while frozen
    seen = [frames.next()]
    player.freeze(False)
    while seen[-1] != "d":
        seen.append(frames.next())
    assert seen == ["c", "d"]


def test_switching_goes_around_and_closes_what_is_left(
    play: Callable[..., Player], frames: Frames
) -> None:
    first, second = Stills("first"), Stills("second")
    player = play(first, second)
    assert frames.next() == "first 0"
    player.switch(1)
    assert frames.next() == "second 0"
    assert first.closed == 1
    player.switch(1)
    assert frames.next() == "first 0"
    assert second.closed == 1


def test_a_source_that_is_selected_joins_the_list(
    play: Callable[..., Player], frames: Frames
) -> None:
    player = play(Stills("one"))
    frames.next()
    player.select(Stills("late"))
    assert frames.next() == "late 0"
    player.switch(1)
    assert frames.next() == "one 0"


def test_a_source_that_is_dropped_gives_way_to_the_one_before(
    frames: Frames, play: Callable[..., Player]
) -> None:
    late = Stills("late")
    player = play(Stills("a"), Stills("b"), Stills("c"))
    frames.next()
    player.switch(1)
    assert frames.next() == "b 0"
    player.select(late)
    assert frames.next() == "late 0"
    player.select(late)  # again: what was before stays what it was
    assert frames.next() == "late 0"
    player.drop(late)
    assert frames.next() == "b 0"
    assert late.closed == 1
    player.drop(late)  # it is gone already
    player.switch(1)
    assert frames.next() == "c 0"
    player.switch(1)
    assert frames.next() == "a 0", "it is on the list no more"
    player.select(late)
    assert frames.next() == "late 0"
    player.switch(1)
    assert frames.next() == "a 0"
    player.switch(1)
    assert frames.next() == "b 0"
    player.drop(late)  # it is not read: nothing changes
    player.step(1)
    assert frames.next() == "b 1"


def test_without_a_camera_it_says_so_and_goes_on_with_what_comes_next(
    play: Callable[..., Player], frames: Frames
) -> None:
    camera = Stream("camera 0")
    camera.given.put(None)
    player = play(camera, Stills("photographs"))
    assert frames.next() == "photographs 0"
    status = player.status()
    assert (status.name, status.message) == (
        "photographs 0",
        "camera 0 is gone; instead: photographs",
    )
    assert status.trouble


def test_of_several_sources_that_give_way_each_is_said(
    play: Callable[..., Player], frames: Frames
) -> None:
    cameras = Stream("camera 0"), Stream("camera 1")
    for camera in cameras:
        camera.given.put(None)
    player = play(*cameras, Stills("photographs"))
    assert frames.next() == "photographs 0"
    assert player.status().message == "camera 0 is gone, camera 1 is gone; instead: photographs"
    player.step(1)
    assert frames.next() == "photographs 1"
    cameras[1].given.put(None)
    player.switch(-1)
    assert frames.next() == "photographs 1"
    assert player.status().message == "camera 1 is gone; instead: photographs"


def test_a_camera_that_is_pulled_out_is_waited_for(
    play: Callable[..., Player], frames: Frames
) -> None:
    camera = Stream("camera 0")
    player = play(camera, Stills("photographs"))
    camera.given.put("one")
    assert frames.next() == "one"
    for item in (None, None, "back"):
        camera.given.put(item)
    assert frames.next() == "back"
    assert player.status().message == ""


@pytest.mark.slow
def test_an_error_of_a_source_is_said_and_the_thread_lives(
    play: Callable[..., Player], frames: Frames
) -> None:
    stream = Stream()
    play(stream)
    stream.given.put("fine")
    assert frames.next() == "fine"
    stream.given.put(OSError("bus fell off"))
    stream.given.put("again")
    assert frames.next() == "again"


@pytest.mark.slow
def test_an_error_of_a_step_is_said_and_the_thread_lives(
    play: Callable[..., Player], frames: Frames
) -> None:
    class Stuck(Stills):
        def step(self, count: int) -> None:
            if count < 0:
                raise OSError("no way back")
            super().step(count)

    player = play(Stuck())
    assert frames.next() == "still 0"
    player.step(-1)
    eventually(lambda: "no way back" in player.status().message)
    player.step(1)
    assert frames.next() == "still 1"
    assert player.status().message == ""


def test_close_ends_the_thread_and_closes_every_source(
    play: Callable[..., Player], frames: Frames
) -> None:
    sources = Stills("one"), Stills("two")
    player = play(*sources)
    frames.next()
    assert player.close(LONG)
    assert all(source.closed for source in sources)


def test_a_source_that_hangs_is_left_behind() -> None:
    stream = Stream()
    player = Player([stream], lambda frame: None)
    player.start()
    assert player.close(0.05) is False
    stream.given.put("let go")


def test_commands_do_not_wait_for_a_source_that_hangs() -> None:
    stream, done = Stream(), threading.Event()
    player = Player([stream, Stills()], lambda frame: done.set())
    player.start()
    player.step(1)
    player.freeze(True)
    player.switch(1)  # nobody has answered yet
    assert player.status().name == "stream"
    stream.given.put("late")
    assert done.wait(LONG)
    assert player.close(LONG)


def test_where_no_source_has_anything_each_is_tried_once_a_command(
    frames: Frames, play: Callable[..., Player]
) -> None:
    reads: queue.Queue[str] = queue.Queue()

    class Broken(Stills):
        def read(self, pause: Pause) -> Shot | None:
            reads.put(self.name)
            self.trouble = f"{self.name} is broken"
            return None

    player = play(Broken("a"), Broken("b"))
    assert [reads.get(timeout=LONG) for _ in range(2)] == ["a", "b"]
    with pytest.raises(queue.Empty):
        reads.get(timeout=0.05)
    player.switch(1)
    assert [reads.get(timeout=LONG) for _ in range(2)] == ["a", "b"]
    with pytest.raises(queue.Empty):
        reads.get(timeout=0.05)
    eventually(lambda: player.status().stuck)
    assert player.status().trouble
    assert frames.empty
