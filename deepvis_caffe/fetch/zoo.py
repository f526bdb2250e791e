"""Known models, ready to run: ``zoo("squeezenet") -> Net``."""

from __future__ import annotations

import os

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import Engine, Precision, load_net
from deepvis_caffe.fetch import fetch_model
from deepvis_caffe.fetch.table import known_model
from deepvis_caffe.progress import ProgressCallback


def zoo(
    name: str,
    engine: Engine = "auto",
    *,
    device: str = "auto",
    precision: Precision = "float32",
    folder: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> Net:
    """Fetch a known model, unless it is cached already, and load it.

    >>> net = zoo("squeezenet")
    >>> net.label("pool10", 281)
    'tabby, tabby cat'

    Parameters
    ----------
    name
        One of `deepvis_caffe.fetch.known_models`; ``deepvis fetch`` lists them.
    engine, device, precision
        As for `load_net`.
    folder, progress
        As for `deepvis_caffe.fetch.fetch`.

    Returns
    -------
    Net
        With the mean and scale that the model was trained with, and its labels.

    Raises
    ------
    UnknownNameError
        There is no such model.
    FetchError
        There is no connection, or the weights are not the published ones.
    EngineError
        As `load_net`.
    """
    model = known_model(name)
    return load_net(
        model.prototxt,
        fetch_model(model, folder, progress),
        engine,
        mean=model.mean,
        raw_scale=model.raw_scale,
        input_scale=model.input_scale,
        labels=model.labels,
        device=device,
        precision=precision,
    )
