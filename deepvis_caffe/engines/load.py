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
from deepvis_caffe.model.deploy import is_data
from deepvis_caffe.model.mean import MeanSpec
from deepvis_caffe.model.model import Model, Weights, load_model
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.settings import Settings

log = logging.getLogger(__name__)

Engine = Literal["auto", "pycaffe", "torch"]

WHITE = 255.0  # in Caffe's data layers, to which a transform_param belongs


def load_net(
    prototxt: str | Path | Settings,
    weights: str | Path | Weights | None = None,
    engine: Engine = "auto",
    *,
    mean: MeanSpec = None,
    channel_swap: Sequence[int] | None = None,
    raw_scale: float = WHITE,
    input_scale: float | None = None,
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
        How a picture becomes the net's input; see `Preprocessor`. A mean or scale that is not
        given is the one in the ``transform_param`` of a train_val file's own data layer, if it has
        one and `raw_scale` is 255, as in Caffe's data layers; ``mean=0`` and ``input_scale=1`` say
        that there is none. A ``mean_file`` is looked for in the prototxt's folder. An input of more
        than 4 axes holds no pictures; such a net runs on arrays alone.
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
    if raw_scale == WHITE:
        mean, input_scale = _with_trained(model, mean, input_scale)
    shape = _image_shape(model)
    preprocessor = shape and Preprocessor(
        shape=shape,
        mean=mean,
        channel_swap=channel_swap,
        raw_scale=raw_scale,
        input_scale=1.0 if input_scale is None else input_scale,
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
    prototxt = _prototxt(settings)
    return load_net(
        prototxt,
        settings.weights,
        settings.engine,
        mean=settings.mean,
        channel_swap=settings.channel_swap,
        raw_scale=settings.raw_scale,
        input_scale=settings.input_scale,
        resize=settings.resize,
        input_shapes=_input_shapes(prototxt, settings),
        device=settings.device,
    )


def load_layers(settings: Settings) -> Model:
    """The model that the settings name, without its weights: for what can be known of it alone."""
    prototxt = _prototxt(settings)
    shapes = _input_shapes(prototxt, settings)
    return load_model(prototxt, None, shapes, need_weights=False)


def _prototxt(settings: Settings) -> Path:
    if settings.prototxt is None:
        raise SettingsError(
            "the settings name no prototxt: set `prototxt` (and `weights`) in settings_local.py, "
            "or give --prototxt"
        )
    return settings.prototxt


def _input_shapes(prototxt: Path, settings: Settings) -> Mapping[str, Sequence[int]] | None:
    shapes = settings.input_shape
    if shapes is not None and not isinstance(shapes, Mapping):
        return {_first_input(prototxt): shapes}
    return shapes


def _first_input(prototxt: Path) -> str:
    """The blob that a shape without a name is for."""
    for layer in read_prototxt(prototxt).layer:
        if layer.type == "Input" or is_data(layer):
            return layer.top[0]
    raise ModelError(f"{prototxt} has no input, so the input_shape in the settings fits none")


def _with_trained(
    model: Model, mean: MeanSpec, scale: float | None
) -> tuple[MeanSpec, float | None]:
    """Mean and scale, each from the net's own data layer where it is not given."""
    transform = next(layer for layer in model.graph if layer.type == "Input").param.transform_param
    if scale is None and transform.HasField("scale"):
        scale = transform.scale
        log.info("%s: input_scale is %g, as in its transform_param", model.prototxt, scale)
    if mean is None and transform.mean_value:
        mean = tuple(transform.mean_value)
        log.info("%s: the mean is %s, as in its transform_param", model.prototxt, mean)
    elif mean is None and transform.mean_file:
        mean = _mean_file(model.prototxt, transform.mean_file)
    return mean, scale


def _mean_file(prototxt: Path | None, written: str) -> Path | None:
    """The mean file that a prototxt names, as written from its folder, or in its folder."""
    folder = prototxt.parent if prototxt else Path()
    for path in (folder / written, folder / Path(written).name):
        if path.is_file():
            log.info("%s: the mean is %s, as in its transform_param", prototxt, path)
            return path
    log.warning(
        "%s was trained with the mean file %s, which is not there; no mean is subtracted. Copy it "
        "to %s, or write in your settings: mean = %r",
        prototxt,
        written,
        folder,
        f"/path/to/{Path(written).name}",
    )
    return None


def _image_shape(model: Model) -> tuple[int, int, int] | None:
    """(C, H, W) of the first input; what it lacks of these axes has size 1. None for a volume."""
    shape = model.input_shapes[next(iter(model.input_shapes))]
    if len(shape) > 4:
        return None
    _, channels, height, width = (*shape, 1, 1, 1)[:4]
    return channels, height, width
