"""`Net`, with pycaffe's API, on the embedded engine."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepvis_caffe.caffe.blob import Blob, BlobVec, ByName
from deepvis_caffe.caffe.building import build
from deepvis_caffe.caffe.data_layers import InputArrayError, MemoryData
from deepvis_caffe.caffe.layer import NetLayer
from deepvis_caffe.caffe.memory import Array, clock
from deepvis_caffe.caffe.methods_2014 import Methods2014
from deepvis_caffe.caffe.mode import mode
from deepvis_caffe.caffe.python_layer import BlobLayer, Layer
from deepvis_caffe.caffe.weight_files import (
    check_shapes,
    load_weights,
    save_weights,
    save_weights_hdf5,
)
from deepvis_caffe.engines.out_of_memory import in_memory
from deepvis_caffe.engines.rules import check_mode
from deepvis_caffe.engines.torch.device import choose_device, full_precision
from deepvis_caffe.errors import DeepVisError, did_you_mean
from deepvis_caffe.model.caffemodel import read_caffemodel
from deepvis_caffe.model.schema_pb2 import TEST, Phase

log = logging.getLogger(__name__)

LayerCallback = Callable[[int], Any]
PASSES = ("forward", "backward")


class LayerNameError(DeepVisError, ValueError):
    """The net has no layer with that name."""


class OpenError(DeepVisError, RuntimeError):
    """A net's file cannot be opened; pycaffe raises a RuntimeError."""


class ArgumentError(DeepVisError, ValueError, TypeError):
    """Arguments that do not fit the net."""


class Net(Methods2014):
    """A net on the embedded engine, with pycaffe's names and semantics.

    ``Net(prototxt, phase, level=0, stages=None, weights=None)`` or ``Net(prototxt, weights,
    phase)``.

    Parameters
    ----------
    network_file
        A prototxt of any generation.
    phase
        ``caffe.TRAIN`` or ``caffe.TEST``.
    level, stages
        Select among the layers with ``include`` and ``exclude`` rules.
    weights
        A ``.caffemodel`` or ``.caffemodel.h5``; without one, fillers initialize the weights.

    Attributes
    ----------
    name
        The net's name.
    layers
        All layers in order, with ``type`` and ``blobs``.

    Raises
    ------
    ModelError
        The prototxt cannot be read, or describes no net that Caffe could build.
    WeightsError
        The weights cannot be read, or do not fit.
    RuntimeError
        A file does not exist.
    """

    def __init__(self, network_file: Any, *args: Any, **kwargs: Any) -> None:
        path, phase, level, stages, weights = _arguments(network_file, *args, **kwargs)
        for file in (path, weights):
            if file is not None and not Path(file).exists():
                raise OpenError(f"could not open file {file}: it does not exist")
        found = None if weights is None else read_caffemodel(weights, may_be_empty=True)
        self._device, self._phase = choose_device(mode.device), phase
        built = build(path, phase, level, stages, found, self._device)
        self.name, self._layers, self._blob_dict = built.name, built.layers, built.blobs
        self._inputs, self._outputs = built.inputs, built.outputs
        self._has_warned = False  # that it stays on its device
        self._silent = not any(layer.wire.needs_backward for layer in self._layers)
        self._callbacks: dict[str, list[LayerCallback]] = {
            f"{when}_{which}": [] for when in ("before", "after") for which in PASSES
        }
        if found is not None:
            load_weights(self._layers, found, str(weights))
        faults = [layer.fault for layer in self._layers if layer.fault]
        if faults:
            log.warning("%s: %s", path, faults[0])

    # -- what the net is ---------------------------------------------------------------------

    @property
    def layers(self) -> list[NetLayer | Layer]:
        """All layers in order; for a Python layer, its own object."""
        return self._cached("_layer_list", lambda: [layer.shown for layer in self._layers])

    @property
    def blobs(self) -> OrderedDict[str, Blob]:
        """Blobs by name, from input to output, including those of splits."""
        return self._blob_dict

    @property
    def params(self) -> OrderedDict[str, BlobVec]:
        """The learned blobs of each layer that has any, by its name."""
        return self._cached(
            "_param_dict",
            lambda: ByName(
                ((one.name, one.blobs) for one in self._layers if one.blobs),
                "layer with parameters",
            ),
        )

    @property
    def layer_dict(self) -> OrderedDict[str, NetLayer]:
        """Layers by name."""
        return self._cached(
            "_layers_by_name",
            lambda: ByName(zip(self._layer_names, self.layers, strict=True), "layer"),
        )

    @property
    def inputs(self) -> list[str]:
        """Names of the blobs that a script fills: the tops of Input layers."""
        return self._cached("_input_list", lambda: [list(self.blobs)[i] for i in self._inputs])

    @property
    def outputs(self) -> list[str]:
        """Names of the blobs that no layer reads, in alphabetical order."""
        return self._cached("_output_list", lambda: [list(self.blobs)[i] for i in self._outputs])

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Names of the blobs that each layer writes."""
        return self._cached(
            "_top_names",
            lambda: OrderedDict((one.name, list(one.wire.tops)) for one in self._layers),
        )

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Names of the blobs that each layer reads."""
        return self._cached(
            "_bottom_names",
            lambda: OrderedDict((one.name, list(one.wire.bottoms)) for one in self._layers),
        )

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The weight of each blob in the net's loss."""
        weights = OrderedDict((name, 0.0) for name in self.blobs)
        for layer in self._layers:
            weights.update(zip(layer.wire.tops, layer.wire.losses, strict=True))
        return weights

    @property
    def _layer_names(self) -> list[str]:
        return [layer.name for layer in self._layers]

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def _blobs(self) -> list[Blob]:
        return list(self.blobs.values())

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.blob_loss_weights.values())

    def _top_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self._layers[layer].wire.tops]

    def _bottom_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self._layers[layer].wire.bottoms]

    def _cached(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.__dict__:
            self.__dict__[name] = make()
        return self.__dict__[name]

    def __repr__(self) -> str:
        return f"<Net {self.name!r}: {len(self._layers)} layers, {len(self.blobs)} blobs>"

    # -- forward and backward ----------------------------------------------------------------

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Array]:
        """Run the net, or the layers from `start` to `end`.

        Parameters
        ----------
        blobs
            Blobs to return in addition to the outputs, or to the tops of `end`.
        start, end
            The first and the last layer to run. Other blobs are unchanged.
        **kwargs
            An array for every input blob, of its shape.

        Returns
        -------
        dict
            Views of the blobs' data; the next pass overwrites them.

        Raises
        ------
        ValueError
            The net has no such layer, or the arrays do not match the inputs or the batch size.
        EngineError
            A layer cannot run.
        """
        first = 0 if start is None else self._number(start)
        last = len(self._layers) - 1 if end is None else self._number(end)
        outputs = self.outputs if end is None else self.top_names[end]
        if kwargs:
            self._put(kwargs, self.inputs, "Input", "inputs", lambda blob: blob.data)
        self._forward(first, last)
        return {name: self.blobs[name].data for name in dict.fromkeys([*outputs, *(blobs or [])])}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Array]:
        """Propagate diffs down the net, or from layer `start` down to layer `end`.

        Parameters
        ----------
        diffs
            Blobs whose diffs to return in addition to those of the inputs, or of the bottoms of
            `end`.
        start, end
            The first and the last layer on the way down. Other diffs are unchanged.
        **kwargs
            A diff for every output blob, of its shape.

        Returns
        -------
        dict
            Views of the blobs' diffs; the next pass overwrites them.

        Raises
        ------
        ValueError
            The net has no such layer, or the diffs do not match the outputs or the batch size.
        EngineError
            A layer cannot run.
        """
        first = len(self._layers) - 1 if start is None else self._number(start)
        last = 0 if end is None else self._number(end)
        outputs = self.inputs if end is None else self.bottom_names[end]
        if kwargs:
            self._put(kwargs, self.outputs, "Top diff", "outputs", lambda blob: blob.diff)
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in dict.fromkeys([*outputs, *(diffs or [])])}

    def _forward(self, start: int, end: int) -> float:
        self._check_range(start, end)
        self._check_mode()
        clock.tick()
        loss = 0.0
        with full_precision(self._device):
            for index in range(start, end + 1):
                self._call("before_forward", index)
                layer = self._layers[index]
                with _explained(layer):
                    layer.forward()
                loss += layer.loss()
                self._call("after_forward", index)
        return loss

    def _backward(self, start: int, end: int, mode: str = "gradient") -> None:
        self._check_range(end, start)
        clock.tick()
        if self._silent:
            self._silent = False
            log.warning(
                "net %r has no loss and no force_backward, so a backward pass computes nothing; "
                "add `force_backward: true` at the top of its prototxt",
                self.name,
            )
        with full_precision(self._device):
            for index in range(start, end - 1, -1):
                self._call("before_backward", index)
                layer = self._layers[index]
                if layer.wire.needs_backward:
                    with _explained(layer):
                        layer.backward(mode)
                self._call("after_backward", index)

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: Any) -> dict[str, Array]:
        """Run the net on any number of examples, one batch at a time.

        Parameters
        ----------
        blobs
            Blobs to return in addition to the outputs.
        **kwargs
            An array for every input, examples first. The last batch is padded with zeros.

        Returns
        -------
        dict
            A copy of each blob for all examples.
        """
        count = _examples(kwargs)
        found: dict[str, list[Array]] = {}
        for batch in self._batch(kwargs):
            for name, data in self.forward(blobs=blobs, **batch).items():
                found.setdefault(name, []).extend(data.copy())
        return _trimmed(found, count)

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """As :meth:`forward_all`, with a backward pass after each forward pass.

        Parameters
        ----------
        blobs, diffs
            Blobs to return in addition to the outputs' data and the inputs' diffs.
        **kwargs
            Arrays for all inputs, and diffs for all outputs or for none.
        """
        count = _examples(kwargs)
        forward = self._batch({name: kwargs[name] for name in self.inputs if name in kwargs})
        backward = self._batch({name: kwargs[name] for name in self.outputs if name in kwargs})
        data: dict[str, list[Array]] = {}
        found: dict[str, list[Array]] = {}
        for inputs, seeds in zip_longest(forward, backward, fillvalue=dict[str, Any]()):
            for name, values in self.forward(blobs=blobs, **inputs).items():
                data.setdefault(name, []).extend(values.copy())
            for name, values in self.backward(diffs=diffs, **seeds).items():
                found.setdefault(name, []).extend(values.copy())
        return _trimmed(data, count), _trimmed(found, count)

    def _batch(self, arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if not arrays:
            return
        size = next(iter(self.blobs.values())).shape[0]
        count = len(next(iter(arrays.values())))
        for first in range(0, count, size):
            batch = {name: array[first : first + size] for name, array in arrays.items()}
            missing = size - len(next(iter(batch.values())))
            if missing:
                batch = {
                    name: np.concatenate([part, np.zeros((missing, *np.shape(part)[1:]))])
                    for name, part in batch.items()
                }
            yield batch

    def reshape(self) -> None:
        """Update the shapes of all blobs to the inputs' shapes."""
        for layer in self._layers:
            if not layer.fault:
                layer.reshape()

    # -- parameters --------------------------------------------------------------------------

    def copy_from(self, weights: Any) -> None:
        """Read the weights of the net's layers, by name, from a caffemodel.

        Raises
        ------
        WeightsError
            The file cannot be read, or a layer's blobs do not fit.
        """
        path = os.fspath(weights)
        load_weights(self._layers, read_caffemodel(path, may_be_empty=True), path)
        if any(layer.fault for layer in self._layers):  # these have their blobs only now
            self.__dict__.pop("_param_dict", None)

    def share_with(self, other: Net) -> None:
        """Share another net's parameters for layers with the same names."""
        for layer in self._layers:
            theirs = next((one for one in other._layers if one.name == layer.name), None)
            if theirs is None or layer.fault or theirs.fault:
                continue
            shapes = [blob.shape for blob in theirs.blobs]
            check_shapes(layer, layer.blobs, shapes, f"net {other.name!r}")
            for index, blob in enumerate(theirs.blobs):
                diff = layer.blobs[index].diff_memory
                layer.share(index, blob)
                layer.blobs[index].diff_memory = diff

    def save(self, path: Any) -> None:
        """Write the layers and their parameters to a ``.caffemodel``."""
        save_weights(os.fspath(path), self.name, self._layers, self._phase)

    def save_hdf5(self, path: Any) -> None:
        """Write the parameters to an HDF5 file in Caffe's layout."""
        save_weights_hdf5(os.fspath(path), self._layers)

    def load_hdf5(self, path: Any) -> None:
        """Read the parameters from an HDF5 file that Caffe or :meth:`save_hdf5` wrote."""
        self.copy_from(path)

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters, which accumulate over backward passes, to zero."""
        for layer in self._layers:
            for blob in layer.blobs:
                blob.diff_memory.set(torch.zeros(blob.shape, device=self._device))

    # -- data --------------------------------------------------------------------------------

    def set_input_arrays(self, data: Any, labels: Any) -> None:
        """Set the examples of a MemoryData layer, which must be the net's first layer.

        They are not copied: later changes to them appear in later batches.

        Parameters
        ----------
        data
            (N, C, H, W), float32, C-contiguous, with N a multiple of the layer's batch size.
        labels
            (N,) or (N, 1, 1, 1), float32.

        Raises
        ------
        RuntimeError
            The net starts with another layer, or the arrays do not fit.
        """
        first = self.layers[0]
        if not isinstance(first, MemoryData):
            raise InputArrayError(
                "set_input_arrays may only be called if the first layer is a MemoryData layer; it "
                f"is {self._layers[0].name!r} ({first.type})"
            )
        if np.ndim(labels) == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        first.take(data, labels)

    # -- for scripts of other versions -------------------------------------------------------

    def backward_from_layer(
        self, start_name: str, start_diff: Any, diffs: Any = None, zero_higher: bool = False
    ) -> dict[str, Array]:
        """Propagate a diff down from the top of a layer, as in the Deep Visualization Toolbox.

        Parameters
        ----------
        start_name
            A layer; the pass starts at its first top.
        start_diff
            The diff there.
        diffs
            Blobs whose diffs to return in addition to the inputs'.
        zero_higher
            Whether to set the diffs of all later blobs to zero.
        """
        return self._from_layer(start_name, start_diff, diffs, zero_higher, "gradient")

    def deconv_from_layer(
        self,
        start_name: str,
        start_diff: Any,
        diffs: Any = None,
        zero_higher: bool = False,
        deconv_type: str = "Zeiler & Fergus",
    ) -> dict[str, Array]:
        """As :meth:`backward_from_layer`, with the deconv rule at every ReLU.

        Parameters
        ----------
        start_name, start_diff, diffs, zero_higher
            As there.
        deconv_type
            ``"Zeiler & Fergus"``, or ``"Guided Backprop"``.
        """
        modes = {"Zeiler & Fergus": "deconv", "Guided Backprop": "guided"}
        if deconv_type not in modes:
            raise ArgumentError(f"deconv_type must be one of {list(modes)}, got {deconv_type!r}")
        return self._from_layer(start_name, start_diff, diffs, zero_higher, modes[deconv_type])

    def _from_layer(
        self, name: str, diff: Any, diffs: Any, zero_higher: bool, mode: str
    ) -> dict[str, Array]:
        number, start = self._number(name), self.top_names[name][0]
        blob = self.blobs[start]
        if len(diff) != blob.shape[0]:
            raise ArgumentError(f"Diff is not batch sized: {len(diff)} of {blob.shape[0]}")
        blob.diff[...] = diff
        if zero_higher:
            after = list(self.blobs)[list(self.blobs).index(start) + 1 :]
            for other in after:
                self.blobs[other].diff[...] = 0
        self._backward(number, 0, check_mode(mode))
        names = dict.fromkeys([*self.inputs, *(diffs or [])])
        return {one: self.blobs[one].diff for one in names}

    def before_forward(self, call: LayerCallback) -> None:
        """Register a function to call with each layer's index before its forward pass."""
        self._callbacks["before_forward"].append(call)

    def after_forward(self, call: LayerCallback) -> None:
        """Register a function to call with each layer's index after its forward pass."""
        self._callbacks["after_forward"].append(call)

    def before_backward(self, call: LayerCallback) -> None:
        """Register a function to call with each layer's index before its backward pass."""
        self._callbacks["before_backward"].append(call)

    def after_backward(self, call: LayerCallback) -> None:
        """Register a function to call with each layer's index after its backward pass."""
        self._callbacks["after_backward"].append(call)

    def _call(self, when: str, index: int) -> None:
        for call in self._callbacks[when]:
            call(index)
            clock.tick()

    # -- shared ------------------------------------------------------------------------------

    def _check_mode(self) -> None:
        """Warn once if the mode changed after the net was made: the net keeps its device."""
        if mode.device != str(self._device) and not self._has_warned:
            self._has_warned = True
            log.warning(
                "net %r stays on %s: set_mode_gpu, set_mode_cpu and set_device act on later nets",
                self.name,
                self._device,
            )

    def _check_range(self, lowest: int, highest: int) -> None:
        if lowest < 0 or highest >= len(self._layers):
            raise ArgumentError(
                f"there are no layers {lowest} to {highest}: the net's are 0 to "
                f"{len(self._layers) - 1}"
            )

    def _number(self, layer: str) -> int:
        names = self._layer_names
        if layer not in names:
            what = f"no layer named {layer!r} in net {self.name!r}"
            if layer in self.blobs:
                writer = next(one for one in self._layers if layer in one.wire.tops)
                what += f"; {layer!r} is a blob, which layer {writer.name!r} writes"
            raise LayerNameError(what + did_you_mean(layer, names))
        return names.index(layer)

    def _put(
        self,
        arrays: Mapping[str, Any],
        names: Sequence[str],
        what: str,
        whose: str,
        take: Callable[[Blob], Array],
    ) -> None:
        if set(arrays) != set(names):
            raise ArgumentError(
                f"{what} arguments do not match net {whose}: got {', '.join(arrays)}, and the net "
                f"has {', '.join(names) or 'none'}"
            )
        for name, array in arrays.items():
            blob = self.blobs[name]
            if len(array) != blob.shape[0]:
                raise ArgumentError(
                    f"{what} is not batch sized: {name!r} takes {blob.shape[0]}, got {len(array)}; "
                    f"reshape the blob first: net.blobs[{name!r}].reshape(...)"
                )
            take(blob)[...] = array


def _explained(layer: NetLayer | BlobLayer) -> AbstractContextManager[None]:
    """Explain running out of memory; exceptions of a script's own layer pass unchanged."""
    return in_memory(f"layer {layer.name!r}") if isinstance(layer, NetLayer) else nullcontext()


def _arguments(
    network_file: Any, *args: Any, **kwargs: Any
) -> tuple[str, Phase, int, tuple[str, ...], str | None]:
    """Parse the forms of `Net`'s arguments, which differ in the second argument's type."""
    names = ["phase", "level", "stages", "weights"]
    if args and isinstance(args[0], str | os.PathLike):
        names = ["weights", "phase"]
    if len(args) > len(names):
        raise ArgumentError(f"Net takes {len(names)} arguments after the prototxt, got {len(args)}")
    given = dict(zip(names, args, strict=False))
    known = {"phase", "level", "stages", "weights", "pretrained_file"}
    for name, value in kwargs.items():
        if name not in known or name in given:
            raise ArgumentError(f"Net got an unexpected argument {name!r}; known: {sorted(known)}")
        given[name] = value
    weights = given.get("weights", given.get("pretrained_file"))
    phase = int(given.get("phase", TEST))
    if phase not in Phase.values():
        raise ArgumentError(f"phase must be caffe.TRAIN (0) or caffe.TEST (1), got {phase}")
    return (
        os.fspath(network_file),
        Phase.Value("TRAIN") if phase == 0 else TEST,
        int(given.get("level") or 0),
        tuple(map(str, given.get("stages") or ())),
        None if weights is None else os.fspath(weights),
    )


def _examples(arrays: Mapping[str, Any]) -> int:
    """The number of examples in arrays."""
    count = len(next(iter(arrays.values()))) if arrays else 0
    if not count:
        raise ArgumentError("there are no examples: give an array for each input, as data=images")
    return count


def _trimmed(found: Mapping[str, Sequence[Array]], count: int) -> dict[str, Array]:
    """Arrays of rows, without the padding of the last batch."""
    arrays = {name: np.asarray(rows) for name, rows in found.items()}
    surplus = len(next(iter(arrays.values()))) - count
    return {name: rows[:-surplus] for name, rows in arrays.items()} if surplus else arrays
