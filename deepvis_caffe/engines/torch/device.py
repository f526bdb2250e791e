"""Device, memory format and matmul precision of a torch net."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from deepvis_caffe.errors import EngineError
from deepvis_caffe.shared_setting import SharedSetting


def choose_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is the first CUDA device, if there is one.

    Raises
    ------
    EngineError
        The name is none of "auto", "cpu", "cuda" and "cuda:<number>", or there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if not match:
        raise EngineError(
            f"no device named {name!r}; known: auto, cpu, cuda, cuda:<number>, as in cuda:0"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(match[1] or 0)
    if index >= count:
        raise EngineError(
            f"device {name!r} is not available: this PyTorch ({torch.__version__}) sees {count} "
            'CUDA device(s); use device="cpu", or install a CUDA build of PyTorch and its driver'
        )
    return torch.device("cuda", index)


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last on a CPU, where it is faster for oneDNN's convolutions and pooling."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def vector(like: Tensor, numbers: Sequence[float]) -> Tensor:
    """These numbers, of the type of a tensor and on its device.

    Unlike ``like.new_tensor(numbers)``, this copies nothing from the host, which would wait for a
    GPU.
    """
    return torch.stack([like.new_full((), number) for number in numbers])


def has_packed(x: Tensor) -> bool:
    """Whether oneDNN's operators on packed weights accept x.

    This requires a PyTorch that has them and ``torch.backends.mkldnn.enabled``.
    """
    takes_x = x.device.type == "cpu" and x.dtype == torch.float32
    return takes_x and _has_packed_operators() and bool(torch.backends.mkldnn.enabled)


@functools.cache
def _has_packed_operators() -> bool:
    names = (
        *("_convolution_pointwise", "_linear_pointwise"),
        *("_reorder_convolution_weight", "_reorder_linear_weight"),
    )
    present = all(hasattr(torch.ops.mkldnn, name) for name in names)
    return present and torch.backends.mkldnn.is_available()


def _switches() -> tuple[Any, ...]:
    return torch.backends.cuda.matmul, torch.backends.cudnn


def _allow_tf32(allowed: tuple[bool, ...]) -> None:
    for switch, on in zip(_switches(), allowed, strict=True):
        switch.allow_tf32 = on


_without_tf32: SharedSetting[tuple[bool, ...]] = SharedSetting(
    lambda: tuple(switch.allow_tf32 for switch in _switches()), _allow_tf32, within=(False, False)
)


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """A context in which CUDA multiplies in full float32; enter it once per pass.

    TF32's 10 bits are too few to agree with Caffe. The host's settings are restored afterwards.
    """
    return nullcontext() if device.type == "cpu" else _without_tf32()
