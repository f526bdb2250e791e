"""Read nearly valid files in a separate process: ``python -m fuzz.child KIND FOLDER``.

Anything but a valid result or a `DeepVisError` is a finding: another exception, running out of
memory, or the end of the process. The last input stays in the folder.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
import warnings
from pathlib import Path

from fuzz.kinds import KINDS
from hypothesis import HealthCheck, Phase, given, seed, settings

from deepvis_caffe.errors import DeepVisError

MEMORY = 2**30  # bytes, beyond what is taken before the first input
SECONDS = 20  # of CPU time that one input may take


def main() -> None:
    """Try many inputs; the exit code says whether there was a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, help="by default the same inputs each time")
    parser.add_argument("--minutes", type=float, default=0, help="at least, of CPU time")
    args = parser.parse_args()
    kind, path = KINDS[args.kind], args.folder / KINDS[args.kind].file
    inputs = kind.inputs(args.folder)
    _limit_memory()
    logging.disable()
    warnings.simplefilter("ignore")
    slowest, valid, count = 0.0, 0, 0

    @settings(
        max_examples=args.examples,
        derandomize=args.seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(inputs)
    def attempt(content: bytes) -> None:
        nonlocal slowest, valid, count
        path.write_bytes(content)
        begun = time.process_time()
        try:
            kind.read(path)
            valid += 1
        except DeepVisError as error:
            check_memory(error)
        count += 1
        taken = time.process_time() - begun
        slowest = max(slowest, taken)
        assert taken < SECONDS, f"it took {taken:.0f} s of CPU time"

    number = args.seed
    while True:
        (attempt if number is None else seed(number)(attempt))()
        if time.process_time() >= args.minutes * 60:
            break
        number = (number or 0) + 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    said = f"{count} inputs, {valid} valid, slowest {slowest:.2f} s, peak {peak} MB"
    sys.stdout.write(f"{args.kind}: {said}, {time.process_time() / 60:.1f} min\n")


def check_memory(error: BaseException | None) -> None:
    """Fail where our error stands for memory that ran out: without a limit it would be taken."""
    while error is not None:
        said = str(error)
        assert not isinstance(error, MemoryError), said
        assert "Insufficient memory" not in said
        error = error.__cause__ or error.__context__


def _limit_memory() -> None:
    """So that a file that claims gigabytes fails, and does not end other programs."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
