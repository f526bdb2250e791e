"""A command in its own process, which is forked from this one and killed.

This process has imported everything but runs no net, so its children start within milliseconds and
behave like a command's own process.
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
        ``"random"``: after `at` seconds of its own CPU time. ``"change"``: just before it opens a
        file for writing, renames, deletes or creates something for the `at`-th time. ``"write"``:
        in the middle of the first write after that. ``"files"``, for commands with several
        processes: as soon as `at` files exist.
    at
        See `how`.
    size
        For ``"write"``: how many bytes the file has then.
    victim
        For ``"files"``: ``"all"`` processes, the ``"main"`` one, or a ``"worker"``.
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
        Its exit code, or the signal that killed it.
    cpu
        Seconds of CPU time that it used.
    said
        Its output.
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
        Arguments of ``deepvis``.
    folder
        Where it runs. File operations in it are counted.
    log
        A file for its output. If it runs to its end, a file beside it lists its file operations.
    aim
        When to kill it; None for never.
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
        """Wait until it ends, calling `meanwhile` from time to time."""
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
        """The file operations in the folder, each with its path, numbers replaced by ``#``."""
        return _changes_file(self.log).read_text().splitlines()

    def kill(self, victim: str) -> bool:
        """Kill all processes of its group, the main one, or a worker; False if there is none."""
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
        except OSError:  # the process has ended
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
        # Otherwise a worker process would import this program as its main module.
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.argv = ["deepvis", *arguments]
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from deepvis_caffe.cli.main import run

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        sys.addaudithook(counter)
        if aim and aim.how == "random":
            signal.setitimer(signal.ITIMER_PROF, aim.at)  # sends SIGPROF, which kills by default
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
    """An audit hook that records the file operations in a folder, and kills at one of them."""

    def __init__(self, folder: Path, aim: Aim | None) -> None:
        self.folder, self.aim = folder, aim
        self.seen: list[str] = []

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        path = _changed(event, given)
        if path is None or not path.is_relative_to(self.folder):
            return
        # Random names and unit numbers do not make an operation of another kind.
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
