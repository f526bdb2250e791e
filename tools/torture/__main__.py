"""Kill commands in the middle of their work, and check what they leave and how they resume.

    python -m tools.torture [--kills 1000] [--seed S] [--only optimize] [--folder F]

Every command that writes files runs on a small net, again and again. It is killed after a random
fraction of its time, just before a file operation (an open for writing, a rename, a deletion), or
in the middle of a write; of several processes, all are killed, or the main one, or a worker. After
each kill, every finished file must be complete. Then the command runs again, and must end with the
same bytes as an undisturbed run. A summary is printed, and the exit status is 1 if anything is
wrong.
"""

from __future__ import annotations

import argparse
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", GLOG_minloglevel="3")

import importlib
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tools.torture.commands import COMMANDS, SCHEDULER, Command
from tools.torture.trials import Tally, Trials

# Modules that commands import while they run; imported here once for all children.
IMPORTED = (
    *("cv2", "h5py", "matplotlib.pyplot", "numpy", "scipy.ndimage", "torch"),
    *("deepvis_caffe.cli.main", "deepvis_caffe.engines.torch.net", "deepvis_caffe.jobs.optimize"),
    *("deepvis_caffe.jobs.top_images", "deepvis_caffe.page.page", "deepvis_caffe.viewer.parts"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=1000, help="how many, over all (1000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--only", default="", help="commands whose name holds this")
    parser.add_argument("--folder", type=Path, help="for what is written (a temporary one)")
    given = parser.parse_args(arguments)
    import_all()
    commands = [one for one in available() if given.only in one.name]
    if not commands:
        parser.error(f"no command is named {given.only!r}; there are: {', '.join(names())}")
    print(f"{given.kills} kills of {len(commands)} commands, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary, cluster(commands) as scheduler:
        found = torture(
            commands, given.kills, given.seed, given.folder or Path(temporary), scheduler
        )
    print(table(found))
    return int(any(tally.findings for tally in found.values()))


def torture(
    commands: Sequence[Command], kills: int, seed: int, folder: Path, scheduler: str = ""
) -> dict[str, Tally]:
    """Kill each command equally often, but those with several processes a tenth as often."""
    found: dict[str, Tally] = {}
    weights = [1 if one.processes else 10 for one in commands]
    for number, (command, weight) in enumerate(zip(commands, weights, strict=True)):
        share = kills * weight / sum(weights[number:])
        try:
            trials = Trials(command, folder / str(number), scheduler)
        except RuntimeError as error:
            found[command.name] = Tally(unequal=1, notes=[str(error)])
            print(error, flush=True)
            continue
        found[command.name] = trials.tally
        for what in trials.check_repeatable():
            trials.tally.unequal += 1
            trials.tally.notes.append(f"{command.name}: two undisturbed runs: {what}")
        rng = random.Random(f"{seed} {command.name}")
        attempts = 0
        while trials.tally.kills < round(share) and attempts < 3 * share + 3:
            trials.kill(rng)
            attempts += 1
        kills -= trials.tally.kills
        print(*trials.tally.notes, sep="\n", end="\n" if trials.tally.notes else "")
        print(row(command.name, trials.tally), flush=True)
    return found


def available() -> list[Command]:
    """The commands that can run here, depending on pycaffe and Dask."""
    modules = {"pycaffe": "caffe", "--scheduler": "distributed"}
    missing = [word for word, module in modules.items() if not _imports(module)]
    return [one for one in COMMANDS if not any(word in one.name for word in missing)]


def names() -> list[str]:
    """The names of all commands."""
    return [one.name for one in COMMANDS]


def import_all() -> None:
    """Import what commands need, before processes are forked from this one."""
    for name in IMPORTED:
        importlib.import_module(name)
    _imports("caffe")


@contextmanager
def cluster(commands: Sequence[Command]) -> Iterator[str]:
    """The address of a Dask scheduler with two workers on this machine, if one is needed."""
    if not any(SCHEDULER in one.arguments for one in commands):
        yield ""
        return
    import subprocess

    program = (
        "from distributed import LocalCluster\n"
        "with LocalCluster(n_workers=2, threads_per_worker=1, host='127.0.0.1',\n"
        "                  dashboard_address='127.0.0.1:0') as cluster:\n"
        "    print(cluster.scheduler_address, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__':\n exec({program!r})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        with suppress(OSError):
            process.stdin.write("\n")
            process.stdin.close()


def _imports(name: str) -> bool:
    with suppress(ImportError):
        importlib.import_module(name)
        return True
    return False


HEADER = f"{'command':28} {'kills':>6} {'missed':>7} {'damaged':>8} {'unequal':>8} {'left':>6}"


def row(name: str, tally: Tally) -> str:
    """A line of the table."""
    return (
        f"{name:28} {tally.kills:6} {tally.missed:7} {tally.damaged:8} {tally.unequal:8} "
        f"{tally.left:6}"
    )


def table(found: dict[str, Tally]) -> str:
    """The findings for each command, and for all together."""
    total = Tally(
        *(
            sum(getattr(one, name) for one in found.values())
            for name in ("kills", "missed", "damaged", "unequal", "left")
        )
    )
    rows = [row(name, tally) for name, tally in found.items()]
    return "\n".join(["", HEADER, *rows, row("all", total)])


if __name__ == "__main__":
    sys.exit(main())
