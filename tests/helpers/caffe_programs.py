"""The same program in real pycaffe and in ours, each in its own process, and the differences."""

from __future__ import annotations

import base64
import builtins
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Program = dict[str, Any]
Left = dict[str, Any]

REAL, OURS = "caffe", "deepvis_caffe.caffe"
TOLERANCE = 1e-4  # of an array's largest value
SMALL = 0.1  # an array of smaller values is compared as if its largest were this: sums that cancel


def program(*lines: str, looks: list[int] | None = None, **files: str) -> Program:
    """A program; each keyword is the text of a file NAME.prototxt."""
    texts = {f"{name}.prototxt": text for name, text in files.items()}
    return {"files": texts, "lines": list(lines), "looks": looks}


class CaffeProcess:
    """A process that runs programs with one of the two modules. A program may end it.

    Parameters
    ----------
    module
        What programs get as ``caffe``.

    Attributes
    ----------
    died_at
        The line at which a process died last.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.died_at = -1
        self._process: subprocess.Popen[str] | None = None

    def run(self, program: Program) -> list[Left]:
        """What each line left behind; fewer items than lines where the process died."""
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(program) + "\n")
        self._process.stdin.flush()
        lefts = []
        for answer in self._process.stdout:
            if answer == "done\n":
                return lefts
            lefts.append(json.loads(answer))
        self.died_at = len(lefts)
        self.close()
        return lefts

    def close(self) -> None:
        """End the process; the next program starts another."""
        if self._process is not None:
            process, self._process = self._process, None
            with process:
                process.kill()

    def _start(self) -> subprocess.Popen[str]:
        tests = Path(__file__).parents[1]
        path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "helpers.caffe_interpreter", self.module],
            cwd=tests,
            env={
                **os.environ,
                "PYTHONPATH": path.rstrip(os.pathsep),
                "GLOG_minloglevel": "4",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


@dataclass
class Two:
    """Both processes."""

    real: CaffeProcess = field(default_factory=lambda: CaffeProcess(REAL))
    ours: CaffeProcess = field(default_factory=lambda: CaffeProcess(OURS))

    def close(self) -> None:
        """End both."""
        self.real.close()
        self.ours.close()

    def check(self, program: Program, aborts: bool = False) -> bool:
        """Run a program in both; every line has to leave the same behind.

        Parameters
        ----------
        program
            The program.
        aborts
            The last line ends real Caffe's process, and has to be an error in words in ours.

        Returns
        -------
        bool
            False where real Caffe's process ended although `aborts` is not set.

        Raises
        ------
        AssertionError
            At the first difference, with the whole program.
        """
        lines = program["lines"]
        theirs = self.real.run(program)
        survived = len(theirs) == len(lines)
        if not survived and not aborts:
            return False
        assert survived != aborts, "real Caffe survives this program"
        stale = [left["stale"] for left in theirs] + [[]]
        ours = self.ours.run({**program, "stale": stale, "lines": lines[: len(stale)]})
        for i, (their, our) in enumerate(zip(theirs, ours, strict=False)):
            difference = first_difference(their, our)
            assert not difference, f"{difference}\n{listing(program, i)}"
        assert len(ours) >= len(theirs), f"our process died\n{listing(program, len(ours))}"
        if aborts:
            assert len(theirs) == len(lines) - 1, listing(program, len(theirs))
            assert len(ours) == len(lines), f"our process died\n{listing(program, len(theirs))}"
            said = ours[-1].get("error", ())
            assert "DeepVisError" in said, f"{said}\n{listing(program, len(theirs))}"
        return True


def first_difference(theirs: Left, ours: Left) -> str:
    """In words, or nothing."""
    if "error" in theirs:
        kind = next(name for name in theirs["error"] if hasattr(builtins, name))
        if kind not in ours.get("error", ()):
            got = ours.get("error", ["no error"])[0]
            said = (theirs["message"], ours.get("message", ""))
            return f"real: {theirs['error'][0]}: {said[0]}, ours: {got}: {said[1]}"
    elif "error" in ours:
        return f"ours: {ours['error'][0]}: {ours['message']}, real: no error"
    return _difference(
        "", *({k: left.get(k) for k in ("value", "nets", "names")} for left in (theirs, ours))
    )


def _difference(where: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and "bytes" in theirs:
        if not (isinstance(ours, dict) and "bytes" in ours):
            return f"{where}: real: an array, ours: {ours}"
        return _difference_of_arrays(where, _array(theirs), _array(ours))
    if isinstance(theirs, dict) and isinstance(ours, dict) and list(theirs) == list(ours):
        differences = (_difference(f"{where} {key}", theirs[key], ours[key]) for key in theirs)
        return next(filter(None, differences), "")
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        pairs = enumerate(zip(theirs, ours, strict=True))
        differences = (_difference(f"{where} {i}", *pair) for i, pair in pairs)
        return next(filter(None, differences), "")
    return "" if theirs == ours else f"{where}: real: {_short(theirs)}, ours: {_short(ours)}"


def _difference_of_arrays(where: str, theirs: np.ndarray, ours: np.ndarray) -> str:
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        what = [f"{array.dtype} of {array.shape}" for array in (theirs, ours)]
        return f"{where}: real: {what[0]}, ours: {what[1]}"
    finite = np.isfinite(theirs)
    scale = max(np.abs(theirs[finite]).max(initial=0), SMALL)
    if np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):
        wrong = ~np.isclose(ours, theirs, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
    some = [tuple(map(int, at)) for at in np.argwhere(wrong)[:3]]
    values = "; ".join(f"at {at} real {theirs[at]:.6g}, ours {ours[at]:.6g}" for at in some)
    return f"{where}: {wrong.sum()} of {wrong.size} values differ: {values}"


def _array(encoded: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(encoded["bytes"]), encoded["dtype"])
    return values.reshape(encoded["shape"])


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"dict of {', '.join(value.get('dict', value))}"
    return str(value)


def listing(program: Program, at: int) -> str:
    """The program as it can be read and run, with a mark at one line."""
    files = [f"--- {name}\n{text}" for name, text in program["files"].items()]
    lines = [f"{'>>>' if i == at else '   '} {line}" for i, line in enumerate(program["lines"])]
    return "\n".join([*files, "--- the program", *lines])
