"""One call from files to a running net: ``load_net(prototxt, weights) -> Net``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.pycaffe.library import import_caffe
from deepvis_caffe.errors import EngineError, ModelError, SettingsError, UnknownNameError
from deepvis_caffe.model.inputs import is_data
from deepvis_caffe.model.mean import MeanSpec
from deepvis_caffe.model.model import Model, Weights, load_model
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.settings import Settings

log = logging.getLogger(__name__)

Engine = Literal["auto", "pycaffe", "torch"]


def load_net(
    prototxt: str | Path | Settings,
    weights: str | Path | Weights | None = None,
    engine: Engine = "auto",
    *,
    mean: MeanSpec = None,
    channel_swap: Sequence[int] | None = None,
    raw_scale: float = 255.0,
    input_scale: float = 1.0,
    resize: Literal["crop", "stretch"] = "crop",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    device: str = "auto",
) -> Net:
    """Load a Caffe model onto an engine.

    Parameters
    ----------
    prototxt
        Path of a deploy or train_val file; or the settings, which then say all the rest.
    weights
        Path of a ``.caffemodel`` or ``.caffemodel.h5``, or arrays by layer name; None for a net
        without weights.
    engine
        ``"pycaffe"``, ``"torch"``, or ``"auto"``: pycaffe where it can be imported, torch where it
        cannot.
    mean, channel_swap, raw_scale, input_scale, resize
        How a picture becomes the net's input; see `Preprocessor`.
    input_shapes
        Shape by input blob, batch axis first, where the file does not tell or another is wanted.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.

    Raises
    ------
    ModelError, WeightsError, ImageError
        The net, its weights or its mean cannot be read or do not belong together.
    EngineError
        The engine cannot be imported, or cannot run this net or use this device.
    """
    if isinstance(prototxt, Settings):
        return _load_from(prototxt)
    chosen = choose_engine(engine)
    model = load_model(prototxt, weights, input_shapes)
    preprocessor = Preprocessor(
        shape=_image_shape(model),
        mean=mean,
        channel_swap=channel_swap,
        raw_scale=raw_scale,
        input_scale=input_scale,
        resize=resize,
    )
    if chosen == "pycaffe":
        from deepvis_caffe.engines.pycaffe import PycaffeNet

        return PycaffeNet(model, preprocessor, device)
    from deepvis_caffe.engines.torch import TorchNet

    return TorchNet(model, preprocessor, device)


def choose_engine(engine: str) -> str:
    """The engine's name, ``"auto"`` resolved: pycaffe where it can be imported, else torch.

    Raises
    ------
    EngineError
        Neither can be imported.
    UnknownNameError
        There is no such engine.
    """
    if engine not in get_args(Engine):
        raise UnknownNameError("engine", engine, get_args(Engine))
    if engine != "auto":
        return engine
    try:
        import_caffe()
    except EngineError as error:
        log.info("engine auto: %s", error)
        if find_spec("torch"):
            return "torch"
        raise EngineError(
            "no engine: neither pycaffe nor PyTorch can be imported here. Install PyTorch with: "
            f"pip install 'deepvis_caffe[torch]'; or build pycaffe with: make pycaffe ({error})"
        ) from error
    return "pycaffe"


def _load_from(settings: Settings) -> Net:
    if settings.prototxt is None:
        raise SettingsError(
            "the settings name no prototxt: set `prototxt` (and `weights`) in settings_local.py, "
            "or give --prototxt"
        )
    shapes = settings.input_shape
    if shapes is not None and not isinstance(shapes, Mapping):
        shapes = {_first_input(settings.prototxt): shapes}
    return load_net(
        settings.prototxt,
        settings.weights,
        settings.engine,
        mean=settings.mean,
        channel_swap=settings.channel_swap,
        raw_scale=settings.raw_scale,
        input_scale=settings.input_scale,
        resize=settings.resize,
        input_shapes=shapes,
        device=settings.device,
    )


def _first_input(prototxt: Path) -> str:
    """The blob that a shape without a name is for."""
    for layer in read_prototxt(prototxt).layer:
        if layer.type == "Input" or is_data(layer):
            return layer.top[0]
    raise ModelError(f"{prototxt} has no input, so the input_shape in the settings fits none")


def _image_shape(model: Model) -> tuple[int, int, int]:
    """(C, H, W) of the first input; what it lacks of these axes has size 1."""
    name, shape = next(iter(model.input_shapes.items()))
    if len(shape) > 4:
        raise ModelError(
            f"the first input, {name!r}, has shape {shape}; it must be (N, C, H, W) to hold images"
        )
    _, channels, height, width = (*shape, 1, 1, 1)[:4]
    return channels, height, width
