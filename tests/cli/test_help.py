"""The help of every command: a valid example, and few flags unless all are requested."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deepvis_caffe.cli.help import EXAMPLES
from deepvis_caffe.cli.main import app, run

GROUP: Any = typer.main.get_command(app)
WIDE = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}


def said(*arguments: str) -> list[str]:
    result = CliRunner(env=WIDE).invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout.rstrip().splitlines()


@pytest.mark.parametrize("command", GROUP.commands)
def test_help_begins_with_an_example_and_is_short(command: str) -> None:
    lines = said(command, "--help")
    assert lines[0].startswith(f" Example: deepvis {command}")
    assert len(lines) <= 64
    assert all(len(line) <= 80 for line in lines)
    if "--help-all" in "".join(lines):
        few, every = flags(lines), flags(said(command, "--help-all"))
        assert few <= every
        assert few < every or "--device" not in every
        assert flags(said(command, "--help")) == few  # also after the long one


def test_the_list_of_commands_begins_with_an_example() -> None:
    assert said("--help")[0] == "Example: deepvis fetch squeezenet --write-settings"


def flags(lines: list[str]) -> set[str]:
    return set(re.findall(r"^│ [ *]*(--[a-z-]+)", "\n".join(lines), re.M))


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_are_command_lines(line: str) -> None:
    program, command, *arguments = shlex.split(line)
    assert program == "deepvis"
    GROUP.commands[command].make_context(command, arguments)


@pytest.mark.parametrize("words", [["presets", "--help"], ["presetz"], ["--version"]])
def test_a_command_that_is_made_alone_says_what_it_says_among_all(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = CliRunner(env=WIDE).invoke(app, words, prog_name="deepvis")
    for name, value in WIDE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["deepvis", *words])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == expected.exit_code
    assert "".join(capsys.readouterr()).split() == expected.output.split()  # lines may be longer
    assert set(typer.main.get_command(app).commands) == set(GROUP.commands)  # type: ignore[attr-defined]


def test_choices_are_shown() -> None:
    text = " ".join(said("optimize", "--help-all"))
    for choices in ("auto|pycaffe|torch", "crop|stretch", "1|2|3|4|best|NAME", "auto|paper|NUMBER"):
        assert choices in text
