"""A pycaffe built with CUDA: imported, checked, tested by the contract, timed beside the engine.

Run by `python -m benchmarks.gpu`. It installs the wheel `caffe-*.whl` for this Python from the
fetched ones, and those libraries beside it that this machine lacks. Without such a wheel it tries
to build one with this machine's nvcc, and reports how far it got.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.common import ELSEWHERE, REHEARSAL, WHEELS, seconds_left, write
from benchmarks.gpu.tests import run

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = "caffe_libraries.tar.xz"
NET, LAYER = "squeezenet_v1.1", "pool10"
BATCHES = (1,) if REHEARSAL else (1, 8, 32)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = find_wheel() or build(Path(folder))
        if wheel is None:
            return
        site, libraries = Path(folder, "site"), Path(folder, "libraries")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--no-compile", "--target", str(site), str(wheel)], check=True)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        taken = unpack_missing(libraries)
        paths = [libraries, *cuda_folders()]
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(
            [*map(str, paths), os.environ.get("LD_LIBRARY_PATH", "")]
        )
        version = wheel.name.split("-")[1]
        smoke = (ROOT / "tools/pycaffe/smoke.py").read_text(encoding="utf-8")
        device = "cpu" if REHEARSAL else "gpu"
        done = said([sys.executable, "-c", smoke, version, device], folder)
        ok = done.returncode == 0
        words = (done.stdout + done.stderr)[-1500:]
        write("pycaffe", "import and check", wheel=wheel.name, ok=ok, libraries=taken, said=words)
        if not ok:
            return
        command = [sys.executable, "-m", "benchmarks.gpu.pycaffe", "40", "time"]
        done = said(command, str(ROOT), min(45, seconds_left() - 5))
        if done.returncode:
            write("pycaffe", "timing failed", said=(done.stdout + done.stderr)[-1500:])
        tests = ["-k", "pycaffe", "tests/engines/test_contract.py"]
        if REHEARSAL:
            tests = ["-k", "pycaffe and says_what_it_is", "tests/engines/test_contract.py"]
        run("contract, pycaffe in GPU mode", tests, ELSEWHERE, "pycaffe")


def said(command: list[str], folder: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command, and capture its output."""
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, 1, str(late.stdout or ""), "took too long")


def find_wheel() -> Path | None:
    """The wheel for this Python, if there is one."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return next(iter(sorted(WHEELS.glob(f"caffe-*-{tag}-*.whl"))), None)


def build(folder: Path) -> Path | None:
    """Build a wheel with what this machine has, within the time left."""
    sdist = next(iter(WHEELS.glob("brocolli-caffe-*.tar.gz")), None)
    command = [sys.executable, "tools/pycaffe/build.py", "--no-install"]
    command += ["--cuda", "off" if REHEARSAL else "on"]
    command += ["--sdist", str(sdist)] if sdist else []
    os.environ["DEEPVIS_CACHE"] = str(folder / "cache")
    if REHEARSAL:
        write("pycaffe", "no wheel for this Python", would=" ".join(command[1:]))
        return None
    done = said(command, str(ROOT), max(1, seconds_left() - 20))
    write(
        "pycaffe",
        "built here",
        ok=done.returncode == 0,
        said=(done.stdout + done.stderr)[-2500:],
    )
    return next(iter((folder / "cache").rglob("caffe-*.whl")), None)


def unpack_missing(folder: Path) -> list[str]:
    """Put the bundled libraries that this system lacks into a folder; returns their names."""
    folder.mkdir()
    archive = WHEELS / LIBRARIES
    if not archive.exists():
        return []
    taken = []
    with tarfile.open(archive) as members:
        for member in members:
            name = Path(member.name).name
            content = members.extractfile(member)
            if content and not loads(name):
                (folder / name).write_bytes(content.read())
                taken.append(name)
    return taken


def loads(name: str) -> bool:
    """Whether the system finds a library by its name."""
    done = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({name!r})"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def cuda_folders() -> list[Path]:
    """Where CUDA's libraries may be: in the toolkit, and in the packages that PyTorch installs."""
    folders = [Path("/usr/local/cuda/lib64")]
    for site in {sysconfig.get_path("purelib"), *_package_folders("torch")}:
        folders += sorted(Path(site).glob("nvidia/*/lib"))
    return [folder for folder in folders if folder.is_dir()]


def _package_folders(name: str) -> list[str]:
    found = importlib.util.find_spec(name)
    return (
        [str(Path(one).parent) for one in (found.submodule_search_locations or [])] if found else []
    )


# -- timing, in a process of its own ---------------------------------------------------------------


def time_both() -> None:
    """Time forward and gradient of both engines, in milliseconds per image."""
    from benchmarks.cases import load

    for engine in ("pycaffe", "torch"):
        net, _, _ = load(NET, engine, ELSEWHERE)
        for batch in BATCHES:
            x = net.ops.asarray(
                np.random.default_rng(0).normal(0, 50, (batch, *net.preprocessor.shape))
            )
            found = [_pass(net, x) for _ in range(2 if REHEARSAL else 12)]
            write(
                "pycaffe",
                "forward and gradient",
                engine=engine,
                device=net.device,
                batch=batch,
                ms_an_image=round(1000 * float(np.median(found[1:])) / batch, 3),
            )


def _pass(net: Any, x: Any) -> float:
    began = time.monotonic()
    value = net.evaluate(x, LAYER)
    net.ops.numpy(net.input_gradient(value))  # waits for the GPU
    return time.monotonic() - began


if __name__ == "__main__":
    if sys.argv[2:] == ["time"]:
        time_both()
    else:
        main()
