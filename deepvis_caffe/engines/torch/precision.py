"""The type of a net's values: float32, or bfloat16 where that is wanted and faster.

bfloat16 has float32's range, but 8 significant bits instead of 24. Values take half the memory, and
processors with bfloat16 multiplication are up to twice as fast; each value is off by up to 0.4
percent.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

import torch

from deepvis_caffe.engines.rules import NO_GRADIENT
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Layer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Layers that look up, compare or place by numbers that need more than 8 bits, or run user code.
EXACT = NO_GRADIENT - {"Accuracy", "Threshold"} | {"BatchReindex", "Python", "ROIPooling"}


def choose_precision(name: str, device: torch.device, layers: Iterable[Layer]) -> str:
    """``"float32"`` or ``"bfloat16"``.

    Parameters
    ----------
    name
        One of the two; or ``"auto"``: bfloat16 if it is known to be faster and is precise enough
        for every layer.
    device, layers
        Where the net runs, and its layers.

    Raises
    ------
    EngineError
        bfloat16 was requested, and a layer needs more bits.
    """
    if name == "float32":
        return name
    exact = next((layer for layer in layers if layer.type in EXACT), None)
    if name == "auto":
        return "bfloat16" if exact is None and multiplies_bfloat16(device) else "float32"
    if exact is not None:
        raise EngineError(
            f"layer {exact.name!r} ({exact.type}) needs positions and indices that bfloat16 cannot "
            'represent; use precision="float32"'
        )
    return name


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on a device.

    It is on GPUs with compute capability 8.0 or higher, on processors with AMX, and on AMD's with
    AVX512_BF16. Intel's with AVX512_BF16 but without AMX take twice as long as with float32
    (`benchmarks/README.md`).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if _processor_has("amx_tile"):
        return True
    return _processor_has("avx512_bf16") and _vendor() == "AuthenticAMD"


def _processor_has(instructions: str) -> bool:
    """What PyTorch says of the processor; older versions cannot tell, and False is safe."""
    asked = getattr(torch.cpu, f"_is_{instructions}_supported", None)
    return asked is not None and asked()


def _vendor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # Windows, macOS
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(found, "")
