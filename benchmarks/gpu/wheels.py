"""Fetch the packages that the GPU machine lacks: ``machine.txt -> benchmarks/gpu/wheels/``.

    python -m benchmarks.gpu.wheels [--python 3.12] [--machine FILE] [--pycaffe WHEEL]

Run it on a machine with a network. It downloads with pip the wheels that deepvis_caffe and its
tests need, and their dependencies, for Python 3.12 on Linux, except for packages that `machine.txt`
lists. `--pycaffe` adds a wheel built by `tools/pycaffe/build.py --cuda on` for that Python, and the
libraries that it links to, except for those of CUDA and of the C and C++ compiler. At the end it
prints the total size.
"""

from __future__ import annotations

import argparse
import ast
import email
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from pip._vendor.packaging.markers import default_environment
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WHEELS = HERE / "wheels"
TESTS = ("pytest", "pytest-timeout", "hypothesis", "lmdb")
NEVER = {"torch", "numpy"}  # installed already, and compatible with each other
ALWAYS = {"protobuf"}  # generated code needs a version at least as new as its own
# Libraries of every Linux, and those of CUDA's toolkit.
EVERYWHERE = ("ld-linux", "libc.", "libm.", "libpthread.", "libdl.", "librt.", "libgcc_s.")
EVERYWHERE += ("libstdc++.", "libresolv.", "libcuda", "libcublas", "libcurand")
LIBRARIES = "caffe_libraries.tar.xz"
LIMIT = 64 * 2**20
# pip compares tags literally: a wheel for an older C library has an older tag.
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in range(39, 16, -1)] + ["manylinux2014_x86_64"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.wheels", description=__doc__)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--machine", type=Path, default=HERE / "machine.txt")
    parser.add_argument("--pycaffe", type=Path, help="a wheel, for the GPU")
    parser.add_argument("--to", type=Path, default=WHEELS)
    options = parser.parse_args()
    options.to.mkdir(exist_ok=True, parents=True)
    have = {canonicalize_name(name) for name in lines(options.machine)} - ALWAYS | NEVER
    for wheel in options.to.glob("*.whl"):
        if not wheel.name.startswith("caffe-"):
            wheel.unlink()
    fetch_all(wanted(), have, options.python, options.to)
    if options.pycaffe:
        carry_pycaffe(options.pycaffe, options.to)
    files = sorted(options.to.iterdir())
    for file in files:
        print(f"{file.stat().st_size / 2**20:7.2f} MiB  {file.name}")
    total = sum(file.stat().st_size for file in files)
    print(f"{total / 2**20:7.2f} MiB in all; the limit is {LIMIT // 2**20}")
    if total > LIMIT:
        sys.exit("too much: leave something out")


def carry_pycaffe(wheel: Path, folder: Path) -> None:
    """Copy the wheel, and the libraries that the loader finds here for its module."""
    shutil.copy(wheel, folder)
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(wheel) as archive:
        module = archive.extract("caffe/_caffe.so", temporary)
        told = subprocess.run(["ldd", module], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^\s+(\S+) => (/\S+)", told, re.MULTILINE))
    if missing := re.findall(r"^\s+(\S+) => not found", told, re.MULTILINE):
        print(f"not found here, and so left out: {', '.join(missing)}", file=sys.stderr)
    with tarfile.open(folder / LIBRARIES, "w:xz") as archive:
        for name, path in sorted(found.items()):
            if not name.startswith(EVERYWHERE):
                archive.add(Path(path).resolve(), name)


def lines(path: Path) -> list[str]:
    """The lines of a file, without comments."""
    read = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in read if line.strip() and not line.startswith("#")]


def wanted() -> list[str]:
    """The requirements of deepvis_caffe, from setup.py, and of its tests."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    required = next(
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "install_requires"
    )
    return [*required, *TESTS]


def fetch_all(names: list[str], have: set[str], python: str, folder: Path) -> None:
    """Download these wheels and their requirements, each once."""
    pinned = {re.split("==", line)[0]: line for line in lines(ROOT / "constraints.txt")}
    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.3",
        "extra": "",
    }
    done = set(have)
    queue = [Requirement(name) for name in names]
    while queue:
        requirement = queue.pop(0)
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        if name in done or (name == "opencv-python" and "opencv-python-headless" in done):
            continue
        done.add(name)
        spec = pinned.get(name) or f"{requirement.name}{requirement.specifier}"
        queue += requirements_of(download(spec, python, folder))


def download(spec: str, python: str, folder: Path) -> Path:
    """The wheel that pip chooses."""
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--python-version", python, "--implementation", "cp"]
    command += [word for one in PLATFORMS for word in ("--platform", one)]
    subprocess.run([*command, spec], check=True)
    (new,) = set(folder.glob("*.whl")) - before
    return new


def requirements_of(wheel: Path) -> list[Requirement]:
    """The requirements in a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        read = email.message_from_bytes(archive.read(name))
    return [Requirement(line) for line in read.get_all("Requires-Dist") or []]


if __name__ == "__main__":
    main()
