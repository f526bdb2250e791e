"""Test a layer in one line: real Caffe and the torch engine give the same values and diffs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from hypothesis import settings

from deepvis_caffe.engines.base import Net
from deepvis_caffe.model.model import load_model
from helpers.engine_nets import load_text, noise, relative_error

few = settings(deadline=None, derandomize=True, max_examples=25)

FORWARD, BACKWARD = 1e-4, 1e-3


def assert_engines_agree(
    text: str,
    values: Callable[[np.ndarray], np.ndarray] = np.asarray,
    modes: tuple[str, ...] = ("gradient",),
) -> None:
    """Every blob forward, and from every output the diff of every blob.

    Parameters
    ----------
    text
        A net; see `engine_nets.net_text`.
    values
        Makes inputs from standard normal values, where a layer wants others.
    modes
        Backward modes to compare.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights = weights_of(text, Path(folder))
        ours, theirs = (
            load_text(engine, Path(folder), text, weights) for engine in ("torch", "pycaffe")
        )
    x = {
        name: values(noise(*shape, seed=seed)).astype(np.float32)
        for seed, (name, shape) in enumerate(theirs.inputs.items(), 1)
    }
    blobs = list(theirs.model.graph.blobs)
    ours_out, theirs_out = ours.forward(x, blobs=blobs), theirs.forward(x, blobs=blobs)
    assert any(theirs_out[blob].any() for blob in theirs.model.graph.outputs)
    for blob in blobs:
        assert relative_error(ours_out[blob], theirs_out[blob]) < FORWARD, blob
    for seed, output in enumerate(theirs.model.graph.outputs):
        diff = noise(*theirs_out[output].shape, seed=100 + seed)
        for mode in modes:
            assert_same_diffs(ours, theirs, output, diff, mode)


def assert_same_diffs(ours: Net, theirs: Net, seed: str, diff: np.ndarray, mode: str) -> None:
    """The diff of every blob, from one seed, after the same forward."""
    blobs = list(theirs.model.graph.blobs)
    ours_diffs, theirs_diffs = (
        net.backward(seed, diff, mode, blobs=blobs) for net in (ours, theirs)
    )
    for blob in blobs:
        error = relative_error(ours_diffs[blob], theirs_diffs[blob])
        assert error < BACKWARD, (seed, mode, blob, error)


def weights_of(text: str, folder: Path) -> Mapping[str, tuple[np.ndarray, ...]]:
    """Weights of order 1; variances and factors of BatchNorm positive."""
    path = folder / "net.prototxt"
    path.write_text(text)
    model = load_model(path, None, need_weights=False)
    drawn = {}
    for name, shapes in model.weight_shapes.items():
        arrays = [noise(*shape, seed=10 + i) for i, shape in enumerate(shapes)]
        if model.graph.layer(name).type == "BatchNorm":
            mean, variance, factor = arrays
            arrays = [mean, np.abs(variance) + 0.5, np.abs(factor) + 0.5]
        drawn[name] = tuple(arrays)
    return drawn
