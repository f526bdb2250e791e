"""A command's help: examples, what it does, and common flags; ``--help-all`` shows all flags."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

# Typical first uses; each line is a complete command.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "doctor": ("deepvis doctor --write-settings", "deepvis doctor"),
    "info": ("deepvis info",),
    "view": ("deepvis view", "deepvis view --browser", "deepvis view --source photos/"),
    "backward": ("deepvis backward chelsea --layer pool10 --unit tabby",),
    "attribute": (
        "deepvis attribute chelsea --layer pool10 --unit 281 --method grad-cam",
        "deepvis attribute chelsea --layer pool10 --unit tabby --all-methods",
    ),
    "drivers": (
        "deepvis drivers chelsea --layer pool10 --unit tabby",
        "deepvis drivers --layer pool10 --unit tabby",
    ),
    "optimize": (
        "deepvis optimize pool10 --units tabby,zebra",
        "deepvis optimize fire5/concat --units 0-99 --seeds 4",
        "deepvis optimize --layers all --seeds 1",
        "deepvis optimize 'pool10:tabby + 0.5*fire5/concat:12'",
    ),
    "top-images": (
        "deepvis top-images --images photos/",
        "deepvis top-images --images photos/ --pictures pool10 --units 0-9",
    ),
    "stats": ("deepvis stats",),
    "sensitivity": ("deepvis sensitivity clip.mp4",),
    "gallery": ("deepvis gallery results",),
    "layer-figure": ("deepvis layer-figure pool10",),
    "presets": ("deepvis presets pool10 --unit tabby",),
    "sweep": ("deepvis sweep pool10 --unit tabby",),
    "search": (
        "deepvis search pool10 --units tabby,zebra --trials 50",
        "deepvis search pool10 --units tabby,zebra --keep 12 --name mine",
    ),
    "weights": ("deepvis weights conv1", "deepvis weights fire5/expand3x3 --units 0-9"),
    "filters": ("deepvis filters --images photos/",),
    "fetch": ("deepvis fetch squeezenet --write-settings",),
    "demo": ("deepvis demo",),
    "run-caffe": ("deepvis run-caffe script.py",),
}
# Flags that the short help leaves out; of the settings' flags, it shows only `COMMON`.
RARE = frozenset(
    (
        *("cell", "class_folders", "columns", "correlation", "crop", "direction", "every"),
        *("frames", "headless", "host", "judge", "parameter", "port", "press", "push", "start"),
        *("token", "unique"),
    )
)
COMMON = frozenset(
    (
        *("images", "labels", "prototxt", "preset", "results", "seeds", "settings", "source"),
        *("weights", "workers"),
    )
)
LONG_PANELS = ("settings", "Regularizers", "Values")  # panels that show only `COMMON`
ALL = "deepvis.help_all"  # the key in a context's `meta` that asks for all flags


class Command(TyperCommand):
    """A subcommand with an example and a short help."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        # Lines are wrapped at the terminal's width, not where the docstring's lines end.
        self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", self.help or "")

    def get_params(self, ctx: Any) -> Any:
        """The parameters, with an empty metavar for switches, which take no value."""
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, accepting other spellings of this command's flags."""
        return super().parse_args(ctx, own_spellings(self, args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the examples and the help, with only common flags unless all are asked for."""
        for number, line in enumerate(EXAMPLES.get(self.name or "", ())):
            typer.echo(f"{' Example: ' if not number else '          '}{line}")
        if ctx.meta.get(ALL):
            super().format_help(ctx, formatter)
            return
        with self._shortened():
            super().format_help(ctx, formatter)

    @contextmanager
    def _shortened(self) -> Iterator[None]:
        """Within the block, show only the first paragraph and common flags."""
        text = self.help
        rare: list[Any] = [param for param in self.params if not _is_common(param)]
        before = [param.hidden for param in rare]
        self.help = (text or "").partition("\n\n")[0]
        for param in rare:
            param.hidden = True
        try:
            yield
        finally:
            self.help = text
            for param, hidden in zip(rare, before, strict=True):
                param.hidden = hidden


def _is_common(param: Any) -> bool:
    if not hasattr(param, "hidden"):
        return True
    panel = getattr(param, "rich_help_panel", None) or ""
    if any(part in panel for part in LONG_PANELS) or panel == "Settings":
        return param.name in COMMON
    return param.name not in RARE


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        typer.echo(ctx.get_help(), color=ctx.color)
        raise typer.Exit


def with_help_all(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes settings the flag ``--help-all``."""
    parameters = dict(inspect.signature(command).parameters)
    if "settings" not in parameters:
        return command

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name != "help_all"})

    option = typer.Option(
        "--help-all",
        is_eager=True,
        callback=_show_all,
        show_default=False,
        help="Show all flags and exit.",
    )
    added = inspect.Parameter(
        "help_all",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, option],
    )
    run.__signature__ = inspect.Signature([*parameters.values(), added])  # type: ignore[attr-defined]
    run.__annotations__ = {param.name: param.annotation for param in (*parameters.values(), added)}
    del run.__wrapped__
    return run


# -- other spellings -----------------------------------------------------------------------------

# Singular and plural: each command has one of the two flags, and accepts the other.
SPELLINGS = {
    "--unit": "--units",
    "--units": "--unit",
    "--layer": "--layers",
    "--layers": "--layer",
}


def own_spellings(command: TyperCommand, args: list[str]) -> list[str]:
    """`args` in the command's own spelling of `SPELLINGS`; LAYER may be given as a flag, too."""
    flags = {flag for param in command.params for flag in param.opts}
    found: list[str] = []
    for number, word in enumerate(args):
        if word == "--":
            return found + args[number:]
        flag, is_one_word, value = word.partition("=")
        other = SPELLINGS.get(flag)
        if other is None or flag in flags:
            found.append(word)
        elif other in flags:
            found.append(other + is_one_word + value)
        elif "layer" in flags and "--layer" in (flag, other):  # an argument of the command
            found += [value] if is_one_word else []
        else:
            found.append(word)
    return found
