"""The viewer without a window: keys and mouse in, pictures out. Every front end drives this one.

Called from one thread. Nothing in it waits for the net, a camera or a disk: those have threads of
their own, and what they find is taken when the next picture is drawn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.compute.request import Result, request_of
from deepvis_caffe.viewer.compute.threads import Frame, Newest
from deepvis_caffe.viewer.disk.recorder import Recorder
from deepvis_caffe.viewer.disk.relations import Relations
from deepvis_caffe.viewer.panes.layers import first_row
from deepvis_caffe.viewer.panes.layout import grid_aspect, within_limits
from deepvis_caffe.viewer.panes.screen import Screen
from deepvis_caffe.viewer.sources.images import top_source
from deepvis_caffe.viewer.sources.source import Source
from deepvis_caffe.viewer.state.actions import BY_KEY, BY_NAME, help_table
from deepvis_caffe.viewer.state.mouse import MouseKind, click, mouse_help, wheel
from deepvis_caffe.viewer.state.state import State
from deepvis_caffe.viewer.state.view import Hover, Status, UnitPictures, View

if TYPE_CHECKING:
    from deepvis_caffe.viewer.parts import Parts

MESSAGE = 6.0  # seconds that a message stays
POINTING = 5.0  # seconds that a tip stays: not every window tells that the mouse has left
RATE_EVERY = 0.5  # seconds between two counts of results a second


class Session:
    """One run of the viewer.

    Parameters
    ----------
    parts
        The threads and stores that it works with, not yet started.
    width, height
        Of the pictures, pixels.

    Attributes
    ----------
    state
        What is set.
    running
        False once somebody has asked to quit.
    wake
        Set when there may be something new to draw; for front ends that wait.
    """

    def __init__(self, parts: Parts, width: int = 1280, height: int = 800) -> None:
        self._parts, self.scene = parts, parts.scene
        self.state = State()
        self.running = True
        self.wake = threading.Event()
        self._screen = Screen([*help_table(), mouse_help()])
        self._relations = Relations(parts.library, parts.correlations)
        self._frames: Newest[Frame] = parts.frames
        self._frame: Frame | None = None
        self._result: Result | None = None
        self._hover: Hover | None = None
        self._pointed = 0.0  # when the mouse moved last
        self._visitors = 0
        self._top: Source | None = None  # the image that was clicked at last
        self._message: tuple[float, str, bool] = (0.0, "", False)
        self._arrivals: deque[float] = deque()
        self._rate, self._counted = 0.0, 0.0
        self._draw_seconds, self._said_draw_seconds = 0.0, 0.0
        self._number, self._key = 0, None
        self._picture: Picture | None = None
        self._recorder = Recorder(parts.folder, self.say)
        self._commands: dict[str, Callable[[], None]] = {
            "next_image": lambda: parts.player.step(1),
            "previous_image": lambda: parts.player.step(-1),
            "next_source": lambda: parts.player.switch(1),
            "previous_source": lambda: parts.player.switch(-1),
            "screenshot": self._screenshot,
            "record": lambda: self._recorder.toggle(self.draw()[1]),
            "quit": self._quit,
        }
        self.resize(width, height)

    # -- from its front end --------------------------------------------------------------------

    @property
    def title(self) -> str:
        """For the window's frame."""
        return f"deepvis: {self.scene.model}" if self.scene.model else "deepvis"

    def start(self) -> None:
        """Start the threads."""
        self._parts.start(self.wake.set)
        self._settle(self.state)

    def press(self, key: str) -> None:
        """Do what a key does; keys that do nothing are ignored."""
        action = BY_KEY.get(key)
        if action is not None:
            self.act(action.name)

    def act(self, name: str) -> None:
        """Do an action by its name."""
        change = BY_NAME[name].change
        if change is None:
            self._commands[name]()
        else:
            self._settle(change(self.state, self.scene))
        self.wake.set()

    def mouse(self, kind: MouseKind, y: int, x: int, steps: int = 0) -> None:
        """The mouse moved, clicked or turned its wheel by `steps` at this pixel, or left."""
        self._hover = None if kind == "leave" else Hover(y, x)
        self._pointed = time.monotonic()
        if kind == "click":
            hit = self._screen.hit(self._view(), y, x)
            if hit is not None and hit.kind == "command":
                self.act(hit.value)
            else:
                if hit is not None and hit.kind == "top":
                    self._open_top(hit.index)
                self._settle(click(self.state, self.scene, hit))
        elif kind == "wheel":
            self._wheel(y, x, steps)
        self.wake.set()

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of this size from now on, within limits."""
        self._width, self._height = within_limits(width, height)
        self._settle(self.state)

    def push(self, picture: Picture, name: str) -> None:
        """Let a picture from outside be the input: (H, W, 3) RGB uint8."""
        self._parts.push(picture, name)

    def end_push(self) -> None:
        """Give the input back to what it was before the first `push`."""
        self._parts.end_push()

    def set_visitors(self, count: int) -> None:
        """Say how many look on through a browser."""
        self._visitors = count

    def say(self, text: str, trouble: bool = False) -> None:
        """Show a line for some seconds; from any thread."""
        self._message = (time.monotonic() + MESSAGE, text, trouble)
        self.wake.set()

    def draw(self, stop: Callable[[], bool] = lambda: False) -> tuple[int, Picture]:
        """What the window shows now, (H, W, 3) RGB uint8, and a number that grows as it changes.

        Parameters
        ----------
        stop
            Asked between two panes. Where it says so, nothing is new yet: the last picture comes
            back, and the next call goes on from the panes that are drawn.
        """
        self.wake.clear()
        self._take()
        view = self._view()
        key: Any = (
            view.state,
            view.status,
            view.hover,
            view.result and view.result.number,
            view.result is None and view.frame and view.frame.number,  # shown until there is one
            view.unit,  # by identity, as it is itself while nothing is new
            view.patterns_version,
            view.failure,
            view.relation,  # likewise
            self._width,
            self._height,
        )
        if key != self._key or self._picture is None:
            begun = time.perf_counter()
            may_stop = stop if self._picture is not None else lambda: False
            picture = self._screen.draw(view, self._width, self._height, may_stop)
            if picture is not None:
                self._draw_seconds = time.perf_counter() - begun
                self._picture, self._key, self._number = picture, key, self._number + 1
                self._recorder.show(picture)
        assert self._picture is not None
        return self._number, self._picture

    @property
    def settled(self) -> bool:
        """Whether what is shown answers what is asked; of a live source another frame may wait."""
        return not self._stale() and (self.live or not self._parts.worker.busy)

    @property
    def reading(self) -> bool:
        """Whether pictures of units that would be shown are still read from disk."""
        parts = self._parts
        if parts.correlations.busy:
            return True
        self._view()  # asks for what goes with what was read just now
        return parts.library.busy or parts.correlations.busy

    @property
    def drawn(self) -> int:
        """How many pictures were drawn."""
        return self._number

    @property
    def shown(self) -> int | None:
        """The number of the frame whose result is shown; None before the first."""
        return self._result.frame.number if self._result else None

    @property
    def live(self) -> bool:
        """Whether frames follow by themselves, as from a camera."""
        return self._frame is not None and self._frame.live

    @property
    def trouble(self) -> str:
        """Why there is no result: the worker's words, or the input's; empty where all is well."""
        player = self._parts.player.status()
        return self._parts.worker.failure or (player.message if player.stuck else "")

    def close(self) -> bool:
        """End every thread; whether all of them ended."""
        self.running = False
        self._recorder.close()
        return self._parts.close()

    # -- parts ---------------------------------------------------------------------------------

    def _settle(self, state: State) -> None:
        """Take a state on, and tell everybody whom it concerns."""
        aspect = grid_aspect(self._width, self._height)
        state = self._relations.follow(replace(state, aspect=aspect), self.scene)
        if state.help:
            pages = self._screen.help_pages(self._width, self._height)
            state = replace(state, help_pages=pages)
        if state.frozen != self.state.frozen:
            self._parts.player.freeze(state.frozen)
        if state.synthesis != self.state.synthesis:  # nothing else on the screen tells
            self._say_making(state.synthesis)
        self.state = state
        self._parts.worker.ask(request_of(state, self.scene))
        entry = self.scene.entries[state.layer]
        self._parts.want(entry if state.synthesis else None, state.unit)

    def _say_making(self, on: bool) -> None:
        if not self._parts.makes_images:
            self.say("this viewer was started without the making of images", trouble=True)
        else:
            self.say(f"units without images get {'some' if on else 'none'}")

    def _take(self) -> None:
        self.state = self._relations.follow(self.state, self.scene)
        frame = self._frames.take()
        if frame is not None:
            self._frame = frame
        result = self._parts.results.take()
        now = time.monotonic()
        if result is not None:
            self._result = result
            self._arrivals.append(now)
        while self._arrivals and self._arrivals[0] < now - 1:
            self._arrivals.popleft()
        if now - self._counted > RATE_EVERY:
            self._rate, self._counted = float(len(self._arrivals)) * self.live, now
            self._said_draw_seconds = self._draw_seconds  # to say each would draw it again

    def _stale(self) -> bool:
        wanted = request_of(self.state, self.scene)
        return self._result is None or self._result.request != wanted

    def _view(self) -> View:
        state, parts = self.state, self._parts
        entry = self.scene.entries[state.layer]
        version, patterns = parts.library.patterns(entry) if state.patterns else (0, {})
        relation = self._relations.of(state, self.scene)  # what is asked for last is read first
        unit = parts.library.unit(entry, state.unit) if state.unit_images else UnitPictures()
        return View(
            state=state,
            scene=self.scene,
            preprocessor=parts.preprocessor,
            frame=self._frame,
            result=self._result,
            unit=unit,
            patterns=patterns,
            patterns_version=version,
            failure=self.trouble,
            relation=relation,
            status=self._status(),
            hover=self._hover if time.monotonic() < self._pointed + POINTING else None,
        )

    def _status(self) -> Status:
        player, trouble = self._parts.player.status(), self._parts.worker.trouble
        until, text, bad = self._message
        if time.monotonic() > until:
            text, bad = "", False
        if trouble:
            text, bad = trouble, True
        elif player.trouble and not text:
            text, bad = player.message, True
        return Status(
            rate=self._rate,
            seconds=self._result.seconds if self._result else 0.0,
            draw_seconds=self._said_draw_seconds if self.state.timing else 0.0,
            source=player.name,
            message=text,
            trouble=bad,
            recording=self._recorder.recording,
            busy=self._stale() and self._parts.worker.busy,
            visitors=self._visitors,
        )

    def _wheel(self, y: int, x: int, steps: int) -> None:
        found = self._screen.pane_at(y, x)
        if found is None or self.state.help:
            return
        pane, rect = found
        row = first_row(self._view(), rect.height, rect.width) if pane == "layers" else 0
        self._settle(wheel(self.state, self.scene, pane, steps, row))

    def _open_top(self, index: int) -> None:
        """Make one of the unit's strongest images the input, the whole of it."""
        try:
            source = top_source(self._view().unit.found, index)
        except DeepVisError as error:
            self.say(str(error), trouble=True)
            return
        if self._top is not None:
            self._parts.player.drop(self._top)  # there is one at a time in the list of sources
        self._top = source
        self._parts.player.select(source)

    def _screenshot(self) -> None:
        self._recorder.screenshot(self.draw()[1])

    def _quit(self) -> None:
        self.running = False
