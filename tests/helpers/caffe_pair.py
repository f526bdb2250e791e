"""The same net in real pycaffe and in ours, in one process, and the differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import deepvis_caffe.caffe as ours

TOLERANCE = 1e-4  # of an array's largest value, or of 0.01 where that is less


class Pair:
    """A net of real Caffe's and ours, with the same parameters.

    Parameters
    ----------
    caffe
        Real pycaffe.
    folder
        Where the prototxt is written.
    text
        The prototxt.
    phase
        ``"TRAIN"`` or ``"TEST"``.
    """

    def __init__(self, caffe: Any, folder: Path, text: str, phase: str = "TEST") -> None:
        file = folder / "net.prototxt"
        file.write_text(text)
        caffe.set_random_seed(1)  # fillers draw from it
        self.real = caffe.Net(str(file), getattr(caffe, phase))
        self.ours = ours.Net(str(file), getattr(ours, phase))
        for name, blobs in self.real.params.items():
            for mine, theirs in zip(self.ours.params[name], blobs, strict=True):
                mine.data[...] = theirs.data

    def do(self, step: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Do the same with both nets."""
        return step(self.real), step(self.ours)

    def put(self, values: Mapping[str, Any]) -> None:
        """Write into blobs."""
        for net in (self.real, self.ours):
            for name, value in values.items():
                net.blobs[name].data[...] = value

    def check(self, without: Sequence[str] = ()) -> None:
        """Fail unless all blobs and parameters are the same, data and diff."""
        for name, blob in self.real.blobs.items():
            if not name.startswith("(automatic)") and name not in without:
                _check_blob(name, blob, self.ours.blobs[name])
        for name, blobs in self.real.params.items():
            for i, blob in enumerate(blobs):
                _check_blob(f"{name}[{i}]", blob, self.ours.params[name][i])


def _check_blob(name: str, theirs: Any, mine: Any) -> None:
    assert tuple(mine.shape) == tuple(theirs.shape), name
    for part in ("data", "diff"):
        expected, got = getattr(theirs, part), getattr(mine, part)
        scale = max(np.abs(expected).max(initial=0), 0.01)
        np.testing.assert_allclose(got, expected, 0, TOLERANCE * scale, err_msg=f"{name}.{part}")


def net_of(text: str, folder: Path, phase: int = ours.TEST) -> Any:
    """Our net of a prototxt."""
    file = folder / "net.prototxt"
    file.write_text(text)
    return ours.Net(str(file), phase)
