"""How far a net gets: parse, info, build, forward, backward. Runs in a child process.

Findings are reported one by one, so that a process that is killed has reported how far it got.
"""

from __future__ import annotations

import json
import logging
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import deepvis_caffe
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.layer_info import layer_infos
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import DeepVisError, ModelError, UnknownShapeError
from deepvis_caffe.model.fillers import PIXEL_SPREAD, random_weights
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model, Weights, load_model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.shapes import Shapes
from tools.corpus.record import STAGES, TRACEBACK, one_line

RECURRENT = ("LSTM", "RNN")
INPUTS, VALUES = "inputs.npz", "values.json"  # what a trial leaves in its folder

Tell = Callable[..., None]
Array = Any  # numpy.ndarray of float32
Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Options:
    """How to run the nets.

    Attributes
    ----------
    seed
        Random seed of weights and inputs.
    input_shapes
        Shapes by name, batch axis first, of inputs whose shape the file does not state; ``""`` for
        all other names.
    until
        The last stage to take.
    """

    seed: int = 0
    input_shapes: Sizes = field(default_factory=dict)
    until: str = "backward"


def try_net(path: Path, options: Options, folder: Path | None, tell: Tell) -> None:
    """Take a file through the stages.

    Parameters
    ----------
    path
        The prototxt.
    options
        Weights, inputs and shapes, and how far to go.
    folder
        Where to store inputs and values for the comparison with Caffe; None to store nothing.
    tell
        Called with fields of a `Record` as they become known, and with each ``stage`` as it begins.
    """
    trial = _Trial(path, options, folder, tell)
    stages = (trial.parse, trial.info, trial.build, trial.forward, trial.backward)
    with _heard(path, tell), _put_into_words(path, tell):
        for stage in stages[: STAGES.index(options.until) + 1]:
            tell(stage=stage.__name__)
            stage()
        tell(stage="ok")


class _Trial:
    """The stages, to be called in order."""

    _model: Model
    _sizes: Sizes | None
    _net: Net

    def __init__(self, path: Path, options: Options, folder: Path | None, tell: Tell) -> None:
        self._path, self._options, self._folder, self._tell = path, options, folder, tell
        self._notes: tuple[str, ...] = ()

    def parse(self) -> None:
        """Read the file, and upgrade it to the current format."""
        read_prototxt(self._path)

    def info(self) -> None:
        """Compute what `deepvis info` lists."""
        self._model, self._sizes, notes = read_model(self._path, self._options)
        self._note(*notes)
        layers = layer_infos(self._model, self._model.shapes)
        self._tell(layers=len(layers), **_counted(self._model.opaque))

    def build(self) -> None:
        """Load the net with random weights on the torch engine."""
        weights = weights_for(self._model, self._options)
        sizes = self._sizes
        self._net = load_net(self._path, weights, "torch", mean=0, input_shapes=sizes, device="cpu")
        self._tell(**_counted(self._net.opaque))

    def forward(self) -> None:
        """Run every layer that can run on random inputs, and check every value."""
        net = self._net
        inputs = inputs_for(net, self._options)
        net.forward(inputs)
        if self._folder:
            np.savez(self._folder / INPUTS, **inputs)
        strange: list[str] = []
        graph = net.model.graph
        tops = [top for layer in net.opaque.running for top in layer.tops]
        values = [top for top in tops if graph.value_name(top)]
        for number, value in enumerate(values):
            array = read(net, value)
            bad = array.size - int(np.isfinite(array).sum())
            if bad:
                strange.append(f"{value.blob} ({graph.producer[value].type}): {bad}")
            if self._folder:
                np.save(self._folder / f"{number}.npy", array)
        if self._folder:
            (self._folder / VALUES).write_text(json.dumps(values), encoding="utf-8")
        if strange:
            self._note(
                f"{len(strange)} values have numbers that are not finite, first {strange[0]}"
            )

    def backward(self) -> None:
        """Run backward to the image, from every output and the last layer that have a gradient."""
        net, rng = self._net, np.random.default_rng([self._options.seed, 2])
        graph = net.model.graph
        reaching = {info.name for info in net.layers if info.differentiable}
        starts = {
            value: name
            for layer in net.opaque.running
            if layer.name in reaching and layer.type != "Input"
            for value in layer.tops
            if (name := graph.start_name(value)) and graph.value_name(value)
        }
        ends = [value for value in starts if value in net.opaque.output_values]
        silent, strange = [], []
        for value in dict.fromkeys([*ends, *list(starts)[-1:]]):
            diff = rng.standard_normal(read(net, value).shape, np.float32)
            gradient = net.backward(starts[value], diff)[net.image_input()]
            layer = graph.producer[value]
            if not np.isfinite(gradient).all():
                strange.append(f"{layer.name} ({layer.type})")
            elif not gradient.any():
                silent.append(f"{layer.name} ({layer.type})")
        if strange:
            self._note(f"a gradient that is not finite from {', '.join(strange)}")
        if silent:
            self._note(f"no gradient at the image from {', '.join(silent)}")

    def _note(self, *notes: str) -> None:
        self._notes += notes
        self._tell(notes=self._notes)


def _counted(opaque: OpaqueLayers) -> dict[str, Any]:
    """The fields of a record on layers that run and layers that cannot."""
    named = tuple(f"{layer.name} ({layer.type})" for layer in opaque.values())
    return {"running": len(opaque.running), "opaque": named}


def read(net: Net, value: Value) -> Array:
    """A named value of the last forward pass."""
    name = str(net.model.graph.value_name(value))
    return net.read([name])[name]


# -- the net, and what is drawn at random ----------------------------------------------------------


def read_model(path: Path, options: Options) -> tuple[Model, Sizes | None, list[str]]:
    """The net without weights, for a batch of one image if it allows that.

    Returns
    -------
    model
        The net.
    sizes
        The input shapes to load it with; None for those of the file.
    notes
        Remarks about them.
    """
    notes: list[str] = []
    sizes: Sizes | None = None
    try:
        model = load_model(path, None, need_weights=False)
    except UnknownShapeError as error:
        shape = options.input_shapes.get(error.blob) or options.input_shapes.get("")
        if not shape:
            raise
        sizes = {error.blob: shape}
        model = load_model(path, None, sizes, need_weights=False)
        notes.append(f"by default, inputs have shapes {sizes}")
    batches = {shape[0] for shape in model.input_shapes.values()}
    recurrent = any(layer.type in RECURRENT for layer in model.graph)  # whose axis 0 is time
    if len(batches) == 1 and batches != {1} and not recurrent:
        one = {name: (1, *shape[1:]) for name, shape in model.input_shapes.items()}
        try:
            single = load_model(path, None, one, need_weights=False)
        except ModelError as error:
            why = in_words(error, path)
        else:
            worse = [str(single.opaque[name]) for name in single.opaque if name not in model.opaque]
            if not worse and single.weight_shapes == model.weight_shapes:
                return single, one, notes
            why = one_line("; ".join(worse)) or "its weights depend on it"
        notes.append(f"runs only with the batch that it declares: {why}")
    return model, sizes, notes


def weights_for(model: Model, options: Options) -> Weights:
    """Random weights, the same for the same seed."""
    shapes = Shapes(model.shapes, {name: tuple(s) for name, s in model.weight_shapes.items()})
    return random_weights(shapes, model.graph, np.random.default_rng(options.seed))


def inputs_for(net: Net, options: Options) -> dict[str, Array]:
    """Random inputs: pictures for four axes, regions in them, zeros and ones."""
    rng = np.random.default_rng([options.seed, 1])
    image = net.inputs[net.image_input()] if net.inputs else ()
    height, width = image[-2:] if len(image) == 4 else (1, 1)
    drawn = {}
    array: Array
    for name, shape in net.inputs.items():
        if len(shape) == 4 or name == net.image_input():
            array = rng.normal(0, PIXEL_SPREAD, shape)
        elif name.startswith("rois") and shape[-1] == 5:
            corners = np.sort(rng.uniform(0, 1, (*shape[:-1], 2, 2)), axis=-2)
            boxes = (corners * (width - 1, height - 1)).reshape(*shape[:-1], 4)
            array = np.concatenate([np.zeros((*shape[:-1], 1)), boxes], axis=-1)
        elif name == "im_info" and shape[-1] == 3:
            array = np.broadcast_to((height, width, 1), shape)
        else:
            array = rng.integers(0, 2, shape)
        drawn[name] = np.array(array, np.float32)
    return drawn


# -- what is said ----------------------------------------------------------------------------------


@contextmanager
def _heard(path: Path, tell: Tell) -> Iterator[None]:
    """Within the block, report log messages and warnings."""
    said: list[str] = []

    def hear(text: str) -> None:
        line = one_line(text.replace(str(path), path.name))
        if line not in said:
            said.append(line)
            tell(warnings=tuple(said))

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hear(record.getMessage())

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        hear(f"{category.__name__}: {message}")

    log, ear = logging.getLogger(deepvis_caffe.__name__), Ear(logging.WARNING)
    log.addHandler(ear)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = show
            yield
    finally:
        log.removeHandler(ear)


@contextmanager
def _put_into_words(path: Path, tell: Tell) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        tell(reason=in_words(error, path))


def in_words(error: Exception, path: Path) -> str:
    """Our own message in one line; any other exception's type and place, as a `TRACEBACK`."""
    if isinstance(error, DeepVisError):
        return one_line(str(error).removeprefix(f"{path}: ").replace(str(path), path.name))
    if isinstance(error, MemoryError):
        return one_line(f"out of memory: {error}")
    frames = traceback.extract_tb(error.__traceback__)
    place = _innermost(frames)
    return one_line(f"{TRACEBACK} {type(error).__name__} at {place}: {error}")


def _innermost(frames: Iterable[traceback.FrameSummary]) -> str:
    """The innermost frame in our own code, or else in any."""
    frames = list(frames)
    ours = [frame for frame in frames if deepvis_caffe.__name__ in Path(frame.filename).parts]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"
