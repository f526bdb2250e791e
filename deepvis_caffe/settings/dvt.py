"""Settings of the Deep Visualization Toolbox (DVT): ``{its names: values} -> {our names: values}``.

A `settings_local.py` written for DVT loads as it is. Settings without a meaning here (window panes,
fonts, sleeps, the path of its patched Caffe) are ignored, and listed in one warning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepvis_caffe.files import exists, read_file
from deepvis_caffe.limits import PROTOTXT

log = logging.getLogger(__name__)

PREFIX = "caffevis_"

RENAMED = {
    "caffevis_deploy_prototxt": "prototxt",
    "caffevis_network_weights": "weights",
    "caffevis_data_mean": "mean",
    "caffevis_labels": "labels",
    "caffevis_unit_jpg_dir": "results",
    "caffevis_jpgvis_remap": "pictures_from",
}
PRETTY_NAME = "caffevis_layer_pretty_name_fn"
SWITCHES = ("caffevis_mode_gpu", "caffevis_gpu_id", "static_file_stretch_mode")
SOURCES = ("input_updater_capture_device", "static_files_dir")  # the camera, then the files
INPUT_IMAGES = "input_images"  # in DVT's folder: its default for the files
NAME = re.compile(r"""\b(?:name|top)\s*:\s*(["'])(.*?)\1""")  # in a prototxt


def is_dvt(names: Mapping[str, Any]) -> bool:
    """Whether a settings file was written for DVT."""
    return any(name.startswith(PREFIX) for name in names)


def translate(
    names: Mapping[str, Any], known: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """Turn DVT's names into ours.

    Parameters
    ----------
    names
        What the file assigns. Our own names may be used beside DVT's, and take precedence.
    known
        Our own names.
    folder
        What ``%DVT_ROOT%`` stands for: the settings file's folder, as in DVT.

    Returns
    -------
    values
        By our names.
    unused
        Names without a meaning here, in the file's order.
    """
    values: dict[str, Any] = {
        ours: _with_root(names[theirs], folder)
        for theirs, ours in RENAMED.items()
        if theirs in names
    }
    if "caffevis_mode_gpu" in names:
        values["device"] = _device(bool(names["caffevis_mode_gpu"]), names.get("caffevis_gpu_id"))
    if "static_file_stretch_mode" in names:
        values["resize"] = "stretch" if names["static_file_stretch_mode"] else "crop"
    if callable(pretty := names.get(PRETTY_NAME)):
        prototxt = names.get("prototxt") or values.get("prototxt") or ""
        values["layer_names"] = _short_names(pretty, folder / str(prototxt))
    sources = [
        str(_with_root(names[name], folder)) for name in SOURCES if names.get(name) is not None
    ]
    if "static_files_dir" not in names and exists(folder / INPUT_IMAGES):
        camera = names.get("input_updater_capture_device", 0)  # DVT's own default
        sources = [*([] if camera is None else [str(camera)]), str(folder / INPUT_IMAGES)]
    if sources:
        values["source"] = ",".join(sources)
    values |= {name: value for name, value in names.items() if name in known}
    used = {*RENAMED, *SWITCHES, *SOURCES, PRETTY_NAME, *known}
    return values, [name for name in names if name not in used]


def _device(gpu: bool, index: Any) -> str:
    if not gpu:
        return "cpu"
    # True was DVT's default, so without a number it means: a GPU if there is one.
    return "auto" if index is None else f"cuda:{index}"


def _short_names(pretty: Callable[[str], Any], prototxt: Path) -> dict[str, str]:
    """The short names that the file's function gives to the net's layers."""
    try:
        text = read_file(prototxt, PROTOTXT).decode(errors="replace")
    except OSError:  # loading the net reports it
        return {}
    found = {}
    for name in dict.fromkeys(match[2] for match in NAME.finditer(text)):
        try:
            shown = pretty(name)
        except Exception as error:  # the user's own code
            log.warning("%s fails for layer %r, which keeps its name: %r", PRETTY_NAME, name, error)
            continue
        if isinstance(shown, str) and shown.strip() and shown != name:
            found[name] = shown
    return found


def _with_root(value: Any, folder: Path) -> Any:
    return value.replace("%DVT_ROOT%", str(folder)) if isinstance(value, str) else value
