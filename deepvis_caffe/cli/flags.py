"""A flag for each setting, made from the settings: ``batch_size`` is ``--batch-size``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from deepvis_caffe.settings import Settings, load_settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from deepvis_caffe.image import Picture

Command = Callable[..., None]
# What `deepvis_caffe.dataset.scan.learned_layers` returns.
ALL_LAYERS = "all for every convolution, deconvolution and inner-product layer"

# Arguments of commands that look at one unit in one image.
ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="Image file, or the name of a sample photograph: astronaut, chelsea (a cat), "
        "coffee or rocket.",
    ),
]
UnitLayer = Annotated[str, typer.Option(help="Layer (or blob) of the unit.")]
UnitName = Annotated[str, typer.Option(help="Unit: a channel number from 0, or a class name.")]
UnitPosition = Annotated[
    str,
    typer.Option(
        help="Position on the unit's map: all (each value weighted by the unit's activation "
        "there), center, or y,x."
    ),
]


def named_image(image: str, channels: int, megapixels: float) -> Picture:
    """Read an image file for a net with `channels` channels, or a sample photograph by name."""
    from deepvis_caffe.image import sample_image, sample_images
    from deepvis_caffe.image_channels import read_channels

    if image in sample_images() and not Path(image).exists():
        return sample_image(image)
    return read_channels(image, channels, megapixels=megapixels)


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def with_settings(
    *groups: str, load: bool = True, leave_out: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the flags of these groups of settings, and the resulting settings.

    Parameters
    ----------
    groups
        `deepvis_caffe.settings.fields.MODEL` and so on.
    load
        Whether to read the settings before the command runs.
    leave_out
        Settings of these groups that the command does not use.

    Returns
    -------
    callable
        A decorator. The command's first parameter receives the `Settings`, or without `load` a
        function that reads them and the file named by ``--settings``; its other parameters are its
        own arguments and flags.
    """
    fields = {
        name: field
        for name, field in Settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
        and field.json_schema_extra["group"] in groups
        and name not in leave_out
    }
    added = [
        _option(
            "settings",
            Path,
            "Settings file. Default: $DEEPVIS_SETTINGS, or ./settings_local.py if it exists.",
            "Settings",
            "<file>",
            "-s",
        )
    ]
    for name, field in fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        help_ = f"{field.description} Default: {_as_flag(field.default)}."
        panel, switch = f"{extra['group']} settings", field.annotation is bool
        metavar = None if switch else _choices(name, field)
        added.append(_option(name, bool if switch else str, help_, panel, metavar))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            path = given.pop("settings")
            flags = {name: given.pop(name) for name in fields}
            overrides = {name: value for name, value in flags.items() if value is not None}
            read = functools.partial(_read, path, overrides)
            command(*((read(),) if load else (read, path)), **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[
            1 if load else 2 :
        ]
        kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
        # Typer reads types from here, and `wraps` has copied those of the command.
        run.__annotations__ = {p.name: p.annotation for p in [*kept, *added]}
        del run.__wrapped__
        return run

    return decorate


CHOICES = {  # for settings that take either a keyword or a value
    "device": "auto|cpu|cuda|cuda:N",
    "preset": "1|2|3|4|best|NAME",
    "rate": "auto|paper|NUMBER",
}


def _choices(name: str, field: FieldInfo) -> str:
    """The metavar of a setting: the values that it takes."""
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return CHOICES.get(name) or "|".join(map(str, words)) or "<value>"


def _read(path: Path | None, overrides: dict[str, Any]) -> Settings:
    """Read the settings, and apply their number of threads to this process."""
    from deepvis_caffe.cluster.cores import limit_threads
    from deepvis_caffe.cluster.process import use_threads

    settings = load_settings(path, overrides)
    if settings.threads is not None:
        limit_threads(settings.threads)
        use_threads(settings.threads)
    return settings


def _as_flag(value: Any) -> str:
    """A setting's value as it is written on the command line."""
    if isinstance(value, tuple) and value:
        return ",".join(map(str, value))
    return "none" if value is None or value in ((), {}) else str(value)


def _option(
    name: str, type_: type, help_: str, panel: str, metavar: str | None, *short: str
) -> inspect.Parameter:
    spelled = f"{flag(name)}/{flag(f'no_{name}')}" if type_ is bool else flag(name)
    option = typer.Option(
        spelled, *short, help=help_, rich_help_panel=panel, metavar=metavar, show_default=False
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[type_ | None, option],
    )
