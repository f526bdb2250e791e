"""Run prototxts with random weights, and report how far each gets: parse, info, build, ... ok.

    python -m tools.corpus LIST... [-o results.tsv] [--resume] [--jobs 2] [--caffe]

LIST is a text file with one path per line, a TSV, a folder, a pattern, or a prototxt. Each file
runs in its own process, with limits on time and memory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.corpus.children import Limits
from tools.corpus.paths import find_files
from tools.corpus.record import STAGES, Record, Table
from tools.corpus.run import run_files
from tools.corpus.summary import summary
from tools.corpus.trial import Options


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        paths = find_files(given.sources, given.root)
    except FileNotFoundError as error:
        parser.error(str(error))
    table = Table(given.output, given.resume)
    done = {record.file for record in table.records}
    todo = [path for path in paths if str(path) not in done]
    options = Options(given.seed, given.input_shape, given.until)
    limits = Limits(given.seconds, int(given.memory * 2**30))
    try:
        for number, record in enumerate(
            run_files(todo, options, limits, given.jobs, given.caffe), 1
        ):
            table.add(record)
            print(_row(record, f"{number}/{len(todo)}"), flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted; with --resume it goes on where it was", file=sys.stderr)
        return 130
    print(summary(table.records))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.corpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", metavar="LIST")
    parser.add_argument("--root", type=Path, help="the folder that a list's paths start from")
    parser.add_argument("-o", "--output", type=Path, help="a .tsv or .jsonl file of the results")
    parser.add_argument("--resume", action="store_true", help="keep the results that it has")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time (1)")
    parser.add_argument("--seconds", type=float, default=60, help="limit for each file (60)")
    parser.add_argument("--memory", type=float, default=4, help="limit for each file in GiB (4)")
    parser.add_argument("--caffe", action="store_true", help="compare values with real Caffe's")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (0)")
    parser.add_argument(
        "--input-shape",
        type=_shapes,
        default={},
        help="where a file does not tell: 1,3,224,224, or by name: 'data:1,3,224,224;rois:2,5'",
    )
    parser.add_argument("--until", choices=STAGES[:-1], default="backward", help="the last stage")
    return parser


def _shapes(text: str) -> dict[str, tuple[int, ...]]:
    """Shapes by name, ``""`` for any name: ``1,3,224,224;rois:2,5``."""
    found = {}
    for one in text.split(";"):
        name, _, shape = one.rpartition(":")
        found[name.strip()] = tuple(int(size) for size in shape.split(","))
    return found


def _row(record: Record, place: str) -> str:
    numbers = f"{record.seconds:6.1f} s {record.memory:6.0f} MiB"
    parts = [f"{place:>9}  {record.stage:8} {numbers}  {record.file[-70:]}"]
    if record.caffe:
        error = "" if record.caffe_error is None else f" ({record.caffe_error:.1g})"
        parts.append(f"{'':11}Caffe: {record.caffe}{error} {record.caffe_reason[:120]}")
    if record.reason:
        parts.append(f"{'':11}{record.reason[:160]}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
