"""Where a torch net computes, how its images lie in memory there, and how exactly it multiplies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from deepvis_caffe.errors import EngineError


def choose_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is the first CUDA device where there is one.

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
            f"no device is named {name!r}; known: auto, cpu, cuda, cuda:<number>, as in cuda:0"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(match[1] or 0)
    if index >= count:
        raise EngineError(
            f"device {name!r} is not there: this PyTorch ({torch.__version__}) sees {count} CUDA "
            'devices; use device="cpu", or install a CUDA build of PyTorch and its driver'
        )
    return torch.device("cuda", index)


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last on a CPU, where oneDNN's convolutions and pooling are faster so."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


@contextmanager
def full_precision() -> Iterator[None]:
    """CUDA multiplies in float32, not in TF32, whose 10 bits are not enough to agree with Caffe."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
