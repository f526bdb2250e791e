"""Trials of one command, ``(command, random numbers) -> findings``: run, kill, check, resume."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.torture.commands import SCHEDULER, Command, prepare
from tools.torture.process import Aim, Child, End, group
from tools.torture.whole import damaged, differences, finished, unfinished

KILLED = (signal.SIGKILL, signal.SIGPROF, signal.SIGXFSZ)
LAST_WORDS = 60.0  # seconds in which workers must notice that their parent is gone


@dataclass
class Tally:
    """The findings for one command.

    Attributes
    ----------
    kills, missed
        Runs that were killed, and runs that had ended before.
    damaged, unequal, left
        Kills after which a finished file was damaged; whose next run failed or did not end with the
        files of an undisturbed run; whose next run left unfinished files.
    notes
        Each finding as text.
    """

    kills: int = 0
    missed: int = 0
    damaged: int = 0
    unequal: int = 0
    left: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def findings(self) -> int:
        """The number of failures."""
        return self.damaged + self.unequal + self.left


class Trials:
    """Trials of one command.

    Parameters
    ----------
    command
        The command.
    folder
        For all files. The command always runs in the same folder within it, because records contain
        the paths of images.
    scheduler
        The address of a Dask scheduler, if the command needs one.
    """

    def __init__(self, command: Command, folder: Path, scheduler: str = "") -> None:
        self.command, self.tally = command, Tally()
        self.arguments = [scheduler if one == SCHEDULER else one for one in command.arguments]
        self._start, self._expected = folder / "start", folder / "expected"
        self._work, self._log = folder / "work", folder / "log"
        for one in (self._start, self._expected, self._work):
            shutil.rmtree(one, ignore_errors=True)
        prepare(self._work)
        for arguments in command.before:
            self._undisturbed(arguments)
        shutil.copytree(self._work, self._start)
        child = Child(self.arguments, self._work, self._log)
        self._cpu = _successful(child.wait(), self.arguments).cpu
        self._changes: dict[str, list[int]] = {}  # the indices of each kind of file operation
        for at, change in enumerate(child.changes(), 1):
            self._changes.setdefault(change, []).append(at)
        self._work.rename(self._expected)
        self._files = len(finished(self._expected)) - len(finished(self._start))

    def check_repeatable(self) -> list[str]:
        """The differences between two undisturbed runs, except for those in `Command.varies`."""
        self._again_from_start()
        self._undisturbed(self.arguments)
        return self._differences()

    def kill(self, rng: random.Random) -> None:
        """Kill one run at a random point, and check the consequences."""
        aim = self._draw(rng)
        self._again_from_start()
        child = Child(self.arguments, self._work, self._log, aim)
        end, killed = self._killed(child, aim)
        if end.code:
            self._note("unequal", aim, f"ended with exit code {end.code}: {_last(end.said)}")
        if end.code or not killed:
            self.tally.missed += 1
            return
        self.tally.kills += 1
        for what in damaged(self._work):
            self._note("damaged", aim, what)
        if end.signal is not None:  # a command outlives one of its workers
            for path in unfinished(self._work):
                os.utime(path, (0, 0))  # as if more than ten minutes had gone by
            again = Child(self.arguments, self._work, self._log).wait()
            if again.code:
                self._note("unequal", aim, f"the next run failed: {_last(again.said)}")
                return
        for what in [*damaged(self._work), *self._differences()]:
            self._note("unequal", aim, what)
        for path in unfinished(self._work):
            self._note("left", aim, path.name)
        self._wait_for_orphans(child, aim)

    def _draw(self, rng: random.Random) -> Aim:
        if self.command.processes:
            at = rng.randint(0, self._files)
            return Aim("files", at, victim=rng.choice(("all", "main", "worker")))
        how = rng.choice(("random", "change", "write"))
        if how == "random":
            return Aim(how, rng.uniform(0.001, self._cpu))
        kind = rng.choice(list(self._changes))  # rare kinds as often as frequent ones
        return Aim(how, rng.choice(self._changes[kind]), int(10 ** rng.uniform(0, 4)))

    def _killed(self, child: Child, aim: Aim) -> tuple[End, bool]:
        """How a child ended, and whether anything was killed before."""
        if aim.how != "files":
            end = child.wait()
            return end, end.signal in KILLED
        before, killed, tried = len(finished(self._start)), False, False

        def meanwhile() -> None:
            nonlocal killed, tried
            if not tried and len(finished(self._work)) - before >= aim.at:
                killed, tried = child.kill(aim.victim), True

        return child.wait(meanwhile), killed

    def _wait_for_orphans(self, child: Child, aim: Aim) -> None:
        until = time.monotonic() + LAST_WORDS
        while group(child.pid) and time.monotonic() < until:
            time.sleep(0.1)
        if group(child.pid):
            self._note("left", aim, f"processes that go on: {group(child.pid)}")
            os.killpg(child.pid, signal.SIGKILL)

    def _again_from_start(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._start, self._work)

    def _undisturbed(self, arguments: Sequence[str]) -> None:
        _successful(Child(arguments, self._work, self._log).wait(), arguments)

    def _differences(self) -> list[str]:
        return differences(self._work, self._expected, self.command.varies)

    def _note(self, kind: str, aim: Aim, what: str) -> None:
        note = f"{self.command.name}: {kind}, {aim}: {what}"
        if not self.tally.notes or self.tally.notes[-1].split(": ")[:2] != note.split(": ")[:2]:
            setattr(self.tally, kind, getattr(self.tally, kind) + 1)
        self.tally.notes.append(note)


def _successful(end: End, arguments: Sequence[str]) -> End:
    if end.code:
        raise RuntimeError(f"deepvis {' '.join(arguments)}\n{end.said}")
    return end


def _last(said: str) -> str:
    return " | ".join(said.strip().splitlines()[-3:])
