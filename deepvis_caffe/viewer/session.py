"""The viewer behind every front end: keys and mouse in, pictures out.

It is called from one thread and never blocks on the net, a camera or a disk. Those have threads of
their own, whose results are picked up at the next redraw.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import Picture
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.results.recipes import BEST
from deepvis_caffe.viewer.disk.recorder import Recorder
from deepvis_caffe.viewer.panes.enlarged import zooms
from deepvis_caffe.viewer.panes.layers import first_row
from deepvis_caffe.viewer.panes.layout import grid_aspect, within_limits
from deepvis_caffe.viewer.panes.screen import Screen
from deepvis_caffe.viewer.panes.view import Hover, Status, View, drivers_of
from deepvis_caffe.viewer.sources.images import given_image, top_source
from deepvis_caffe.viewer.sources.source import Source
from deepvis_caffe.viewer.state.actions import (
    BY_KEY,
    BY_NAME,
    WHILE_ENLARGED,
    follow,
    help_table,
    next_zoom,
    zoom_to,
)
from deepvis_caffe.viewer.state.mouse import Hit, MouseKind, click, mouse_help, wheel
from deepvis_caffe.viewer.state.request import Frame, Result, UnitDrivers, request_of
from deepvis_caffe.viewer.state.search import type_key
from deepvis_caffe.viewer.state.state import State
from deepvis_caffe.viewer.state.units import UnitPictures
from deepvis_caffe.viewer.threads import Newest

if TYPE_CHECKING:
    from deepvis_caffe.viewer.parts import Parts

NO_PICTURES = UnitPictures()
MESSAGE = 6.0  # seconds that a message stays
POINTING = 5.0  # seconds that a tooltip stays: not every window reports that the mouse has left
RATE_EVERY = 0.5  # seconds between updates of the displayed frame rate and times


class Session:
    """One run of the viewer.

    Parameters
    ----------
    parts
        The threads and stores that it works with, not yet started.
    width, height
        Size of the pictures, pixels.

    Attributes
    ----------
    state
        The current state.
    running
        False once the user has quit.
    wake
        Set when there may be something new to draw, for front ends that wait.
    """

    def __init__(self, parts: Parts, width: int = 1280, height: int = 800) -> None:
        self._parts, self.scene = parts, parts.scene
        self.state = State()
        self.running = True
        self.wake = threading.Event()
        self._screen = Screen([*help_table(), mouse_help()])
        self._frames: Newest[Frame] = parts.frames
        self._frame: Frame | None = None
        self._result: Result | None = None
        self._hover: Hover | None = None
        self._pointed = 0.0  # when the mouse moved last
        self._visitors = 0
        self._opened: Source | None = None  # the top image or file opened last
        self._message: tuple[float, str, bool] = (0.0, "", False)
        self._arrivals: deque[float] = deque()
        self._rate, self._counted = 0.0, 0.0
        self._draw_seconds, self._shown_draw_seconds = 0.0, 0.0
        self._timed_result: Result | None = None  # the result whose time is displayed
        self._turns = 0  # recipes to advance by, once the available ones are known
        self._number = 0
        self._picture: Picture | None = None
        self._recorder = Recorder(parts.folder, self.show_message)
        self._commands: dict[str, Callable[[], None]] = {
            "next_image": lambda: parts.player.step(1),
            "previous_image": lambda: parts.player.step(-1),
            "next_source": lambda: self._switch(1),
            "previous_source": lambda: self._switch(-1),
            "screenshot": self._screenshot,
            "record": lambda: self._recorder.toggle(self.draw()[1]),
            "zoom": lambda: self._settle(next_zoom(self.state, zooms(self.view))),
            "follow": self._follow,
            "recipe": self._turn_recipe,
            "quit": self._quit,
        }
        self.resize(width, height)

    # -- called by the front end ---------------------------------------------------------------

    @property
    def title(self) -> str:
        """The title of the window."""
        return f"deepvis: {self.scene.model}" if self.scene.model else "deepvis"

    def start(self) -> None:
        """Start the threads."""
        self._parts.start(self.wake.set)
        self._settle(self.state)

    def press(self, key: str) -> None:
        """Perform the action of a key; unknown keys are ignored.

        While a picture is enlarged, any key but those of `WHILE_ENLARGED` closes it. While the
        search is open, keys edit the query.
        """
        action = BY_KEY.get(key)
        if self.state.search is not None:
            self._settle(type_key(self.state, self.scene, key))
            self.wake.set()
        elif self.state.zoom != "off" and (action is None or action.name not in WHILE_ENLARGED):
            self._settle(zoom_to(self.state, "off"))
            self.wake.set()
        elif action is not None:
            self.act(action.name)

    def act(self, name: str) -> None:
        """Perform an action by its name."""
        action = BY_NAME[name]
        if why := action.unseen(self.state, self.scene):
            self.show_message(why)
        if action.change is None:
            self._commands[name]()
        else:
            self._settle(action.change(self.state, self.scene))
        self.wake.set()

    def mouse(self, kind: MouseKind, y: int, x: int, steps: int = 0) -> None:
        """Handle a move, a click or `steps` of the wheel at a pixel, or the mouse leaving."""
        self._hover = None if kind == "leave" else Hover(y, x)
        self._pointed = time.monotonic()
        if kind == "click":
            hit = self.hit(y, x)
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
        """Draw pictures of this size from now on, within the limits of the layout."""
        self._width, self._height = within_limits(width, height)
        self._settle(self.state)

    def push(self, picture: Picture, name: str) -> None:
        """Make a picture from the front end the input: (H, W, 3) RGB uint8."""
        self._parts.push(picture, name)

    def end_push(self) -> None:
        """Return to the source that was read before the first `push`."""
        self._parts.end_push()

    def read_image(self, content: bytes) -> NDArray[Any]:
        """Read an image file's bytes for the net's channels; may be called from any thread.

        Raises
        ------
        ImageError
            It cannot be read, or is too large.
        """
        return read_channels(content, self._parts.channels, megapixels=self._parts.megapixels)

    def open_image(self, picture: NDArray[Any], name: str) -> None:
        """Make a picture from `read_image` the input, until another source is chosen."""
        self._open(given_image(picture, name))
        self.wake.set()

    def would_quit(self, key: str) -> bool:
        """Whether a key would end the session now; not while searching, or while enlarged."""
        action = BY_KEY.get(key)
        taken = self.state.search is not None or self.state.zoom != "off"
        return action is not None and action.name == "quit" and not taken

    @property
    def saved(self) -> tuple[Path, ...]:
        """The finished screenshots and videos, in that order."""
        return self._recorder.saved

    def set_visitors(self, count: int) -> None:
        """Set how many people watch through a browser."""
        self._visitors = count

    def show_message(self, text: str, trouble: bool = False) -> None:
        """Show a message in the status line for some seconds; may be called from any thread."""
        self._message = (time.monotonic() + MESSAGE, text, trouble)
        self.wake.set()

    def draw(self, stop: Callable[[], bool] = lambda: False) -> tuple[int, Picture]:
        """A number that grows with every change, and what to show: (H, W, 3) RGB uint8.

        Parameters
        ----------
        stop
            Called before each pane that has to be redrawn. If it returns True, the last picture is
            returned, and the next call keeps the panes finished so far.

        Raises
        ------
        EngineError
            The net cannot be loaded.
        """
        if self._parts.worker.error is not None:
            raise self._parts.worker.error
        self.wake.clear()
        self._take()
        self._parts.request(self.state, self._drivers)
        view = self.view
        begun = time.perf_counter()
        may_stop = stop if self._picture is not None else lambda: False
        picture = self._screen.draw(view, self._width, self._height, may_stop)
        if picture is not None and picture is not self._picture:
            self._draw_seconds = time.perf_counter() - begun
            self._picture, self._number = picture, self._number + 1
            self._recorder.show(picture)
        assert self._picture is not None
        return self._number, self._picture

    @property
    def view(self) -> View:
        """The input of the panes: the state, and what is known so far."""
        state, parts = self.state, self._parts
        entry = self.scene.entries[state.layer]
        library = parts.library
        return View(
            state=state,
            scene=self.scene,
            preprocessor=parts.preprocessor,
            frame=self._frame,
            result=self._result,
            unit=library.unit(entry, state.unit) if state.unit_images else NO_PICTURES,
            optimized=library.optimized(entry),
            working=library.working(entry),
            loading=parts.loading,
            failure=self.trouble,
            relation=parts.relations.of(state),
            driver_pictures=parts.driver_pictures.of(self._drivers),
            status=self._status(),
            hover=self._hover if time.monotonic() < self._pointed + POINTING else None,
        )

    def hit(self, y: int, x: int) -> Hit | None:
        """The hit test at a pixel of the last picture."""
        return self._screen.hit(self.view, y, x)

    @property
    def settled(self) -> bool:
        """Whether the displayed result is complete and belongs to the current request."""
        whole = not self._stale() and not self._awaits_more
        return whole and (self.live or not self._parts.worker.busy)

    @property
    def reading(self) -> bool:
        """Whether something to be shown is still being read from disk."""
        parts = self._parts
        if parts.correlations.busy:
            return True
        # A correlation that was just read determines whose pictures to read.
        parts.request(self.state, self._drivers)
        return parts.library.busy or parts.correlations.busy or self._turns > 0

    @property
    def drawn(self) -> int:
        """How many pictures have been drawn."""
        return self._number

    @property
    def shown(self) -> int | None:
        """The number of the displayed result's frame; None before the first."""
        return self._result.frame.number if self._result else None

    @property
    def live(self) -> bool:
        """Whether the source delivers frames on its own, as a camera does."""
        return self._frame is not None and self._frame.live

    @property
    def trouble(self) -> str:
        """Why there is no result: the error of the worker or of the input; empty if none."""
        player = self._parts.player.status()
        return self._parts.worker.failure or (player.message if player.stuck else "")

    def close(self, timeout: float | None = None) -> bool:
        """End all threads; return whether all ended in time. See `Parts.close`."""
        self.running = False
        self._recorder.close()
        return self._parts.close(timeout)

    # -- parts ---------------------------------------------------------------------------------

    def _settle(self, state: State) -> None:
        """Set the state, and request what it needs."""
        aspect = grid_aspect(self._width, self._height, state)
        state = self._parts.relations.with_order(replace(state, aspect=aspect))
        if state.help:
            pages = self._screen.help_pages(self._width, self._height)
            state = replace(state, help_pages=pages)
        if state.frozen != self.state.frozen:
            self._parts.player.freeze(state.frozen)
        if state.synthesis != self.state.synthesis:  # nothing else on the screen shows it
            self._show_whether_synthesis(state.synthesis)
        if state.resize != self.state.resize:
            how = "cropped" if state.resize == "crop" else "stretched"
            self.show_message(f"images are {how} to the net's shape")
        other_method = state.back != self.state.back and state.back in self.scene.methods
        if other_method and self.scene.left_out:
            self.show_message(self.scene.left_out)
        self.state = state
        self._parts.request(state)

    def _show_whether_synthesis(self, on: bool) -> None:
        if not self._parts.makes_images:
            self.show_message("this viewer was started with --no-synthesis", trouble=True)
        else:
            self.show_message(f"optimizing missing images: {'on' if on else 'off'}")

    @property
    def _drivers(self) -> UnitDrivers | None:
        """What drives the selected unit; None if not shown, or not known yet."""
        return drivers_of(self._result, self.state)

    def _follow(self) -> None:
        """Go down to the unit that raises the selected one most; if drivers are hidden, show them.

        While a picture is enlarged, close it instead, and make it the input if it is a top image.
        """
        if self.state.zoom != "off":
            if self.state.zoom in ("top", "deconv") and self.state.zoom_index >= 0:
                self._open_top(self.state.zoom_index)
            self._settle(zoom_to(self.state, "off"))
            return
        found = self._drivers
        if not self.state.shows_drivers:
            self.act("drivers")
        elif found is not None:
            refs = [ref for _, ref in found.raising if ref is not None]
            if refs:
                self._settle(follow(self.state, self.scene, refs[0]))

    def _switch(self, count: int) -> None:
        if self._parts.player.alone:
            self.show_message("there is one source; with several: deepvis view 0,clip.mp4,photos/")
        self._parts.player.switch(count)

    def _turn_recipe(self) -> None:
        """Prefer optimized images of the next recipe; the first choice is the best of each unit."""
        self._turns += 1
        self._choose_recipe()

    def _choose_recipe(self) -> None:
        if not self._turns:
            return
        entry, library = self.scene.entries[self.state.layer], self._parts.library
        known = library.recipes(entry)
        if known is None:
            library.request(entry, [self.state.unit])  # which the panes may not show
            return
        now = known.index(self.state.recipe) if self.state.recipe in known else 0
        turns, self._turns = self._turns, 0
        if len(known) < 2:
            self.show_message(_why_no_other_recipe(entry.name, self.state.unit, known))
            return
        place = (now + turns) % len(known)
        self._settle(replace(self.state, recipe=known[place] if place else ""))
        which = f"{known[place]} ({place + 1} of {len(known)} recipes)"
        self.show_message(f"optimized images by {which}, where a unit has any")

    def _take(self) -> None:
        """Pick up what the threads have produced since the last redraw."""
        self.state = self._parts.relations.with_order(self.state)
        self._choose_recipe()
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
        # Figures that change with every frame could not be read, and each change is a redraw.
        due = now - self._counted > RATE_EVERY
        if due:
            self._rate, self._counted = float(len(self._arrivals)) * self.live, now
            self._shown_draw_seconds = self._draw_seconds
        if due or self._timed_result is None or not self.live:
            self._timed_result = self._result

    def _stale(self) -> bool:
        wanted = request_of(self.state, self.scene)
        return self._result is None or self._result.request != wanted

    @property
    def _awaits_more(self) -> bool:
        """Whether an attribution of the displayed result is still pending."""
        return self._result is not None and self._result.later

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
            seconds=self._timed_result.seconds if self._timed_result else 0.0,
            first=self._timed_result is not None and self._timed_result.number == 1,
            draw_seconds=self._shown_draw_seconds if self.state.timing else 0.0,
            source=player.name,
            message=text,
            trouble=bad,
            recording=self._recorder.recording,
            busy=self._awaits_more or (self._stale() and self._parts.worker.busy),
            visitors=self._visitors,
        )

    def _wheel(self, y: int, x: int, steps: int) -> None:
        found = self._screen.pane_at(y, x)
        if found is None or self.state.help or self.state.search is not None:
            return
        pane, rect = found
        row = first_row(self.view, rect.height, rect.width) if pane == "layers" else 0
        self._settle(wheel(self.state, self.scene, pane, steps, row))

    def _open_top(self, index: int) -> None:
        """Make one of the unit's top images the input: the whole image, not the crop."""
        try:
            source = top_source(self.view.unit.found, index)
            source.channels = self._parts.channels
        except DeepVisError as error:
            self.show_message(str(error), trouble=True)
            return
        self._open(source)

    def _open(self, source: Source) -> None:
        if self._opened is not None:
            self._parts.player.drop(self._opened)  # only one is kept in the list of sources
        self._opened = source
        self._parts.player.select(source)

    def _screenshot(self) -> None:
        self._recorder.screenshot(self.draw()[1])

    def _quit(self) -> None:
        self.running = False


def _why_no_other_recipe(layer: str, unit: int, known: Sequence[str]) -> str:
    """Why there is nothing to go on to from the one recipe of a layer, if any; what makes some."""
    make = f"deepvis optimize {shlex.quote(layer)} --units {unit}"
    if not known:
        return f"{layer} has no optimized images yet: {make}"
    other = "3" if known[0] == BEST else BEST
    return f"all optimized images of {layer} are by {known[0]}; for others: {make} --preset {other}"
