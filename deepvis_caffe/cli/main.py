"""The `deepvis` command: its subcommands, and how errors are shown.

Our own errors are one plain message and exit code 2. An interrupt is one line and exit code 130; a
signal that ends the process is one line and 128 plus its number. Subcommands import what they need
when they run, so that help appears at once.
"""

from __future__ import annotations

import logging
import sys
from copy import copy
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deepvis_caffe import __version__
from deepvis_caffe.cli import INTERRUPTED, main
from deepvis_caffe.cli.attribute import attribute
from deepvis_caffe.cli.backward import backward
from deepvis_caffe.cli.demo import demo
from deepvis_caffe.cli.doctor import doctor
from deepvis_caffe.cli.drivers import drivers
from deepvis_caffe.cli.fetch import fetch
from deepvis_caffe.cli.filters import filters
from deepvis_caffe.cli.gallery import gallery
from deepvis_caffe.cli.help import Command, with_help_all
from deepvis_caffe.cli.info import info
from deepvis_caffe.cli.layer_figure import layer_figure
from deepvis_caffe.cli.optimize import optimize
from deepvis_caffe.cli.presets import presets
from deepvis_caffe.cli.run_caffe import run_caffe
from deepvis_caffe.cli.search import search
from deepvis_caffe.cli.sensitivity import sensitivity
from deepvis_caffe.cli.signals import Terminated, orderly_termination
from deepvis_caffe.cli.stats import stats
from deepvis_caffe.cli.sweep import sweep
from deepvis_caffe.cli.top_images import top_images
from deepvis_caffe.cli.view import view
from deepvis_caffe.cli.weights import weights
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.opencv_log import silent_opencv

FIRST_LINES = (
    "deepvis fetch squeezenet --write-settings",
    "deepvis view",
    "deepvis optimize --help",
)


class Commands(TyperGroup):
    """A group of commands that shows errors as plain messages."""

    def __init__(self, **parts: Any) -> None:
        # Boxes are worth the time to import rich for a command's many flags, but not for this list.
        super().__init__(**{**parts, "rich_markup_mode": None})

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write examples for a first use, and then the commands."""
        for number, line in enumerate(FIRST_LINES):
            formatter.write(f"{'Example: ' if not number else '         '}{line}\n")
        formatter.write("\n")
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and show errors without a traceback."""
        try:
            with orderly_termination():
                return super().invoke(ctx)
        except DeepVisError as error:
            if ctx.params.get("debug"):
                raise
            message = "\n  ".join([str(error), *getattr(error, "__notes__", ())])
            typer.secho(f"deepvis: {message}", fg=typer.colors.RED, err=True)
            raise typer.Exit(2) from None
        except MemoryError as error:
            if ctx.params.get("debug"):
                raise
            message = f"not enough memory: {error}" if str(error) else "not enough memory"
            typer.secho(f"deepvis: {message}", fg=typer.colors.RED, err=True)
            raise typer.Exit(2) from None
        except Terminated as ended:
            typer.secho("\ndeepvis: terminated; finished work is kept", err=True)
            raise typer.Exit(128 + ended.number) from None
        except KeyboardInterrupt:
            typer.secho("\ndeepvis: interrupted; finished work is kept", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    name="deepvis",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepvis {__version__}")
        raise typer.Exit


@app.callback()
def deepvis(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show full tracebacks on errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """See what every unit of a Caffe model computes.

    Feature visualization, top images, saliency maps and a live viewer for Caffe models. Start with
    `deepvis doctor --write-settings`, edit settings_local.py, then run `deepvis info`.
    """
    logging.basicConfig(
        format="deepvis: %(message)s", level=logging.DEBUG if debug else logging.WARNING
    )
    if not debug and context.invoked_subcommand != "run-caffe":  # leave scripts alone
        # Libraries would print a line for every damaged tag of an image; commands report damaged
        # images themselves.
        context.with_resource(silent_opencv())
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)


COMMANDS = (
    doctor,
    info,
    view,
    backward,
    attribute,
    drivers,
    optimize,
    top_images,
    stats,
    sensitivity,
    gallery,
    layer_figure,
    presets,
    sweep,
    search,
    weights,
    filters,
    fetch,
    demo,
    run_caffe,
)
for command in COMMANDS:
    # Everything after the script, options included, is for the script.
    context = {"allow_interspersed_args": command is not run_caffe}
    name = command.__name__.replace("_", "-")
    app.command(name, cls=Command, context_settings=context)(with_help_all(command))


def run() -> None:
    """Run the command that the arguments name, and exit."""
    words = sys.argv[1:]
    # Typer builds the flags of every registered command before it runs one, so register only that.
    own = copy(app)
    named = [command for command in app.registered_commands if [command.name] == words[:1]]
    own.registered_commands = named or app.registered_commands
    own(words, prog_name="deepvis")


if __name__ == "__main__":
    main()
