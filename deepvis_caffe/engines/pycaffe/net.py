"""The pycaffe engine's net: runs only the segments of Caffe's layers that are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deepvis_caffe.engines.arrays import NumpyOps
from deepvis_caffe.engines.base import Net, check_diff
from deepvis_caffe.engines.computed import blas_of
from deepvis_caffe.engines.out_of_memory import lack_of, ran_out
from deepvis_caffe.engines.pycaffe.library import (
    caffe_version,
    check_builds,
    choose_device,
    enter_device,
    import_caffe,
    why_not_at_size,
    why_unknown,
)
from deepvis_caffe.engines.pycaffe.surgery import TAP, write_net
from deepvis_caffe.engines.pycaffe.wiring import Node, Wiring, segments
from deepvis_caffe.engines.rules import NO_GRADIENT, rule_for
from deepvis_caffe.errors import EngineError, ModelError, OutOfMemoryError
from deepvis_caffe.image import Floats
from deepvis_caffe.memory import in_gib
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.python_layers import caffe_type
from deepvis_caffe.model.shapes import RULES, infer

FIXES_SIZES = ("LSTM", "RNN")  # layers that Caffe cannot resize

# These do not write their last bottom's diff; any type that we do not know may do the same.
INCOMPLETE = ("BatchReindex", "Crop", "Filter", "Interp", "MaxUnPool", "Unpooling", "Upsample")

# In some Caffes these have an empty backward pass: in the package that `make pycaffe` builds, and
# in MobileNet-YOLO.
PERHAPS_FORWARD_ONLY = frozenset(
    {
        *("BilinearInterpolate", "HardSigmoid", "HardSwish", "MaxUnPool", "Pad", "PixelShuffle"),
        *("Unsqueeze", "Upsample"),
    }
)

# Their fork's Caffe aborts if asked for their gradient, although they have one.
FORWARD_ONLY = frozenset({"Resample"})


class PycaffeNet(Net):
    """A model on a stock `caffe.Net`.

    Any layer that the installed Caffe has works, including Python layers. No weight gradients are
    computed, and the prototxt needs no ``force_backward``.

    Parameters
    ----------
    model
        Graph, shapes and weights.
    preprocessor
        Converts a picture to the net's input and back; None if the input holds no pictures.
    device
        ``"auto"`` (a GPU if this Caffe can use one), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises
    ------
    EngineError
        Caffe is missing or cannot use the device, or the weights do not fit a layer of a type that
        only Caffe knows.
    """

    engine: ClassVar[str] = "pycaffe"

    def __init__(
        self, model: Model, preprocessor: Preprocessor | None, device: str = "auto"
    ) -> None:
        super().__init__(model, preprocessor)
        self.ops = NumpyOps()
        self._caffe = import_caffe()
        self._device = choose_device(device)
        reasons = {**why_unknown(self._caffe, model.graph), **_pools_no_images(model)}
        self._opaque = OpaqueLayers(model.graph, {**reasons, **model.faults})
        enter_device(self._caffe, self._device)
        self._net, self._ids = self._build()
        self._blobs = list(self._net._blobs)
        self._wiring = self._read_wiring()
        self._set_weights()
        self._shapes = {v: tuple(self._blobs[i].shape) for v, i in self._ids.items()}
        self._inputs: Mapping[str, Floats] | None = None  # of the last forward
        self._set: Mapping[str, Floats] | None = None  # what the input blobs hold
        self._done: set[int] = set()  # layers that have run on it
        self._channels: tuple[int, ...] | None = None  # the ones evaluated last
        self._checked: set[tuple[Any, ...]] = set()

    @property
    def opaque(self) -> OpaqueLayers:
        """The layers that this Caffe cannot run; see `Net.opaque`."""
        return self._opaque

    @property
    def device(self) -> str:
        """Where Caffe computes, ``"cpu"`` or ``"cuda:<index>"``."""
        return self._device

    def computes_with(self) -> dict[str, Any]:
        """Caffe, its BLAS and threads; see `Net.computes_with`."""
        return {"caffe": caffe_version(self._caffe), **blas_of(self.engine)}

    @property
    def caffe_net(self) -> Any:
        """The underlying `caffe.Net`, for what pycaffe offers and this class does not.

        Blobs and layers have their names from the prototxt, but each version of a blob has a name
        of its own: ``blobs["conv1"]`` is what the layer of that name writes, ``blobs["conv1#1"]``
        what its in-place ReLU makes of it. :meth:`backward` uses values written into blobs, until
        the next :meth:`forward`. Weight gradients are not computed.
        """
        return self._net

    @property
    def shapes(self) -> Mapping[Value, tuple[int, ...]]:
        """Shape of every value at the declared input size, as Caffe computes it."""
        return self._shapes

    # -- building ----------------------------------------------------------------------------

    def _build(self) -> tuple[Any, dict[Value, int]]:
        from caffe.proto import caffe_pb2

        written = write_net(self.model, caffe_pb2, self._opaque)
        with tempfile.TemporaryDirectory(prefix="deepvis-") as folder:
            path = Path(folder) / "net.prototxt"
            path.write_text(written.text, encoding="utf-8")
            # For all other layers the shape rules predict aborts.
            if any(layer.type not in RULES for layer in self._opaque.running):
                check_builds(path)
            net = self._caffe.Net(str(path), self._caffe.TEST)
        self._text = written.text
        ids = {name: number for number, name in enumerate(net._blob_names)}
        return net, {value: ids[name] for value, name in written.blobs.items() if name in ids}

    def _read_wiring(self) -> Wiring:
        types = {layer.name: layer.type for layer in self.model.graph}
        nodes = []
        for index, name in enumerate(self._net._layer_names):
            kind = types.get(name, "Split")
            if name.endswith(TAP):
                continue
            nodes.append(
                Node(
                    index,
                    name,
                    tuple(self._net._bottom_ids(index)),
                    tuple(self._net._top_ids(index)),
                    differentiable=kind not in NO_GRADIENT | FORWARD_ONLY,
                    complete=kind == "Split" or (kind in RULES and kind not in INCOMPLETE),
                )
            )
        return Wiring(tuple(nodes))

    def _set_weights(self) -> None:
        for name, layer in zip(self._net._layer_names, self._net.layers, strict=True):
            ours = self.model.weights.get(name, ())
            theirs = list(layer.blobs)
            if name.endswith(TAP):
                continue
            shapes = [tuple(blob.shape) for blob in theirs]
            if [int(np.prod(shape)) for shape in shapes] != [blob.size for blob in ours]:
                raise EngineError(
                    f"layer {name!r} ({layer.type}): Caffe expects weights of shapes {shapes}, got "
                    f"{[blob.shape for blob in ours]} from {self.model.caffemodel or 'the caller'}"
                )
            for blob, array in zip(theirs, ours, strict=True):
                blob.data[...] = array.reshape(tuple(blob.shape))

    # -- forward -----------------------------------------------------------------------------

    def _forward(self, inputs: dict[str, Floats], values: list[Value]) -> list[Floats]:
        self._inputs = {name: array.copy() for name, array in inputs.items()}
        self._start(self._inputs)
        return self._read(values)

    def _read(self, values: list[Value]) -> list[Floats]:
        self._restore_last("read")
        self._run(values)
        return [np.array(self._blob(value).data) for value in values]

    def _reduce(
        self, inputs: dict[str, Floats], values: list[Value], take: Callable[[Value, Any], None]
    ) -> None:
        self._start(inputs)
        self._run(values)
        for value in values:
            take(value, self._blob(value).data)

    def _evaluate(
        self, x: Floats, starts: tuple[Value, ...], channels: tuple[int, ...] | None
    ) -> list[Floats]:
        """Views of Caffe's memory, or copies of some channels."""
        self._start({self.image_input(): x, **self.other_inputs(x)})
        self._run(list(starts), copies=2)
        self._channels = channels
        found = [self._blob(start).data for start in starts]
        return found if channels is None else [data[:, channels] for data in found]

    def _restore_last(self, what: str) -> None:
        """Restore the inputs of the last forward pass."""
        if self._inputs is None:
            raise EngineError(f"{what} needs a forward pass: call forward first")
        enter_device(self._caffe, self._device)
        if self._set is not self._inputs:  # there was an ascent in between
            self._start(self._inputs)

    def _start(self, inputs: Mapping[str, Floats]) -> None:
        """Set the inputs and mark all layers as not run."""
        enter_device(self._caffe, self._device)
        self._check_memory({Value(name): array.shape for name, array in inputs.items()})
        for name, array in inputs.items():
            blob = self._blob(Value(name))
            if tuple(blob.shape) != array.shape:
                blob.reshape(*array.shape)  # each layer reshapes its tops as it runs
            blob.data[...] = array
        self._done = {self._wiring.writer[self._ids[Value(name)]].index for name in inputs}
        self._set, self._evaluated = inputs, None

    def _run(self, values: list[Value], copies: int = 1) -> None:
        """Run the layers that `values` need and that have not run on these inputs.

        `copies` is the number of arrays that Caffe keeps per value: 2 if a backward pass follows.
        """
        self._check_sizes(values, copies)
        nodes = self._wiring.forward_plan([self._ids[value] for value in values], self._done)
        for first, last in segments(nodes):
            with self._explained(first, last):
                self._net._forward(first, last)
        self._done.update(node.index for node in nodes)

    @contextmanager
    def _explained(self, first: int, last: int) -> Iterator[None]:
        """Name the layers that ran if a user's Python layer raises an exception."""
        try:
            yield
        except Exception as error:
            first, last = sorted((first, last))
            names = self._net._layer_names[first : last + 1]
            python = [name for name in names if self._type_of(name) == "Python"]
            listed = ", ".join(map(repr, python or names))
            if ran_out(error):
                raise lack_of(f"layer {listed}", error) from error
            raise EngineError(
                f"layer {listed}{' (Python)' if python else ''} raised {type(error).__name__}: "
                f"{error}"
            ) from error

    def _type_of(self, name: str) -> str:
        layer = self.model.graph.by_name.get(name)
        return caffe_type(layer.type) if layer else "Split"

    def _check_sizes(self, values: list[Value], copies: int) -> None:
        """Raise an error where Caffe would abort: if layers cannot take inputs of this size."""
        sizes = {name: tuple(self._blob(Value(name)).shape) for name in self.inputs}
        key = (*sizes.items(), *values, copies)
        if sizes == self.inputs or key in self._checked:
            return
        listed = ", ".join(f"{shape} ({name!r})" for name, shape in sizes.items())
        where = f"the net cannot run on inputs of shape {listed}"
        layers = self.model.graph.ancestors([*values, *map(Value, sizes)])
        try:
            inferred = infer(Graph(self.model.graph.name, layers), sizes)
        except ModelError as error:
            raise EngineError(f"{where}: {error}") from error
        for name, need in inferred.weights.items():
            have = tuple(array.shape for array in self.model.weights[name])
            if need != have:
                raise EngineError(
                    f"{where}: layer {name!r} ({self.model.graph.layer(name).type}) would need "
                    f"weights of shapes {need}, but has {have}"
                )
        if any(layer.type not in RULES or layer.type in FIXES_SIZES for layer in layers):
            nodes = self._wiring.forward_plan([self._ids[value] for value in values], ())
            if why := why_not_at_size(self._text, self._by_name(sizes), segments(nodes)):
                raise EngineError(f"{where}: Caffe said: {why}")
        self._check_memory(inferred.values, copies)
        self._checked.add(key)

    def _check_memory(self, values: Mapping[Value, tuple[int, ...]], copies: int = 1) -> None:
        """Raise an error where Caffe would abort, or be killed, for lack of memory."""
        counts = {self._ids[value]: (int(np.prod(shape)), value) for value, shape in values.items()}
        more = {
            value: 4 * copies * max(0, count - self._blobs[number].count)
            for number, (count, value) in counts.items()
        }
        asked, free = sum(more.values()), self.ops.free_memory()
        if self._device == "cpu" and free is not None and asked > free:
            largest = max(more, key=more.__getitem__)
            layer, shape = self.model.graph.producer[largest], values[largest]
            most = max(1, shape[0] * free // asked) if shape else 1
            raise OutOfMemoryError(
                f"not enough memory for layer {layer.name!r} ({layer.type}) with a top of {shape}, "
                f"which needs {in_gib(more[largest])} of {in_gib(asked)}; {in_gib(free)} is "
                f"free; use at most {most} images at a time (batch_size), or a smaller input_shape"
            )

    def _by_name(self, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Input sizes by the blobs' names in Caffe's copy of the net."""
        names = list(self._net._blob_names)
        return {names[self._ids[Value(blob)]]: size for blob, size in sizes.items()}

    def _blob(self, value: Value) -> Any:
        return self._blobs[self._ids[value]]

    # -- backward ----------------------------------------------------------------------------

    def _backward(
        self, seed: Value, diff: Floats, mode: str, values: list[Value], partial: bool
    ) -> list[Floats]:
        self._restore_last("backward")
        self._run([seed, *values])
        check_diff(seed.blob, tuple(self._blob(seed).shape), diff)
        reached = self._send_down({seed: diff}, mode, values, partial)
        blobs = [(self._blob(value), self._ids[value] in reached) for value in values]
        return [
            np.array(blob.diff) if hit else np.zeros(tuple(blob.shape), np.float32)
            for blob, hit in blobs
        ]

    def _image_diff(self, diffs: Mapping[Value, Floats], mode: str) -> Floats:
        """A view of Caffe's memory, which the next call changes."""
        enter_device(self._caffe, self._device)
        if self._channels is not None:
            some, diffs = diffs, {start: np.zeros_like(self._blob(start).data) for start in diffs}
            for start, diff in diffs.items():
                diff[:, self._channels] = some[start]
        images = [Value(blob) for blob in self.model.image_inputs]
        reached = self._send_down(diffs, mode, images)
        total = self._blob(images[0]).diff
        if self._ids[images[0]] not in reached:
            total[...] = 0
        for image in images[1:]:
            if self._ids[image] in reached:
                total += self._blob(image).diff
        return total

    def _send_down(
        self, diffs: Mapping[Value, Floats], mode: str, targets: list[Value], partial: bool = False
    ) -> frozenset[int]:
        """Run backward to `targets`, with a mode's rules in place of layers' own gradients.

        Parameters
        ----------
        diffs
            Where the pass starts. Each is added to what comes down from the others.
        mode, targets
            The backward mode, and the values whose diff is wanted.
        partial
            Whether the pass stops at each of the targets.

        Returns
        -------
        frozenset
            Indices of the blobs that now have a diff.
        """
        own = {self._ids[value]: diff for value, diff in diffs.items()}
        ids = {self._ids[value] for value in targets}
        held = ids if partial else frozenset[int]()
        plan = self._wiring.backward_plan(own, ids, held)
        for number in plan.zeros:
            self._blobs[number].diff[...] = 0
        written = {number for node in plan.nodes for number in node.bottoms}
        for number in own.keys() - written:
            self._blobs[number].diff[...] = own[number]
        pending: list[Node] = []
        for node in plan.nodes:
            layer = self.model.graph.by_name.get(node.name)
            rule = layer and rule_for(layer, mode)
            if rule:
                self._run_backward(pending)
                pending = []
                top, bottom = self._blobs[node.tops[0]], self._blobs[node.bottoms[0]]
                bottom.diff[...] = rule(top.diff, bottom.data)
            elif layer and layer.type in PERHAPS_FORWARD_ONLY:
                self._run_backward(pending)
                pending = []
                self._run_backward_if_there_is_one(node, layer)
            elif kept := held.intersection(node.tops):  # but another of its tops is not
                self._run_backward(pending)
                pending = []
                self._run_backward_of_others(node, kept)
            else:
                pending.append(node)
            for number in own.keys() & set(node.bottoms):
                # The layer overwrites this diff, so add the blob's own afterwards.
                self._run_backward(pending)
                pending = []
                self._blobs[number].diff[...] += own[number]
        self._run_backward(pending)
        return plan.reached

    def _run_backward_if_there_is_one(self, node: Node, layer: Layer) -> None:
        diff = self._blobs[node.bottoms[0]].diff
        diff[...] = np.nan
        self._run_backward([node])
        if np.isnan(diff).all():
            raise EngineError(
                f"layer {layer.name!r} ({layer.type}) has no backward pass in this Caffe; use "
                "engine='torch', or choose a layer below it"
            )

    def _run_backward_of_others(self, node: Node, kept: frozenset[int] | set[int]) -> None:
        """Run a layer's backward pass as if the diffs of the tops in `kept` were zero."""
        diffs = {number: np.array(self._blobs[number].diff) for number in kept}
        for number in kept:
            self._blobs[number].diff[...] = 0
        self._run_backward([node])
        for number, diff in diffs.items():
            self._blobs[number].diff[...] = diff

    def _run_backward(self, nodes: list[Node]) -> None:
        for first, last in segments(nodes):
            with self._explained(first, last):
                self._net._backward(first, last)


def _pools_no_images(model: Model) -> dict[str, str]:
    """The Pooling layers on which stock Caffe would abort, by name, and why."""
    return {
        layer.name: f"Caffe pools only blobs with 4 axes, its bottom has {axes}; use engine='torch'"
        for layer in model.graph
        if layer.type == "Pooling"
        and (axes := len(model.shapes.get(layer.bottoms[0], (0,) * 4))) != 4
    }
