"""Caffe itself: importing it quietly, choosing its device, checking what it can run."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor

from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Layer
from deepvis_caffe.model.python_layers import caffe_type

log = logging.getLogger(__name__)

NEEDED = ("Net", "TEST", "layer_type_list", "set_mode_cpu", "set_mode_gpu", "set_device")

GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")  # the driver's device, plain Linux and WSL


def import_caffe() -> Any:
    """Real Caffe's Python module, with its log silenced.

    Raises
    ------
    EngineError
        There is none, it fails to load, or the module called `caffe` is something else.
    """
    how = "run `make pycaffe` to build it, or choose engine='torch'"
    try:
        with _quiet_log():
            caffe = importlib.import_module("caffe")
    except ImportError as error:
        raise EngineError(f"pycaffe cannot be imported ({error}); {how}") from error
    if caffe.__name__ != "caffe":
        raise EngineError(
            f"pycaffe cannot be imported: in this process, `caffe` is {caffe.__name__}; "
            "choose engine='torch'"
        )
    missing = [name for name in NEEDED if not hasattr(caffe, name)]
    if missing:
        where = getattr(caffe, "__file__", None) or list(getattr(caffe, "__path__", []))
        raise EngineError(
            f"the module `caffe` at {where} is not Caffe: it has no {', '.join(missing)}; "
            f"remove it from the Python path, then {how}"
        )
    return caffe


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Have glog log errors only; it reads the environment when the library loads."""
    name = "GLOG_minloglevel"
    if name in os.environ:  # the user's own choice
        yield
        return
    os.environ[name] = "2"
    try:
        yield
    finally:
        del os.environ[name]


def caffe_version(caffe: Any) -> str:
    """The version of this Caffe; "unknown" if it has none."""
    found = getattr(caffe, "__version__", None)
    if found:
        return str(found)
    try:
        return version("caffe")
    except PackageNotFoundError:
        return "unknown"


def why_unknown(caffe: Any, layers: Iterable[Layer]) -> dict[str, str]:
    """The layers that this Caffe lacks, by name, and why; it would abort the process on them.

    A layer is missing if Caffe was built without its type or with another fork's layer of that
    type, or if it is a Python layer whose module or class cannot be imported.
    """
    from caffe.proto import caffe_pb2

    known = set(caffe.layer_type_list())
    reasons = {}
    for layer in layers:
        kind = caffe_type(layer.type)
        if kind not in known:
            reasons[layer.name] = (
                f"this Caffe ({Path(caffe.__file__).parent}) was built without the layer type "
                f"{layer.type!r}; use the Caffe that the net was made with"
            )
        elif is_anothers(layer, caffe_pb2.LayerParameter.DESCRIPTOR):
            reasons[layer.name] = (
                f"the layer type {layer.type!r} in this Caffe ({Path(caffe.__file__).parent}) is "
                "another fork's; use the Caffe that the net was made with, or engine='torch'"
            )
        elif kind == "Python" and (why := _why_no_python_layer(layer)):
            reasons[layer.name] = why
    return reasons


def is_anothers(layer: Layer, schema: Descriptor) -> bool:
    """Whether this Caffe has another fork's layer under the same type name.

    SegNet's Upsample takes a mask and has a size, YOLO's takes none; a Normalize is SSD's or that
    of caffe-windows; a Gather picks indices, or joins processes and has no parameters; Pad and
    PixelShuffle differ in their parameters.
    """
    fields = schema.fields_by_name
    if layer.type == "Upsample" and "upsample_param" in fields:
        options = fields["upsample_param"].message_type
        of_segnet = options is not None and "upsample_h" in options.fields_by_name
        return of_segnet != (len(layer.bottoms) == 2)
    if layer.type == "Pad" and "pad_param" in fields:
        message = fields["pad_param"].message_type
        known = message.fields_by_name if message else {}
        return any(field.name not in known for field, _ in layer.param.pad_param.ListFields())
    if layer.type == "PixelShuffle":
        spelled = layer.param.HasField("pixel_shuffle_param")
        return ("pixel_shuffle_param" if spelled else "pixelshuffle_param") not in fields
    if layer.type == "Normalize":
        own = "normalize_param" if layer.param.HasField("normalize_param") else "norm_param"
        return own not in fields
    return layer.type == "Gather" and "gather_param" not in fields


def _why_no_python_layer(layer: Layer) -> str:
    module, name = layer.param.python_param.module, layer.param.python_param.layer
    try:
        found = importlib.import_module(module) if module else None
    except Exception as error:  # a user's module may raise anything on import
        return f"its module {module!r} cannot be imported ({error}); put its folder on PYTHONPATH"
    return "" if hasattr(found, name) else f"module {module!r} has no class {name!r}"


def choose_device(device: str) -> str:
    """``"cpu"`` or ``"cuda:<index>"`` for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.

    Raises
    ------
    EngineError
        A GPU was requested and this Caffe cannot use it, or there is no such kind of device.
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
        f"Caffe cannot use {device!r}: it was built without CUDA, or there is no such GPU; use "
        "device='cpu', or build it on a machine with CUDA (`make pycaffe`)"
    )


def enter_device(caffe: Any, device: str) -> None:
    """Make Caffe compute on `device` in the calling thread; the setting is per thread."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        caffe.set_mode_cpu()
    else:
        caffe.set_device(int(index))
        caffe.set_mode_gpu()


def check_builds(prototxt: Path) -> None:
    """Build a net in a child process first, so that a Caffe abort ends only that.

    Raises
    ------
    EngineError
        Caffe cannot build it; includes Caffe's last message.
    """
    ended = _run_apart(f"caffe.set_mode_cpu(); caffe.Net({str(prototxt)!r}, caffe.TEST)")
    if ended.returncode:
        raise EngineError(
            f"Caffe cannot build this net: {_last_words(ended.stderr)}. Some of its layers are of "
            "types that only Caffe can check; check their parameters"
        )


def why_not_at_size(
    net: str, sizes: Mapping[str, tuple[int, ...]], segments: Iterable[tuple[int, int]]
) -> str:
    """Run a net at other input sizes in a child process first; Caffe's message if it aborts.

    Parameters
    ----------
    net
        Its prototxt.
    sizes
        Shape by input blob.
    segments
        First and last index of the layers to run.

    Returns
    -------
    str
        Empty if they ran.
    """
    with tempfile.TemporaryDirectory(prefix="deepvis-") as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(net, encoding="utf-8")
        ended = _run_apart(
            f"caffe.set_mode_cpu(); net = caffe.Net({str(path)!r}, caffe.TEST)\n"
            f"for name, shape in {dict(sizes)!r}.items(): net.blobs[name].reshape(*shape)\n"
            f"for first, last in {list(segments)!r}: net._forward(first, last)"
        )
    return _last_words(ended.stderr) if ended.returncode else ""


def _last_words(log: str) -> str:
    """What Caffe logged as it aborted, or the exception that a Python layer raised."""
    lines = [line for line in log.splitlines() if line.strip()]
    # F0102 03:04:05.678 4321 file.cpp:12] Check failed: ...
    fatal = [line.split("] ", 1)[-1] for line in lines if re.match(r"F\d{4,8} ", line)]
    return (fatal or lines or ["it exited without a message"])[-1]


@cache
def _gpu_works(index: int) -> bool:
    """Whether Caffe can use that GPU.

    A CPU-only Caffe, or a missing GPU, aborts the process that asks, so a child process asks.
    """
    ended = _run_apart(f"caffe.set_device({index}); caffe.set_mode_gpu()")
    if ended.returncode:
        log.info("Caffe cannot use GPU %d: %s", index, _last_words(ended.stderr))
    return ended.returncode == 0


def _run_apart(code: str) -> subprocess.CompletedProcess[str]:
    """Run code that may abort in a child process, with `caffe` imported and no core dump."""
    first = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); import caffe; "
    path = os.pathsep.join(entry or "." for entry in sys.path)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", first + code],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
