"""A layer of a net on its blobs: runs an `Operation` on their values and stores its results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepvis_caffe.caffe import fillers
from deepvis_caffe.caffe.blob import Blob, BlobVec
from deepvis_caffe.caffe.memory import ParameterMemory
from deepvis_caffe.caffe.operations import Operation, operation_for
from deepvis_caffe.caffe.wiring import Wire
from deepvis_caffe.engines.torch.module import laid_out
from deepvis_caffe.engines.torch_support import why_unknown
from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.model import graph
from deepvis_caffe.model.schema_pb2 import LayerParameter, Phase
from deepvis_caffe.model.shapes.registry import Outcome


class NetLayer:
    """A layer of a net, and the blobs that it reads and writes.

    Attributes
    ----------
    name, type
        As in the prototxt; ``type`` is the V2 string.
    blobs
        The learned blobs.
    borrowed
        Indices of those that belong to another layer.
    wire
        What determines where its diffs go.
    """

    wire: Wire

    def __init__(
        self,
        param: LayerParameter,
        index: int,
        phase: Phase,
        bottoms: list[Blob],
        tops: list[Blob],
        device: torch.device,
    ) -> None:
        self.name, self.type, self.blobs = param.name, param.type, BlobVec()
        self.param, self.bottoms, self.tops = param, bottoms, tops
        self.borrowed: set[int] = set()
        self._fault = ""
        self._operation: Operation | None = None
        self._fitting: tuple[tuple[int, ...], ...] | None = None  # shapes of the bottoms
        kind = operation_for(param)
        if kind is None or any(blob.unknown for blob in bottoms):
            self._fault = f"layer {self.name!r} ({self.type}) cannot run: " + (
                "a layer below it cannot"
                if any(blob.unknown for blob in bottoms)
                else why_unknown(self.type)
            )
            for top in tops:
                top.unknown = True
            return
        self._kind = kind
        outcome = self._shapes()
        self._parameters = [
            nn.Parameter(laid_out(torch.zeros(shape, device=device)), requires_grad=False)
            for shape in outcome.weights
        ]
        fillers.fill(self._parameters, param)
        layer = graph.Layer(
            index,
            param.name,
            param.type,
            tuple(graph.Value(blob) for blob in param.bottom),
            tuple(graph.Value(blob) for blob in param.top),
            param,
        )
        for parameter in self._parameters:
            blob = Blob(tuple(parameter.shape), device)
            blob.data_memory = ParameterMemory(parameter)
            self.blobs.append(blob)
        self._make = lambda: kind(layer, self._parameters, phase)
        self._operation = self._make()
        for top, shape in zip(tops, outcome.tops, strict=True):
            top.reshape(*shape)
        if self._operation.shares == "both":
            self._share()
        for top, weight in zip(tops, kind.loss_weights(param), strict=True):
            if weight:
                top.diff_memory.set(torch.full(top.shape, weight, device=device))

    @property
    def shown(self) -> NetLayer:
        """The object that a script gets from ``net.layers``."""
        return self

    def share(self, index: int, owner: Blob) -> None:
        """Use another blob's values and diffs as a parameter."""
        mine, theirs = self.blobs[index], owner.data_memory
        assert isinstance(theirs, ParameterMemory)
        if mine.shape == owner.shape:
            self._parameters[index] = theirs.parameters[0]
            self._operation = self._make()
        else:  # the same values in another shape: two parameters, kept equal
            theirs.parameters.append(self._parameters[index])
        mine.data_memory, mine.diff_memory = theirs, owner.diff_memory

    @property
    def operation(self) -> Operation:
        """The operation that runs the layer; raises `EngineError` if there is none."""
        if self._operation is None:
            raise EngineError(self._fault)
        return self._operation

    @property
    def fault(self) -> str:
        """Why the layer cannot run; empty if it can."""
        return self._fault

    def reshape(self) -> None:
        """Set the tops' shapes from the bottoms'."""
        operation = self.operation
        if not operation.keeps_tops:
            shapes = tuple(blob.shape for blob in self.bottoms)
            if shapes != self._fitting:
                self._tops, self._fitting = self._shapes().tops, shapes
            for top, shape in zip(self.tops, self._tops, strict=True):
                if top.shape != tuple(shape):
                    top.reshape(*shape)
        if operation.shares == "both":
            self._share()

    def forward(self) -> None:
        """Compute the tops."""
        self.reshape()
        operation = self.operation
        if operation.shares:
            self._share()
            return
        if operation.keeps_tops:
            return
        self._refresh()
        tops = operation.forward(*(_data(blob) for blob in self.bottoms))
        for blob, top in zip(self.tops, tops, strict=True):
            blob.data_memory.set(top)
        for blob, values in zip(self.blobs, operation.new_weights, strict=False):
            blob.data_memory.set(values)

    def backward(self, mode: str) -> None:
        """Compute the diffs of the bottoms, and add to those of the parameters."""
        operation, wire = self.operation, self.wire
        if operation.shares in ("both", "weight"):
            return
        for index, need in enumerate(wire.bottoms_need):
            if need and (why := operation.why_no_diff(index)):
                raise EngineError(
                    f"layer {self.name!r} ({self.type}) sends no diff to its bottom "
                    f"{self.param.bottom[index]!r}: {why}"
                )
        self._refresh()
        bottoms, tops = [_data(blob) for blob in self.bottoms], [_data(blob) for blob in self.tops]
        dys = [blob.diff_memory.get(blob.shape) for blob in self.tops]
        if any(wire.params_need):
            addends = operation.weight_diffs(bottoms, dys)
            for i, (blob, addend) in enumerate(zip(self.blobs, addends, strict=True)):
                if not wire.params_need[i] or addend is None:
                    continue
                if operation.adds_up(i, bottoms):
                    blob.diff_memory.add(addend, blob.shape)
                else:
                    blob.diff_memory.set(addend())
        for needed, compute in ((True, operation.backward), (False, operation.unneeded)):
            if needed in wire.bottoms_need:
                diffs = compute(bottoms, tops, dys, mode)
                for blob, diff, need in zip(self.bottoms, diffs, wire.bottoms_need, strict=True):
                    if need == needed and diff is not None:
                        blob.diff_memory.set(diff.detach())
        if operation.shares == "data" and self.type != "Split":
            self.bottoms[0].share_diff(self.tops[0])

    def loss(self) -> float:
        """The tops' contribution to the net's loss."""
        return total_loss(self.tops, self.wire)

    def _shapes(self) -> Outcome:
        shapes = [blob.shape for blob in self.bottoms]
        try:
            return self._kind.shapes(self.param, shapes)
        except (ModelError, ArithmeticError, LookupError) as error:
            names = zip(self.param.bottom, shapes, strict=True)
            listed = ", ".join(f"{name} {shape}" for name, shape in names)
            raise ModelError(
                f"layer {self.name!r} ({self.type}): {error} (its bottoms: {listed or 'none'})"
            ) from None

    def _share(self) -> None:
        shares = self.operation.shares
        for top in self.tops:
            source = self.blobs[0] if shares == "weight" else self.bottoms[0]
            top.share_data(source)
            if shares != "data":
                top.share_diff(source)

    def _refresh(self) -> None:
        for blob in self.blobs:
            blob.data_memory.refresh()

    def __repr__(self) -> str:
        return f"<Layer {self.name!r} ({self.type})>"


def total_loss(tops: Sequence[Blob], wire: Wire) -> float:
    """The tops' contribution to the net's loss: Caffe reads loss weights from the tops' diffs."""
    total = 0.0
    for blob, weight in zip(tops, wire.losses, strict=True):
        if weight:
            total += float((_data(blob) * blob.diff_memory.get(blob.shape)).sum())
    return total


def _data(blob: Blob) -> Tensor:
    return blob.data_memory.get(blob.shape)
