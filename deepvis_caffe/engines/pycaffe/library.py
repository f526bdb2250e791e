"""Caffe itself: importing it quietly, choosing its device, checking what it can run."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Layer

log = logging.getLogger(__name__)

NEEDED = ("Net", "TEST", "layer_type_list", "set_mode_cpu", "set_mode_gpu", "set_device")

GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")  # the driver's device, plain Linux and WSL


def import_caffe() -> Any:
    """Real Caffe's Python module, with its log kept off the screen.

    Raises
    ------
    EngineError
        There is none, it does not load, or what is called `caffe` is something else.
    """
    # glog reads this when the library loads; 2 leaves errors. A user's own choice stays.
    os.environ.setdefault("GLOG_minloglevel", "2")
    how = "run `make pycaffe` to build it, or choose engine='torch'"
    try:
        caffe = importlib.import_module("caffe")
    except ImportError as error:
        raise EngineError(f"pycaffe cannot be imported ({error}); {how}") from error
    missing = [name for name in NEEDED if not hasattr(caffe, name)]
    if missing:
        where = getattr(caffe, "__file__", None) or list(getattr(caffe, "__path__", []))
        raise EngineError(
            f"the module `caffe` at {where} is not Caffe: it has no {', '.join(missing)}; "
            f"remove it from the Python path, then {how}"
        )
    return caffe


def check_types(caffe: Any, layers: Iterable[Layer]) -> None:
    """Refuse layers that this Caffe lacks: Caffe would end the whole process.

    Raises
    ------
    EngineError
        Names every such layer, its type, and the types that there are; or a Python layer whose
        module or class cannot be imported.
    """
    layers = list(layers)
    known = set(caffe.layer_type_list())
    foreign = [layer for layer in layers if layer.type not in known]
    if foreign:
        named = ", ".join(f"{layer.name!r} ({layer.type})" for layer in foreign)
        raise EngineError(
            f"this Caffe ({Path(caffe.__file__).parent}) was built without the types of these "
            f"layers: {named}; use the Caffe that the net was made with, or engine='torch' if it "
            f"has them. This one has: {', '.join(sorted(known))}"
        )
    for layer in layers:
        if layer.type == "Python":
            _check_python_layer(layer)


def _check_python_layer(layer: Layer) -> None:
    module, name = layer.param.python_param.module, layer.param.python_param.layer
    try:
        found = importlib.import_module(module) if module else None
    except Exception as error:  # a user's module may raise anything as it loads
        raise EngineError(
            f"layer {layer.name!r} (Python): its module {module!r} cannot be imported ({error}); "
            "put its folder on PYTHONPATH"
        ) from error
    if not hasattr(found, name):
        raise EngineError(f"layer {layer.name!r} (Python): module {module!r} has no class {name!r}")


def choose_device(device: str) -> str:
    """``"cpu"`` or ``"cuda:<index>"`` for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.

    Raises
    ------
    EngineError
        A GPU was asked for by name, and this Caffe cannot use it; or no such kind of device.
    """
    if device == "cpu":
        return "cpu"
    kind, _, index = ("cuda" if device == "auto" else device).partition(":")
    if kind != "cuda" or not (index or "0").isdecimal():
        raise EngineError(
            f"no device named {device!r}; known: 'auto', 'cpu', 'cuda', 'cuda:<index>'"
        )
    usable = any(Path(file).exists() for file in GPU_FILES) and _gpu_works(int(index or 0))
    if usable:
        return f"cuda:{int(index or 0)}"
    if device == "auto":
        return "cpu"
    raise EngineError(
        f"Caffe cannot use {device!r}: it was built for the CPU only, or no such GPU is here; "
        "choose device='cpu', or build it on a machine with CUDA (`make pycaffe`)"
    )


def enter_device(caffe: Any, device: str) -> None:
    """Make Caffe compute on `device` in the calling thread: it keeps this choice per thread."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        caffe.set_mode_cpu()
    else:
        caffe.set_device(int(index))
        caffe.set_mode_gpu()


@cache
def _gpu_works(index: int) -> bool:
    """Whether Caffe can be put on that GPU.

    A Caffe built for the CPU, or a GPU that is not there, ends the process that asks; so a child
    process asks.
    """
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "  # no core file
        f"import caffe; caffe.set_device({index}); caffe.set_mode_gpu()"
    )
    path = os.pathsep.join(entry or "." for entry in sys.path)
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if asked.returncode:
        log.info("Caffe cannot use GPU %d", index)
    return asked.returncode == 0
