"""Find a CUDA toolkit: ``"auto" | "on" | "off" -> Cuda | None``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from common import BuildError, output_of

__all__ = ["CHOICES", "Cuda", "find_cuda"]

CHOICES = ("auto", "on", "off")
# Caffe calls these three; a driver-only or compiler-only installation lacks them.
PROBE = "#include <cublas_v2.h>\n#include <curand.h>\n#include <cuda_runtime.h>\n"


@dataclass(frozen=True)
class Cuda:
    """A CUDA toolkit that can compile Caffe's kernels.

    Attributes
    ----------
    nvcc : str
        Path of its compiler.
    version : str
        Its release, for example ``12.4``.
    architectures : str
        What to compile for, in CMake's format: ``90``, or ``80;90``.
    """

    nvcc: str
    version: str
    architectures: str

    @property
    def tag(self) -> str:
        """Short name for a wheel's version, for example ``cu124``."""
        return "cu" + self.version.replace(".", "")


def find_cuda(wanted: str) -> Cuda | None:
    """Find the CUDA toolkit to build with.

    Parameters
    ----------
    wanted : {"auto", "on", "off"}
        With ``auto``, CUDA is used if there is a working GPU and a complete toolkit.

    Returns
    -------
    Cuda or None
        None for a CPU-only build.

    Raises
    ------
    BuildError
        If ``wanted`` is ``on`` and there is no toolkit.
    """
    if wanted == "off":
        return None
    gpus = output_of(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"])
    if wanted == "auto" and not gpus:
        return None
    nvcc = find_nvcc()
    about = output_of([nvcc, "--version"]) if nvcc else None
    release = re.search(r"release (\d+\.\d+)", about or "")
    if nvcc is None or release is None:
        problem = "nvcc was not found on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin"
    elif output_of([nvcc, "-x", "cu", "-E", "-"], stdin=PROBE) is None:
        problem = f"{nvcc} cannot compile with the headers of cuBLAS and cuRAND"
    else:
        return Cuda(nvcc, release[1], architectures(gpus or ""))
    if wanted == "on":
        raise BuildError(f"--cuda on: {problem}. Install a CUDA toolkit, or use --cuda off.")
    print(f"There is a GPU, but {problem}: building for the CPU.", file=sys.stderr, flush=True)
    return None


def find_nvcc() -> str | None:
    """Find CUDA's compiler.

    Returns
    -------
    str or None
        Its path.
    """
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [str(Path(home) / "bin") for home in homes if home]
    return shutil.which("nvcc", path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))


def architectures(compute_caps: str) -> str:
    """Turn nvidia-smi's compute capabilities into CMake's list of architectures.

    Parameters
    ----------
    compute_caps : str
        One compute capability per line, such as ``9.0``; empty without a GPU.

    Returns
    -------
    str
        ``$CUDAARCHS`` if it is set, else the GPUs' own, else all that the toolkit knows.
    """
    if os.environ.get("CUDAARCHS"):
        return os.environ["CUDAARCHS"]
    pairs = re.findall(r"^\s*(\d+)\.(\d)\s*$", compute_caps, re.MULTILINE)
    return ";".join(sorted({major + minor for major, minor in pairs}, key=int)) or "all-major"
