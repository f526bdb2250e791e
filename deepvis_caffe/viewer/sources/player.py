"""The thread that reads sources and passes on their newest frame; it never blocks callers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from deepvis_caffe.viewer.sources.source import Source
from deepvis_caffe.viewer.state.request import Frame
from deepvis_caffe.viewer.threads import Background

log = logging.getLogger(__name__)

CLOSING = 2.0  # seconds that a camera may take to close


@dataclass(frozen=True)
class PlayerStatus:
    """The state of the input.

    Attributes
    ----------
    name
        Name of the last picture, or of the source before its first one.
    message, trouble
        A message, may be empty, and whether it is an error.
    stuck
        Whether all sources have been tried and none has a picture.
    """

    name: str
    message: str = ""
    trouble: bool = False
    stuck: bool = False


class Player:
    """Reads one of several sources on a thread of its own.

    A live source is read continuously, one of still images once and again at each step.

    Parameters
    ----------
    sources
        At least one; the first is read until another is chosen. If a source fails before its first
        picture, the player switches to the next.
    put
        Called with each frame, on the player's thread.
    """

    def __init__(self, sources: Sequence[Source], put: Callable[[Frame], None]) -> None:
        self._sources, self._put = list(sources), put
        self._numbers = count(1)
        self._thread = Background("input", self._run)
        self._news = self._thread.news
        self._at = 0
        self._before = 0  # the source before the last `select`
        self._steps = 0
        self._wanted = True  # whether to read a still or frozen source once more
        self._frozen = False
        self._gave: set[int] = set()  # sources that have delivered a picture
        self._status = PlayerStatus(self._sources[0].name)
        self._failed: dict[int, str] = {}  # errors of skipped sources since the last command
        self._note = ""  # why the source is not the one that was chosen

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # -- commands; none of them blocks ---------------------------------------------------------

    def step(self, count: int) -> None:
        """Move by `count` pictures in the source, backward if negative."""
        with self._news:
            self._failed.clear()
            self._steps += count
            self._wanted = True
            self._news.notify_all()

    def switch(self, count: int) -> None:
        """Move by `count` sources in the list, wrapping around."""
        with self._news:
            self._failed.clear()
            self._choose((self._at + count) % len(self._sources))

    def select(self, source: Source) -> None:
        """Switch to this source, which is appended to the list if it is new."""
        with self._news:
            self._failed.clear()
            if source not in self._sources:
                self._sources.append(source)
            index = self._sources.index(source)
            if index != self._at:
                self._before = self._at
            self._choose(index)

    def drop(self, source: Source) -> None:
        """Remove a source from the list; if it is being read, return to the one before it."""
        with self._news:
            if source not in self._sources or len(self._sources) == 1:
                return
            index = self._sources.index(source)
            del self._sources[index]
            self._gave = {at - (at > index) for at in self._gave if at != index}
            self._failed.clear()
            was_read = self._at == index
            self._at -= self._at > index
            self._before = min(self._before - (self._before > index), len(self._sources) - 1)
            if was_read:
                self._choose(self._before)

    def freeze(self, frozen: bool) -> None:
        """Freeze or unfreeze the picture; stepping works either way."""
        with self._news:
            self._frozen = frozen
            self._news.notify_all()

    @property
    def alone(self) -> bool:
        """Whether there is but one source."""
        with self._news:
            return len(self._sources) == 1

    def status(self) -> PlayerStatus:
        """The current state of the input."""
        with self._news:
            return self._status

    def close(self, timeout: float = CLOSING) -> bool:
        """End the thread and close all sources; return whether that was done in time."""
        ended = self._thread.close(timeout)
        if not ended:
            log.warning("%s does not close; its thread is abandoned", self._status.name)
        return ended

    # -- on the player's thread ----------------------------------------------------------------

    def _choose(self, index: int) -> None:
        self._at, self._steps, self._wanted, self._note = index, 0, True, ""
        self._news.notify_all()

    def _run(self) -> None:
        open_: Source | None = None
        while (following := self._next()) is not None:
            source, steps = following
            if source is not open_ and open_ is not None:
                self._close_quietly(open_)
            open_ = source
            self._read(source, steps)
        for source in self._sources:
            self._close_quietly(source)

    def _next(self) -> tuple[Source, int] | None:
        """Wait for something to read; return its source and steps, or None at the end."""
        with self._news:
            while not self._thread.closing:
                source = self._sources[self._at]
                if self._wanted or (source.live and not self._frozen):
                    steps, self._steps, self._wanted = self._steps, 0, False
                    return source, steps
                self._news.wait()
        return None

    def _read(self, source: Source, steps: int) -> None:
        try:
            if steps:
                source.step(steps)
            shot = source.read(self._pause)
            trouble = source.trouble
        except Exception as error:  # the viewer must survive any error of a source
            log.debug("a source had an error", exc_info=error)
            shot, trouble = None, f"{source.name}: {type(error).__name__}: {error}"
            self._pause(1.0)
        with self._news:
            if self._sources[self._at] is not source or self._thread.closing:
                return  # another source was chosen meanwhile
            if shot is None and trouble and self._at not in self._gave:
                self._give_way(trouble)
                return
            name = shot.name if shot else self._status.name
            self._status = PlayerStatus(name, trouble or self._note, bool(trouble or self._note))
            if shot is None:
                return
            self._gave.add(self._at)
            frame = Frame(shot.picture, next(self._numbers), shot.name, source.live)
        self._put(frame)

    def _give_way(self, trouble: str) -> None:
        """Switch to the next source that has not failed yet, if there is one."""
        self._status = PlayerStatus(self._sources[self._at].name, trouble, True)
        self._failed[self._at] = trouble.removesuffix("; trying again")
        count = len(self._sources)
        for index in (i % count for i in range(self._at + 1, self._at + count)):
            if index not in self._failed:
                self._choose(index)
                shown = self._sources[index].name
                self._note = f"{', '.join(self._failed.values())}; instead: {shown}"
                return
        self._status = replace(self._status, stuck=True)

    def _pause(self, seconds: float) -> None:
        """Wait, but return early at the next command."""
        with self._news:
            before = (self._at, self._steps)
            self._news.wait_for(
                lambda: self._thread.closing or (self._at, self._steps) != before, seconds
            )

    def _close_quietly(self, source: Source) -> None:
        try:
            source.close()
        except Exception as error:
            log.warning("%s does not close: %s", source.name, error)
