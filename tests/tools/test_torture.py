"""A few kills of a few commands; `make torture` does a thousand of all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.waiting import LONG

from deepvis_caffe.cli.main import COMMANDS as ALL
from deepvis_caffe.files import whole_file
from tools.torture.commands import COMMANDS
from tools.torture.whole import damaged, differences, unfinished

# As if files were written in place.
IN_PLACE = """
import contextlib, sys
from deepvis_caffe import files

@contextlib.contextmanager
def in_place(path):
    path.write_bytes(b"")
    yield path

files.whole_file = in_place
from tools.torture.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
# They write nothing, or what comes from elsewhere.
OTHERS = {"info", "doctor", "fetch", "demo", "run-caffe"}


def _torture(
    *arguments: str, program: tuple[str, ...] = ("-m", "tools.torture")
) -> tuple[int, str]:
    """The exit status, and what was printed."""
    ended = subprocess.run(
        [sys.executable, *program, "--seed", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=LONG,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return ended.returncode, ended.stdout


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("only", ["optimize, torch", "top-images --overwrite"])
def test_a_killed_command_resumes_to_the_same_files(only: str) -> None:
    code, said = _torture("--kills", "4", "--only", only)
    assert code == 0, said
    name, kills, _missed, *findings = said.splitlines()[-1].split()
    assert (name, kills, findings) == ("all", "4", ["0", "0", "0"])


@pytest.mark.process
@pytest.mark.slow
def test_a_command_that_writes_in_place_is_found_out() -> None:
    code, said = _torture("--kills", "24", "--only", "optimize, torch", program=("-c", IN_PLACE))
    assert code == 1, said
    assert int(said.splitlines()[-1].split()[3]) > 0  # damaged files


def test_every_command_that_writes_is_tortured() -> None:
    known = {one.__name__.replace("_", "-") for one in ALL}
    assert {one.arguments[0] for one in COMMANDS} == known - OTHERS


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".json", ".npz", ".npy", ".csv", ".html"])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    if suffix in (".png", ".jpg"):
        cv2.imwrite(str(path), picture)
    elif suffix == ".npz":
        np.savez(path, picture=picture)
    elif suffix == ".npy":
        np.save(path, picture)
    else:
        text = {".json": '{"a": [1]}', ".csv": "a,b\n1,2\n", ".html": "<html></html>\n"}
        path.write_text(text[suffix])
    assert damaged(tmp_path) == []
    path.write_bytes(path.read_bytes()[:-2])
    (found,) = damaged(tmp_path)
    assert found.startswith(f"{path.name}: ")
    path.write_bytes(b"")
    assert len(damaged(tmp_path)) == 1


def test_what_differs_is_named(tmp_path: Path) -> None:
    for folder, names in (("ours", "abc"), ("theirs", "abd")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(name)
    (tmp_path / "ours" / "b").write_text("other")
    with whole_file(tmp_path / "ours" / "e") as part:
        assert unfinished(tmp_path) == [part]
        found = differences(tmp_path / "ours", tmp_path / "theirs")
    assert found == ["b: differs", "c: not in an undisturbed run", "d: missing"]
    assert differences(tmp_path / "ours", tmp_path / "theirs", ("b", "d", "e")) == found[1:2]
