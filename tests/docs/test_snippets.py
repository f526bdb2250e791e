"""Every Python block and every `deepvis` command of the documentation, on a small net.

The snippets of a page run in order, in one folder and with one namespace, as a reader would run
them. Commands run with fewer images, steps and trials than the page says.

A block may have ``<!-- test: HOW: why -->`` above it to be treated differently:

==================  ==============================================================================
parse only          its commands are only parsed; ``parse only (view)``: those of one subcommand
compile only        Python that needs packages or machines that are not here
a script            Python that runs in a process of its own
a settings file     Python that is the settings file of all that follows
==================  ==============================================================================
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers.documented_model import SETTINGS, write_files
from helpers.markdown import PAGES, ROOT, Block, fenced_blocks, inline_code
from typer.testing import CliRunner

from deepvis_caffe.cli.main import app

pytestmark = [pytest.mark.slow, pytest.mark.process]

PYTHON = ("compile only", "a script", "a settings file", "")
SHELLS = ("console", "bash")

# Given at the end of a command, where the last one counts.
LESS = {
    "optimize": "--seeds 2 --iterations 2",
    "presets": "--seeds 1 --iterations 2",
    "search": "--trials 18 --iterations 2",
    "sensitivity": "--layers fc8 --repeats 1",
    "sweep": "--columns 2 --iterations 2",
    "top-images": "--units 0,1",
    "view": "--frames 2 --no-synthesis",
}


@dataclass(frozen=True)
class Snippet:
    """A Python block, or one command of a console block."""

    page: str
    line: int
    block: Block
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether a command is run, and not only parsed."""
        named = self.block.commands
        return self.block.how != "parse only" or (bool(named) and self.command[0] not in named)


def snippets() -> Iterator[Snippet]:
    """All of them, page by page in order."""
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        for block in fenced_blocks(page):
            if block.language == "python":
                yield Snippet(name, block.line, block)
            if block.language in SHELLS:
                for number, text in enumerate(block.code.splitlines(), block.line):
                    command = deepvis_arguments(text)
                    if command is not None:
                        yield Snippet(name, number, block, command)


def deepvis_arguments(line: str) -> tuple[str, ...] | None:
    """What follows `deepvis` in a line of a console block; None for other programs and output."""
    words = shlex.split(re.sub(r"^[\w-]*\$ ", "", line), comments=True)
    is_deepvis = bool(words) and words[0].rpartition("/")[2] == "deepvis"
    return tuple(words[1:]) if is_deepvis else None


def parse(command: tuple[str, ...]) -> None:
    """Raise where `deepvis` would not take this command line."""
    group: Any = typer.main.get_command(app)
    name, *arguments = command
    assert name in group.commands, f"there is no `deepvis {name}`"
    group.commands[name].make_context(name, arguments)


def shortened(command: tuple[str, ...]) -> list[str]:
    """The command with less to do."""
    more = LESS.get(command[0], "").split()
    if command[0] == "optimize":
        units = command[command.index("--units") + 1] if "--units" in command else "all"
        alone = "--direction" in command or not re.fullmatch(r"all|\d+-\d+", units)
        more += [] if alone else ["--units", "0,1"]
    return [*command, *more]


@contextmanager
def current_folder(folder: Path) -> Iterator[None]:
    """Make a folder the current one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@dataclass
class Reader:
    """Somebody who does what a page says, from the top on."""

    page: str
    folder: Path
    done: dict[Snippet, BaseException | None] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "snippet"})

    def do(self, wanted: Snippet) -> None:
        """Do everything up to a snippet, each once, and raise what that one raised."""
        for snippet in ALL:
            if snippet.page == self.page and snippet not in self.done:
                self.done[snippet] = self._outcome(snippet)
            if snippet == wanted:
                break
        error = self.done[wanted]
        if error is not None:
            raise error

    def _outcome(self, snippet: Snippet) -> BaseException | None:
        try:
            with current_folder(self.folder):
                self._do(snippet)
        except (Exception, SystemExit, pytest.fail.Exception) as error:
            return error
        return None

    def _do(self, snippet: Snippet) -> None:
        if snippet.command:
            self._command(snippet)
            return
        code, how = snippet.block.code, snippet.block.how
        compiled = compile("\n" * (snippet.line - 1) + code, snippet.page, "exec")
        if how == "a settings file":
            (self.folder / "settings_local.py").write_text(code + 'engine = "torch"\n')
        elif how == "a script":
            script = self.folder / "script.py"
            script.write_text(code)
            ran = subprocess.run(
                [sys.executable, str(script)], capture_output=True, text=True, timeout=300
            )
            assert ran.returncode == 0, ran.stderr
        elif how != "compile only":
            exec(compiled, self.names)

    def _command(self, snippet: Snippet) -> None:
        parse(snippet.command)
        if snippet.runs:
            result = CliRunner().invoke(app, shortened(snippet.command))
            assert result.exit_code == 0, result.output + repr(result.exception)


ALL = list(snippets())


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """A reader of each page, in a folder with the files that it names."""
    found = {}
    for page in {snippet.page: None for snippet in ALL}:
        folder = tmp_path_factory.mktemp(Path(page).stem)
        write_files(folder)
        if page == "README.md":  # which begins with writing it
            (folder / "settings_local.py").unlink()
        found[page] = Reader(page, folder)
    return found


@pytest.mark.parametrize("snippet", ALL, ids=str)
def test_a_snippet_works(
    snippet: Snippet, readers: dict[str, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    readers[snippet.page].do(snippet)


def test_blocks_say_what_they_are() -> None:
    blocks = [block for page in PAGES for block in fenced_blocks(page)]
    wrong = [f"{b.page}:{b.line}: {b.language}, {b.how}" for b in blocks if not _is_known(b)]
    assert not wrong
    assert sum(block.language == "python" for block in blocks) >= 10
    assert sum(bool(snippet.command) and snippet.runs for snippet in ALL) >= 20


def _is_known(block: Block) -> bool:
    if block.language == "python":
        return block.how in PYTHON
    if block.language in SHELLS:
        return block.how in ("parse only", "")
    return block.language in ("", "text") and not re.search(r"^\W*deepvis ", block.code, re.M)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    code = [
        (b.page, line) for page in PAGES for b in fenced_blocks(page) for line in b.code.split("\n")
    ]
    code += [(page, text) for page in PAGES for _, text in inline_code(page)]
    named = {
        (page.name, match[1])
        for page, text in code
        if (match := re.match(r"(?:\$ )?make ([a-z-]+)", text))
    }
    assert ("README.md", "demo") in named
    assert {(page, name) for page, name in named if name not in targets} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_the_text_exist(page: Path) -> None:
    wrong = []
    for line, text in inline_code(page):
        command = deepvis_arguments(text) if text.startswith("deepvis ") else None
        try:
            parse(command) if command else None
        except Exception as error:  # Typer has a click of its own, or not, by its version
            if type(error).__name__ not in ("MissingParameter", "Exit"):  # `deepvis sweep`, --help
                wrong.append(f"{page.name}:{line}: {text}: {error!r}")
    assert not wrong


# Of other programs: pip, dask, tools/pycaffe and tools/corpus.
OTHERS = {"--nthreads", "--resources", "--cuda", "--sdist", "--force", "--caffe"}
# Of the Deep Visualization Toolbox's optimize_image.py, on the page about moving from it.
OTHERS |= {
    "--blur-radius",
    "--brave",
    "--lr-params",
    "--lr-policy",
    "--max-iter",
    "--output-prefix",
}
OTHERS |= {"--push-channel", "--push-dir", "--push-layer", "--push-spatial", "--rand-seed"}
OTHERS |= {"--px-abs-benefit-percentile", "--px-benefit-percentile", "--small-norm-percentile"}
OTHERS |= {"--small-val-percentile", "--start-at"}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_flags_in_the_text_exist(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    known = {
        flag
        for command in group.commands.values()
        for option in command.params
        for flag in (*option.opts, *option.secondary_opts)
    } | {"--help", "--version", "--debug"}
    named = {
        flag
        for _, text in inline_code(page)
        for flag in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", text)
        if not text.startswith(("pip ", "dask ", "python ", "git "))
    }
    assert named - known - OTHERS == set()


def test_the_small_nets_settings_are_the_readmes() -> None:
    (block,) = [b for b in fenced_blocks(ROOT / "README.md") if b.how == "a settings file"]
    shown: dict[str, Any] = {"__builtins__": {}}
    ours: dict[str, Any] = {"__builtins__": {}}
    exec(block.code, shown)
    exec(SETTINGS, ours)
    assert {**shown, "engine": "torch"} == ours
