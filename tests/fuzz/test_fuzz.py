"""Nearly valid files give a valid result or a `DeepVisError`, in bounded memory and time.

Each kind of file is read in a separate process, which would not survive a finding. ``make fuzz``
tries more files, and different ones each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.kinds import KINDS
from hypothesis import Phase, find, settings

TESTS = Path(__file__).parents[1]
EXAMPLES = os.environ.get("DEEPVIS_FUZZ_EXAMPLES", "100")
SEED = os.environ.get("DEEPVIS_FUZZ_SEED")
MINUTES = os.environ.get("DEEPVIS_FUZZ_MINUTES", "0")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_our_errors(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz.child", kind, str(tmp_path), "--examples", EXAMPLES]
    command += ["--minutes", MINUTES]
    command += ["--seed", SEED] if SEED else []
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    last = tmp_path / KINDS[kind].file
    assert done.returncode == 0, (
        f"exit code {done.returncode} after {last}:\n{done.stderr[-4000:]}\n{last.read_bytes()!r}"
    )
    sys.stdout.write(done.stdout)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"scan-claim", "settings"}))
def test_the_files_to_begin_with_are_valid(kind: str, tmp_path: Path) -> None:
    one = KINDS[kind]
    path = tmp_path / one.file
    for content in one.seeds(tmp_path):
        path.write_bytes(content)
        if kind != "record" or b'"objective"' in content:  # a record of top images is no run's
            one.read(path)


def test_inputs_reach_both_what_is_valid_and_what_is_not(tmp_path: Path) -> None:
    inputs = KINDS["labels"].inputs(tmp_path)
    once = settings(phases=[Phase.generate], database=None, derandomize=True)
    assert find(inputs, lambda content: b"tench" in content, settings=once)
    assert find(inputs, lambda content: b"\0" in content, settings=once)
