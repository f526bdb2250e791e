"""A command in a process of its own, which is forked from this one and killed.

This process has imported everything, and runs no net, so that its children start within
milliseconds and are as a command's own process is.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Aim:
    """When and how a process is killed.

    Attributes
    ----------
    how
        ``"random"``: after so many seconds of its own CPU time. ``"change"``: just before it opens
        a file for writing, renames, deletes or makes something for the `at`-th time. ``"write"``:
        in the middle of the first write after that. ``"files"``, of commands that work in several
        processes: as soon as so many files are there.
    at
        See `how`.
    size
        Of ``"write"``: how many bytes the file has then.
    victim
        Of ``"files"``: ``"all"`` processes, the ``"main"`` one, or a ``"worker"``.
    """

    how: str
    at: float
    size: int = 0
    victim: str = "all"


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes
    ----------
    code, signal
        Its exit code, or what killed it.
    cpu
        Seconds that it has computed.
    said
        What it printed.
    """

    code: int | None
    signal: int | None
    cpu: float
    said: str


class Child:
    """A command that runs in a folder.

    Parameters
    ----------
    arguments
        Of ``deepvis``.
    folder
        Where it runs. Changes of files in there are counted.
    log
        A file for what it says. What it changed, if it came to its end, is in one beside it.
    aim
        When it is to be killed; None for never.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, log: Path, aim: Aim | None = None
    ) -> None:
        self.log, self.aim = log, aim
        log.write_bytes(b"")
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _be_the_command(arguments, folder, log, aim)
        with suppress(OSError):  # it may have done so itself, and more
            os.setpgid(self.pid, self.pid)

    def wait(self, meanwhile: Callable[[], None] | None = None) -> End:
        """Wait for its end, calling `meanwhile` now and then."""
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG if meanwhile else 0)
            if pid:
                break
            assert meanwhile
            meanwhile()
            time.sleep(0.01)
        return End(
            os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            usage.ru_utime + usage.ru_stime,
            self.log.read_text(errors="replace"),
        )

    def changes(self) -> list[str]:
        """Each change of a file in the folder: what it was, and of which file but for numbers."""
        return _changes_file(self.log).read_text().splitlines()

    def kill(self, victim: str) -> bool:
        """Kill all processes of its group, the main one, or one of the others, if there is one."""
        if victim == "all":
            os.killpg(self.pid, signal.SIGKILL)
            return True
        others = sorted(group(self.pid) - {self.pid})
        chosen = [self.pid] if victim == "main" else others[-1:]  # not Python's resource tracker
        for process in chosen:
            os.kill(process, signal.SIGKILL)
        return bool(chosen)


def group(leader: int) -> set[int]:
    """The processes of a group."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.add(int(path.name))
    return found


def _be_the_command(arguments: Sequence[str], folder: Path, log: Path, aim: Aim | None) -> None:
    code = 1
    counter = _Changes(folder, aim)
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        said = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        # A worker process would otherwise import this program, which it is not part of.
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.argv = ["deepvis", *arguments]
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from deepvis_caffe.cli.main import run

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        sys.addaudithook(counter)
        if aim and aim.how == "random":
            signal.setitimer(signal.ITIMER_PROF, aim.at)  # SIGPROF, which nobody handles, kills
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        counter.aim = None
        sys.stdout.flush()
        sys.stderr.flush()
        _changes_file(log).write_text("\n".join(counter.seen))
        os._exit(code)


def _changes_file(log: Path) -> Path:
    return log.with_name(f"{log.name}.changes")


class _Changes:
    """An audit hook that notes the changes of files in a folder, and kills at one of them."""

    def __init__(self, folder: Path, aim: Aim | None) -> None:
        self.folder, self.aim = folder, aim
        self.seen: list[str] = []

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        path = _changed(event, given)
        if path is None or not path.is_relative_to(self.folder):
            return
        # Names that are drawn, and numbers of units, make no other kind of change.
        self.seen.append(re.sub(r"[0-9a-f]{8}|\d+", "#", f"{event} {path}").replace("\n", " "))
        if self.aim is None or len(self.seen) != self.aim.at:
            return
        if self.aim.how == "change":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.aim.how == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.aim.size, self.aim.size))


def _changed(event: str, given: tuple[Any, ...]) -> Path | None:
    """The file that an audited event changes, if it changes one."""
    if event == "open":
        path, mode, flags = given
        if not (set(mode) & set("wax+") if isinstance(mode, str) else flags & WRITES):
            return None
    elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"):
        path = given[0]
    else:
        return None
    # Otherwise it is a descriptor.
    return Path(path).absolute() if isinstance(path, str | os.PathLike) else None
