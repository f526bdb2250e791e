"""Suggested commands: a shell parses them as intended."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from deepvis_caffe.cli.hints import command


def test_a_shell_reads_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path("my results (1)") / "it's"
    words = shlex.split(command("gallery", odd))
    assert words == ["deepvis", "gallery", f"{tmp_path}/my results (1)/it's"]
    assert shlex.split(command("optimize", "a b:1 + c")) == ["deepvis", "optimize", "a b:1 + c"]


@pytest.mark.process
def test_the_program_is_called_as_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path, where it is in an environment that is not on the path."""
    script = tmp_path / "my env" / "deepvis"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    text = command("gallery", "x y")
    said = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=True)
    assert said.stdout == "gallery x y\n"
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    assert command("gallery") == "deepvis gallery"
