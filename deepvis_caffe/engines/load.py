"""From files to a running net: ``load_net(prototxt, weights) -> Net``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from deepvis_caffe.engines.base import EngineChoice, Net
from deepvis_caffe.engines.detections import detector
from deepvis_caffe.engines.preprocessing_checks import (
    NO_MEAN,
    WHITE,
    differs_from_training,
    wants_mean,
)
from deepvis_caffe.engines.pycaffe import library
from deepvis_caffe.engines.torch_support import for_processors_only, opaque_layers, why_unknown
from deepvis_caffe.engines.unloaded import UnloadedNet
from deepvis_caffe.errors import EngineError, SettingsError, UnknownNameError
from deepvis_caffe.model.deploy import Given
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.held import Given as GivenInputs
from deepvis_caffe.model.labels import Labels, as_labels, fit_labels
from deepvis_caffe.model.mean import MeanSpec, find_mean_file
from deepvis_caffe.model.model import Model, Weights, load_model
from deepvis_caffe.model.opaque import OpaqueLayer, OpaqueLayers
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.prototxt import warn_once
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import pip_install
from deepvis_caffe.settings import Settings

log = logging.getLogger(__name__)

Engine = Literal["auto", "pycaffe", "torch"]
Precision = Literal["float32", "bfloat16", "auto"]


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
    resize_to: tuple[int, int] | None = None,
    picture_channels: Sequence[int] | None = None,
    input_shapes: Given | None = None,
    stages: Sequence[str] = (),
    python_layers: Sequence[str] = (),
    image_input: str | None = None,
    inputs: GivenInputs | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    labels: str | Path | Sequence[str] | None = None,
    run: bool = True,
) -> Net:
    """Load a Caffe model onto an engine.

    Parameters
    ----------
    prototxt
        Path of a deploy or train_val file; or the settings, which then replace all other arguments.
    weights
        Path of a ``.caffemodel`` or ``.caffemodel.h5``, or arrays by layer name; None for a net
        without weights.
    engine
        ``"pycaffe"``, ``"torch"``, or ``"auto"``: the fastest that runs every layer of this net on
        this machine; see `choose_engine`. `Net.choice` tells which it is, and why.
    mean, channel_swap, raw_scale, input_scale, resize, resize_to, picture_channels
        How a picture becomes the net's input; see `Preprocessor`. A missing mean or scale is taken
        from the ``transform_param`` of a train_val file's own data layer, if it has one and
        `raw_scale` is 255, as in Caffe's data layers; ``mean=0`` and ``input_scale=1`` mean none. A
        ``mean_file`` is looked up in the prototxt's folder. The size before the center crop is also
        that of the data layer, or of its mean image. An input of more than 4 axes holds no
        pictures; such a net runs only on arrays.
    input_shapes
        Shape by input blob, batch axis first, to override or supply what the files do not give; or
        one shape, for the image. Most files give it, or the weights imply it.
    stages
        The stages to enable, of those that the file's layers name; see
        `deepvis_caffe.model.phases`.
    python_layers
        Modules whose Python layers the torch engine may run. It imports them; nothing else in a
        prototxt makes it run code. Caffe itself runs every Python layer that it can import.
    image_input
        The input that holds the image, if not the first one of an image's shape.
    inputs
        What the other inputs hold, by blob: a number, ``"image"``, the path of an ``.npy`` file, or
        an array; by default 0. See `deepvis_caffe.model.held.held_inputs`.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.
    precision
        ``"float32"``; or ``"bfloat16"``, with 8 significant bits instead of 24 and half the memory;
        or ``"auto"``, which is bfloat16 where that is faster. Only the torch engine has a choice.
    labels
        The class names, or a file with one per line; see `Net.labels`.
    run
        Whether the net will run. If not, it only describes itself, and PyTorch, whose import takes
        most of a second, is not imported if possible; `Net.loaded` makes it ready to run.

    Raises
    ------
    SettingsError
        The labels cannot be read.
    ModelError, WeightsError, ImageError
        The net, its weights or its mean cannot be read or do not fit together.
    EngineError
        The engine cannot be imported, or cannot run this net or use this device or precision.
    """
    if isinstance(prototxt, Settings):
        return _load_from(prototxt, run)
    names = as_labels(labels)
    model = load_model(
        prototxt,
        weights,
        input_shapes,
        stages=stages,
        python_layers=() if engine == "pycaffe" else python_layers,
        image_input=image_input,
        inputs=inputs,
    )
    choice = choose_engine(
        engine, device, model.graph, torch=torch_offer if run else torch_offer_unloaded
    )
    if precision not in get_args(Precision):
        raise UnknownNameError("precision", precision, get_args(Precision))
    given = mean is not None or input_scale is not None
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
        resize_to=resize_to,
        picture_channels=picture_channels,
    )
    asks = resize_to is None and raw_scale == WHITE
    if preprocessor and asks and (trained := _trained_size(model, preprocessor)):
        preprocessor = replace(preprocessor, mean=preprocessor.full_mean, resize_to=trained)
    net: Net
    if choice.engine == "torch" and not run:
        net = UnloadedNet(model, preprocessor, choice, opaque_layers(model), precision)
    elif choice.engine == "pycaffe":
        from deepvis_caffe.engines.pycaffe import PycaffeNet

        if precision == "bfloat16":
            raise EngineError(
                'precision="bfloat16" needs the torch engine, but this net runs on pycaffe '
                f'({choice.reason}); use precision="float32" or engine="torch"'
            )
        net = PycaffeNet(model, preprocessor, choice.device)
    else:
        from deepvis_caffe.engines.torch import TorchNet

        net = TorchNet(model, preprocessor, choice.device, precision)
    net.reason = choice.reason
    net.labels = _fitting(net, names, labels if isinstance(labels, (str, Path)) else "labels")
    for line in opaque_lines(net.opaque):
        log.warning("%s", line)
    if preprocessor and (doubt := preprocessor.mean_doubt):
        warn_once(model.prototxt, f"the mean has {doubt}")
    if mean is None and wants_mean(model, preprocessor):
        warn_once(model.prototxt, NO_MEAN)
    if given and (differs := differs_from_training(model, preprocessor)):
        warn_once(model.prototxt, differs)
    for held in net.held:
        if held.is_given:
            log.info("%s: %s", model.prototxt, held)
        else:
            log.warning(
                "%s: %s; the setting inputs (--inputs) gives it another value", model.prototxt, held
            )
    log.info("%s runs on %s", model.prototxt, choice)
    return net


def opaque_lines(opaque: OpaqueLayers, most: int = 10) -> list[str]:
    """Lines that describe the layers that cannot run: type, reason and first layer.

    Layers that share a type and a reason share a line.
    """
    kinds: dict[tuple[str, str], list[OpaqueLayer]] = {}
    for layer in opaque.values():
        kinds.setdefault((layer.type, layer.reason), []).append(layer)
    lines = []
    for (kind, reason), layers in kinds.items():
        names = ", ".join(repr(layer.name) for layer in layers[:3])
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        behind = {name for layer in layers for name in layer.dependents} - set(opaque)
        lost = f"; nor can {len(behind)} layer(s) that depend on them" if behind else ""
        lines.append(f"cannot run {names}{more} ({kind}): {reason}{lost}")
    return lines[:most] + ([f"and {len(lines) - most} more kinds"] if len(lines) > most else [])


@dataclass(frozen=True)
class Offer:
    """Whether an engine can run a net on this machine.

    Attributes
    ----------
    device
        The best device that it can use; None if it cannot run the net.
    why_not
        Why it cannot, or which layers it lacks, in words.
    lacks
        The net's layers that it cannot run, and all that depend on them.
    """

    device: str | None
    why_not: str = ""
    lacks: tuple[str, ...] = ()

    @property
    def on_gpu(self) -> bool:
        """Whether it can use a GPU."""
        return self.device is not None and self.device != "cpu"


Probe = Callable[[Sequence[Layer], str], Offer]


def torch_offer(layers: Sequence[Layer], device: str) -> Offer:
    """PyTorch's offer: whether it is installed and has the device, and which layers it lacks."""
    if not find_spec("torch"):
        return Offer(None, f"PyTorch is not installed; install it with: {pip_install('torch')}")
    try:
        from deepvis_caffe.engines.torch.device import choose_device

        return _torch_on(str(choose_device(device)), layers)
    except EngineError as error:
        return Offer(None, str(error))


def torch_offer_unloaded(layers: Sequence[Layer], device: str) -> Offer:
    """The same, without importing PyTorch if it is known to have no GPU."""
    if device in ("auto", "cpu") and for_processors_only():
        return _torch_on("cpu", layers)
    return torch_offer(layers, device)


def _torch_on(device: str, layers: Sequence[Layer]) -> Offer:
    unknown = {layer.name: why for layer in layers if (why := why_unknown(layer.type, layer.param))}
    return _offer(device, layers, unknown)


def _offer(device: str, layers: Sequence[Layer], unknown: Mapping[str, str]) -> Offer:
    opaque = OpaqueLayers(Graph("", tuple(layers)), unknown)
    return Offer(device, "; ".join(opaque_lines(opaque)), tuple(opaque.culprit))


def pycaffe_offer(layers: Sequence[Layer], device: str) -> Offer:
    """Caffe's offer, likewise."""
    try:
        found = library.choose_device(device)
        unknown = library.why_unknown(library.import_caffe(), layers)
        return _offer(found, layers, unknown)
    except EngineError as error:
        return Offer(None, str(error))


def choose_engine(
    engine: str = "auto",
    device: str = "auto",
    layers: Iterable[Layer] = (),
    *,
    torch: Probe = torch_offer,
    pycaffe: Probe = pycaffe_offer,
) -> EngineChoice:
    """The engine to run a net on; ``"auto"`` is the fastest of those that run most of its layers.

    From fastest to slowest: PyTorch on a GPU, Caffe on a GPU, PyTorch on a CPU, which is 2 to 4
    times as fast as Caffe there, and Caffe on a CPU.

    Parameters
    ----------
    engine, device
        As in `load_net`.
    layers
        The net's layers.
    torch, pycaffe
        Return each engine's offer for these layers on that device. Caffe's is not called if it
        would make no difference.

    Raises
    ------
    EngineError
        No engine, or not the requested one, can run the net here.
    UnknownNameError
        There is no such engine.
    """
    if engine not in get_args(Engine):
        raise UnknownNameError("engine", engine, get_args(Engine))
    layers = list(layers)
    if engine != "auto":
        offer = (torch if engine == "torch" else pycaffe)(layers, device)
        if offer.device is None:
            raise EngineError(offer.why_not)
        return EngineChoice(engine, offer.device, "as asked for")
    ours = torch(layers, device)
    if ours.device is None or ours.lacks:
        theirs = pycaffe(layers, device)
        if ours.device is None and theirs.device is None:
            raise EngineError(
                f"no engine can run this net here. torch: {ours.why_not}. pycaffe: {theirs.why_not}"
            )
        if ours.device is None:
            assert theirs.device is not None
            return EngineChoice("pycaffe", theirs.device, f"not torch: {ours.why_not}")
        more = len(ours.lacks) - len(theirs.lacks)
        if theirs.device is not None and more > 0:
            return EngineChoice(
                "pycaffe",
                theirs.device,
                f"Caffe runs {more} of its layers that PyTorch cannot: {ours.why_not}",
            )
    if ours.on_gpu:
        return EngineChoice("torch", ours.device, "PyTorch can use a GPU")
    if device == "auto":
        theirs = pycaffe(layers, "cuda")
        if theirs.device is not None and len(theirs.lacks) <= len(ours.lacks):
            return EngineChoice("pycaffe", theirs.device, "Caffe can use a GPU, PyTorch cannot")
    return EngineChoice("torch", ours.device, "on a CPU PyTorch is faster than Caffe")


def _load_from(settings: Settings, run: bool) -> Net:
    return load_net(
        _prototxt(settings),
        settings.weights,
        settings.engine,
        mean=settings.mean,
        channel_swap=settings.channel_swap,
        raw_scale=settings.raw_scale,
        input_scale=settings.input_scale,
        resize=settings.resize,
        resize_to=settings.resize_to,
        picture_channels=settings.picture_channels,
        input_shapes=settings.input_shape,
        stages=settings.stages,
        python_layers=settings.python_layers,
        image_input=settings.image_input,
        inputs=settings.inputs,
        device=settings.device,
        precision=settings.precision,
        labels=settings.labels,
        run=run,
    )


def _fitting(net: Net, labels: Labels, where: str | Path) -> Labels:
    """The labels, without empty ones if that makes them as many as the net's classes."""
    if not labels:
        return ()
    fitting = fit_labels(labels, map(net.shapes.get, net.class_values))
    if fitting is not None:
        return fitting
    boxes = detector(net)
    if not (boxes and boxes.fits(labels)):
        log.warning(
            "no output has as many units as %s has names (%d); its names are ignored",
            where,
            len(labels),
        )
    return labels


def load_layers(settings: Settings, with_weights: bool = False) -> Model:
    """The model that the settings name, without an engine, for inspection.

    Parameters
    ----------
    with_weights
        Whether to read its weights.
    """
    return load_model(
        _prototxt(settings),
        settings.weights if with_weights else None,
        settings.input_shape,
        stages=settings.stages,
        python_layers=() if settings.engine == "pycaffe" else settings.python_layers,
        image_input=settings.image_input,
        inputs=settings.inputs,
        need_weights=with_weights,
    )


def _prototxt(settings: Settings) -> Path:
    if settings.prototxt is None:
        raise SettingsError(
            "the settings name no prototxt: set `prototxt` (and `weights`) in settings_local.py, "
            "or give --prototxt"
        )
    return settings.prototxt


def _with_trained(
    model: Model, mean: MeanSpec, scale: float | None
) -> tuple[MeanSpec, float | None]:
    """Mean and scale, each from the net's own data layer if not given."""
    transform = model.graph.producer[Value(model.image_input)].param.transform_param
    if scale is None and transform.HasField("scale"):
        scale = transform.scale
        log.info("%s: input_scale is %g, as in its transform_param", model.prototxt, scale)
    if mean is None and transform.mean_value:
        mean = tuple(transform.mean_value)
        log.info("%s: the mean is %s, as in its transform_param", model.prototxt, mean)
    elif mean is None and transform.mean_file:
        mean = _mean_file(model.prototxt, transform.mean_file)
    return mean, scale


def _trained_size(model: Model, preprocessor: Preprocessor) -> tuple[int, int] | None:
    """The size from which the net's own data layer crops the center; None if unknown.

    An ImageData layer resizes to ``new_height`` x ``new_width``. Images in a database all have the
    size of their mean image.
    """
    layer = model.graph.producer[Value(model.image_input)].param
    images, transform = layer.image_data_param, layer.transform_param
    size = (images.new_height, images.new_width)
    if not all(size) and transform.crop_size and transform.mean_file:
        size = preprocessor.full_mean.shape[1:]
    _, height, width = preprocessor.shape
    if size == (height, width) or size[0] < height or size[1] < width:
        return None
    log.info(
        "%s: images are resized to %d x %d and center-cropped, as in its data layer",
        model.prototxt,
        *size,
    )
    return size[0], size[1]


def _mean_file(prototxt: Path | None, written: str) -> Path | None:
    """The mean file that a prototxt names: that path from its folder, or that name in it."""
    found = find_mean_file(prototxt, written)
    if found:
        log.info("%s: the mean is %s, as in its transform_param", prototxt, found)
        return found
    log.warning(
        "%s was trained with the mean file %s, which does not exist; no mean is subtracted. Copy "
        "it to %s, or write in your settings: mean = %r",
        prototxt,
        written,
        prototxt.parent if prototxt else Path(),
        f"/path/to/{Path(written).name}",
    )
    return None


def _image_shape(model: Model) -> tuple[int, int, int] | None:
    """(C, H, W) of the image, with size 1 for missing axes.

    None for a volume, and if a layer cannot take more axes, such as a 1-D convolution.
    """
    shape = model.input_shapes[model.image_input]
    if len(shape) > 4:
        return None
    images = (*shape, 1, 1, 1)[:4]
    if len(shape) < 4:
        faults = dict(model.faults)
        infer(model.graph, {**model.input_shapes, model.image_input: images}, faults=faults)
        if len(faults) > len(model.faults):
            return None
    return images[1], images[2], images[3]
