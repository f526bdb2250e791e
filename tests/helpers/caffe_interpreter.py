"""Run small pycaffe programs line by line, and record the state after each line.

A program is a script as users write them, one statement per line, with the files that it reads:

    {"files": {"net.prototxt": "..."}, "lines": ["net = caffe.Net('net.prototxt', 1)", ...]}

This file is also a program of its own: ``python -m helpers.caffe_interpreter MODULE`` imports that
module as ``caffe`` and runs the programs that it reads from its standard input, one a line as JSON.
It answers with one line of JSON for each line that was run: the value of an expression or the class
of an error, and at the lines that `looks` lists (all of them if it is missing) every array of every
net, and whatever the program's names hold.

Real Caffe frees a blob's memory when it grows or begins to share another's. A view that was taken
before points nowhere from then on, so the interpreter drops such names (`stale`) and reports them;
our module is told to drop the same.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Standard normal values, times `scale`."""
    return (scale * np.random.RandomState(seed).standard_normal(shape)).astype(np.float32)


def like(blob: Any, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Noise in the shape of a blob."""
    return noise(*blob.shape, seed=seed, scale=scale)


def labels(blob: Any, classes: int, seed: int = 0) -> np.ndarray:
    """Classes in the shape of a blob."""
    return np.random.RandomState(seed).randint(classes, size=tuple(blob.shape))


def randomize(net: Any, seed: int = 0) -> None:
    """Write every parameter: sums keep the size of what they add, variances are positive."""
    random = np.random.RandomState(seed)
    kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            shape = tuple(blob.data.shape)
            values = random.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))
            if kinds[name] == "BatchNorm" and i > 0:  # the variance, and the factor of both
                values = np.abs(values) + 0.5
            blob.data[...] = values


def plain(value: Any) -> Any:
    """A value as JSON can hold it; dicts are sorted, because Caffe's come from a set."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.ndarray | np.generic | float):
        array = np.asarray(value)
        return {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "bytes": base64.b64encode(array.tobytes()).decode(),
        }
    if isinstance(value, Mapping):
        return {"dict": {str(key): plain(value[key]) for key in sorted(value, key=str)}}
    if hasattr(value, "data") and hasattr(value, "diff"):
        return {"dict": {"data": plain(value.data), "diff": plain(value.diff)}}
    if hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    return "an object"


def state_of(net: Any) -> dict[str, Any]:
    """Everything that a user can read of a net."""
    return {
        "layers": list(net._layer_names),
        "types": [layer.type for layer in net.layers],
        "blobs": list(net.blobs),
        "inputs": list(net.inputs),
        "outputs": list(net.outputs),
        "top_names": [list(item) for item in net.top_names.items()],
        "bottom_names": [list(item) for item in net.bottom_names.items()],
        "params": list(net.params),
        "data": plain({name: blob.data for name, blob in net.blobs.items()}),
        "diff": plain({name: blob.diff for name, blob in net.blobs.items()}),
        "param data": plain({k: [blob.data for blob in v] for k, v in net.params.items()}),
        "param diff": plain({k: [blob.diff for blob in v] for k, v in net.params.items()}),
    }


class Freed:
    """Knows which views point to memory that real Caffe has freed."""

    def __init__(self) -> None:
        self.capacity: dict[int, int] = {}
        self.known: list[Any] = []  # keeps the blobs alive, so that their ids are not used again

    def stale(self, names: Mapping[str, Any], nets: Mapping[str, Any]) -> list[str]:
        """The names that hold a stale view, after a line was run."""
        grown = set()
        for net in nets.values():
            for blob in net.blobs.values():
                count = int(np.prod(list(blob.shape)))
                before = self.capacity.get(id(blob))
                if before is None:
                    self.known.append(blob)
                elif count > before:
                    grown.add(id(blob))
                self.capacity[id(blob)] = max(count, before or 0)
        return [
            name
            for name, value in names.items()
            if any(self._is_stale(array, grown) for array in _arrays(value))
        ]

    @staticmethod
    def _is_stale(array: np.ndarray, grown: set[int]) -> bool:
        while isinstance(array.base, np.ndarray):
            array = array.base
        blob = array.base
        if blob is None:  # a copy
            return False
        now = (blob.data.ctypes.data, blob.diff.ctypes.data)
        return id(blob) in grown or array.ctypes.data not in now


def _arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _arrays(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _arrays(item)


def run(program: dict[str, Any], caffe: Any) -> Iterator[dict[str, Any]]:
    """Run a program in the working folder; what each line left behind, one after the other."""
    for name, text in program["files"].items():
        Path(name).write_text(text)
    given = {f.__name__: f for f in (noise, like, labels, randomize)}
    given |= {"caffe": caffe, "np": np}
    names = dict(given)
    freed = Freed() if caffe.__name__ == "caffe" else None
    looks = program.get("looks")
    for i, line in enumerate(program["lines"]):
        left: dict[str, Any] = {}
        try:
            left["value"] = plain(_execute(line, names))
        except Exception as error:
            left["error"] = [kind.__name__ for kind in type(error).__mro__]
            left["message"] = str(error)
        own = {k: v for k, v in names.items() if k not in given and not k.startswith("__")}
        nets = {name: value for name, value in own.items() if hasattr(value, "_layer_names")}
        left["stale"] = freed.stale(own, nets) if freed else program["stale"][i]
        for name in left["stale"]:
            del names[name], own[name]
        if looks is None or i in looks:
            left["nets"] = {name: state_of(net) for name, net in nets.items()}
            left["names"] = {
                name: plain(value)
                for name, value in own.items()
                if name not in nets and not callable(value)
            }
        yield left


def _execute(line: str, names: dict[str, Any]) -> Any:
    try:
        code = compile(line, "program", "eval")
    except SyntaxError:
        exec(compile(line, "program", "exec"), names)
        return None
    return eval(code, names)


def main(module: str) -> None:
    """Answer programs until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a module prints must not come between the answers
    caffe = importlib.import_module(module)
    for request in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for left in run(json.loads(request), caffe):
                print(json.dumps(left), file=answers, flush=True)
            os.chdir("/")
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
