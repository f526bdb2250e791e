"""``deepvis fetch MODEL``: weights by name, and the settings that go with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepvis_caffe.cli.hints import command
from deepvis_caffe.cli.progress import progress_bar
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings.file import FILE_NAME

if TYPE_CHECKING:
    from deepvis_caffe.fetch import KnownModel


def fetch(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="Name of the model. Without it, all known models are listed."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the weights. Default: a cache folder.")
    ] = None,
    write_settings: Annotated[
        bool,
        typer.Option(
            "--write-settings", help=f"Write a matching ./{FILE_NAME}, unless one exists."
        ),
    ] = False,
    checksum: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="Checksum to verify the weights with, sha256:..., if none is published.",
        ),
    ] = None,
) -> None:
    """Download the weights of a known model and print matching settings."""
    from deepvis_caffe import fetch as fetching

    models = fetching.known_models()
    if model is None:
        for name, row in models.items():
            typer.echo(f"{name:16}{row.title}")
        return
    with progress_bar(f"fetching {model}", "bytes") as report:
        path = fetching.fetch(model, folder, report, checksum)
    text = settings_text(models[model], path)
    typer.secho(f"weights: {path}\n", err=True)
    if not write_settings:
        typer.secho(f"add these lines to {FILE_NAME}:\n", err=True)
        typer.echo(text, nl=False)
    elif write_new(Path(FILE_NAME), text):
        typer.secho(f"wrote {FILE_NAME}; try: {command('info')}", err=True)
    else:
        typer.secho(
            f"{FILE_NAME} already exists and was not changed; for this model it needs:\n", err=True
        )
        typer.echo(text, nl=False)


def settings_text(model: KnownModel, weights: Path) -> str:
    """The lines of a settings file for a fetched model."""
    lines = [
        f"# {model.title}",
        f"prototxt = {str(model.prototxt)!r}",
        f"weights = {str(weights.absolute())!r}",
        f"mean = {model.mean!r}",
    ]
    if model.labels is not None:
        lines.append(f"labels = {str(model.labels)!r}")
    for name, usual in (("raw_scale", 255), ("input_scale", 1)):
        if (value := getattr(model, name)) != usual:
            lines.append(f"{name} = {value!r}")
    return "\n".join(lines) + "\n"


def write_new(path: Path, text: str) -> bool:
    """Write a new file; returns False if the file already exists."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise SettingsError(f"cannot write {path.absolute()}: {error.strerror}") from error
    return True
