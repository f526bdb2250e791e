"""Virtual hosts on one machine: network namespaces at a switch, whose links can be cut.

A host has its own address and its own loopback, and reaches only the other hosts. Programs on it
see an empty folder instead of the test's, except for one that is shared. Creating namespaces needs
root; `why_not` says if it is impossible.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"
NAME = f"deepvis-{os.getpid()}"


def _ip(*words: str) -> str:
    ran = subprocess.run(["ip", *words], capture_output=True, text=True)
    if ran.returncode:
        raise OSError(f"ip {' '.join(words)}: {ran.stderr.strip()}")
    return ran.stdout


def why_not() -> str:
    """Why there can be no hosts here; empty where there can."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "there is no `ip` or no `unshare` (packages iproute2 and util-linux)"
    try:
        with network("one"):
            return ""
    except OSError as error:
        return str(error)


@dataclass
class Host:
    """One host: its name, its address, and the programs that were started on it."""

    name: str
    address: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"{NAME}-{self.name}"

    def start(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        empty: Path | None = None,
        shared: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program on it.

        Parameters
        ----------
        log
            What it prints is added to this file.
        empty, shared
            A folder that it finds empty, and one in it that it shares with the others.
        """
        words = ["ip", "netns", "exec", self.namespace]
        if empty is not None and shared is not None:
            # The shared folder is kept on a descriptor while the empty one comes to lie over it.
            hide = 'exec 9< "$2" && mount -t tmpfs none "$1" && mkdir -p "$2"'
            hide += ' && mount -c --bind /proc/self/fd/9 "$2" && exec 9<&- && shift 2 && exec "$@"'
            words += ["unshare", "--mount", "sh", "-c", hide, "sh", str(empty), str(shared)]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*words, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        self.started.append(process)
        return process

    def keep_running(self, python: Sequence[str], log: Path, **more: object) -> None:
        """Start a Python program on it, again whenever it ends, as an init system does."""
        loop = 'while :; do "$@"; sleep 0.2; done'
        self.start(["sh", "-c", loop, "sh", sys.executable, *python], log, **more)  # type: ignore[arg-type]

    def cut(self) -> None:
        """Cut the link without notifying anyone."""
        _ip("-n", f"{NAME}-switch", "link", "set", "dev", self.name, "down")

    def mend(self) -> None:
        """Restore the link."""
        _ip("-n", f"{NAME}-switch", "link", "set", "dev", self.name, "up")

    def power_off(self) -> None:
        """End everything on it at once; as its link goes first, nobody hears of it."""
        self.cut()
        while pids := _ip("netns", "pids", self.namespace).split():
            for pid in map(int, pids):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        for process in self.started:
            process.wait()
        self.started.clear()


@contextmanager
def network(*names: str) -> Iterator[list[Host]]:
    """Hosts at one switch; at the end, everything on them is ended and they are gone."""
    hosts = [Host(name, f"{NETWORK}.{number}") for number, name in enumerate(names, 1)]
    switch = f"{NAME}-switch"
    made = []
    try:
        for namespace in (switch, *(host.namespace for host in hosts)):
            _ip("netns", "add", namespace)
            made.append(namespace)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "dev", "bridge", "up")
        for host in hosts:
            # Its own end is called eth0, that at the switch by the host's name.
            ends = ["eth0", "netns", host.namespace, "type", "veth", "peer"]
            _ip("link", "add", *ends, "name", host.name, "netns", switch)
            _ip("-n", switch, "link", "set", "dev", host.name, "master", "bridge", "up")
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", host.namespace, "link", "set", "dev", link, "up")
        yield hosts
    finally:
        for host in hosts:
            if host.namespace in made and host.started:
                host.power_off()
        for namespace in made:
            _ip("netns", "delete", namespace)
