"""``deepvis run-caffe SCRIPT``: run a script that imports caffe, without Caffe."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Annotated

import typer

from deepvis_caffe.errors import DeepVisError, SettingsError

FAILED, INTERRUPTED = 1, 130


def run_caffe(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="The Python script.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGUMENTS]...", help="The script's arguments."),
    ] = None,
) -> None:
    """Run a Python script that imports caffe, with the embedded engine in place of Caffe.

    Works for scripts that use pycaffe to run nets. Caffe is not needed; if it is installed, it is
    not used. The script sees its arguments as with `python SCRIPT`, and its exit code is returned.
    """
    code = compiled(script)
    from deepvis_caffe.caffe.install import install  # imports PyTorch, which takes seconds

    install()
    sys.argv = [str(script), *(arguments or ())]
    if not getattr(sys.flags, "safe_path", False):  # since Python 3.11; it excludes the folder
        sys.path[0] = str(script.resolve().parent)
    root = logging.getLogger()
    root.handlers.clear()  # with our handler, the script's logging.basicConfig would do nothing
    root.setLevel(logging.WARNING)
    # Not with runpy, which removes the script's `__main__` before its atexit functions run.
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = code.co_filename
    try:
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        # Leave out our own frame.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, SyntaxError) and (file := error.filename) and Path(file).is_file():
            typer.echo(f"deepvis: {conversion(error, file)}", err=True)
        raise typer.Exit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED) from None


def compiled(script: Path) -> CodeType:
    """The code of a script.

    Raises
    ------
    SettingsError
        There is no such file, or it is a notebook.
    DeepVisError
        It is not Python 3.
    """
    try:
        source = script.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read the script {script}: {error.strerror}") from error
    if script.suffix == ".ipynb":
        raise SettingsError(
            f"{script} is a notebook; convert it to a script first: jupyter nbconvert --to script "
            f"{script}; or call deepvis_caffe.caffe.install() in its first cell"
        )
    try:
        return compile(source, script.absolute(), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{script}, line {error.lineno}" if error.lineno else str(script)
        line = f": {error.text.strip()}" if error.text else ""
        raise DeepVisError(
            f"{place}: {error.msg}{line}\n  {conversion(error, str(script))}"
        ) from error
    except ValueError as error:
        raise DeepVisError(f"{script} is not a Python script: {error}") from error


def conversion(error: SyntaxError, file: str) -> str:
    """How to convert Python 2 code that raises such an error."""
    if isinstance(error, TabError):
        return (
            f"in Python 2, a tab reaches to the next multiple of 8 columns; to replace tabs with "
            f"spaces: expand -i -t 8 {file} > converted.py"
        )
    return (
        f"if this is Python 2, convert it: pip install fissix; python -m fissix -w {file}; then "
        "check its divisions: between integers, Python 2 rounds down"
    )
