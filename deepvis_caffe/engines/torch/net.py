"""The torch engine's net: forward, backward and the ascent path, on CPU or CUDA.

Everything runs as a `Pass` over the steps of a plan. Only the layers that are needed run, and diffs
are computed for blobs only, not for weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepvis_caffe.engines.arrays import copy_on_host, ops_for
from deepvis_caffe.engines.base import Net, check_diff
from deepvis_caffe.engines.out_of_memory import in_memory, lack_of, ran_out
from deepvis_caffe.engines.torch.device import choose_device, full_precision
from deepvis_caffe.engines.torch.graphs import CapturedPasses, Evaluation, Graphs
from deepvis_caffe.engines.torch.module import NetModule, laid_out
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.engines.torch.plan import (
    Channels,
    Joined,
    Plan,
    every_layer,
    make_plan,
    narrowed,
)
from deepvis_caffe.engines.torch.precision import DTYPES, choose_precision
from deepvis_caffe.engines.torch.threads import multiply_adds, threads_for
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.preprocess import Preprocessor


class TorchNet(Net):
    """A Caffe model on PyTorch.

    Parameters
    ----------
    model
        Graph, shapes and weights.
    preprocessor
        Converts a picture to the net's input and back; None if the input holds no pictures.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"auto"``; see
        `deepvis_caffe.engines.torch.precision.choose_precision`. Inputs and returned values and
        diffs are float32 in any case.

    Attributes
    ----------
    module
        The same layers as a plain `torch.nn.Module`, in that precision.
    cuda_graphs
        Whether to replay the passes of an ascent on a GPU as CUDA graphs where possible; False by
        default. See `deepvis_caffe.engines.torch.graphs`.

    Raises
    ------
    EngineError
        There is no such device, or a layer needs more precision than bfloat16.
    """

    engine = "torch"

    def __init__(
        self,
        model: Model,
        preprocessor: Preprocessor | None,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__(model, preprocessor)
        self._device = choose_device(device)
        self.precision = choose_precision(precision, self._device, model.graph)
        self._dtype = DTYPES[self.precision]
        with in_memory(f"the net's weights on {self._device}"):
            self.module = NetModule(model, self._device).to(self._dtype)
        self.ops = ops_for("torch", str(self._device))
        self.reentrant = self.ops.on_host
        self.cuda_graphs = False
        self._graphs = Graphs()
        self._plans: dict[tuple[Any, ...], tuple[Channels, Plan]] = {}
        self._joined: Joined = {}  # fused layers, shared by all plans
        self._index: tuple[Channels, Tensor] | None = None  # the last selection, on the device
        self._constants: tuple[int, dict[Value, Tensor]] | None = None  # other inputs
        self._last: Pass | None = None  # the last forward
        self._keep_next = False  # whether to keep all values: read or backward followed the last
        self._ascent: Evaluation | CapturedPasses | None = None  # the last evaluate

    @property
    def opaque(self) -> OpaqueLayers:
        """The layers that this engine cannot run; see `Net.opaque`."""
        return self.module.opaque

    @property
    def device(self) -> str:
        """``"cpu"``, or ``"cuda:0"`` and so on."""
        return str(self._device)

    def computes_with(self) -> dict[str, Any]:
        """PyTorch, its kernels or the GPU, and threads; see `Net.computes_with`."""
        on = (
            {"kernels": torch.backends.cpu.get_cpu_capability()}
            if self._device.type == "cpu"
            else {"gpu": torch.cuda.get_device_name(self._device)}
        )
        return {"torch": str(torch.__version__), **on, "threads": torch.get_num_threads()}

    # -- for users: any value can be read, and any number of backward passes may follow --------
    #
    # Keeping all values costs up to a third of a pass. So it starts with the first read or backward
    # pass, and a forward pass keeps them if one followed the last forward pass. Either way each
    # layer computes the same values.

    def _forward(self, inputs: dict[str, Floats], values: list[Value]) -> list[Floats]:
        keep, self._keep_next = self._keep_next, False
        self._last = None  # frees the last pass's memory for this one
        self._last = Pass(self._on_device(inputs))
        if keep:
            return [_host(tensor) for tensor in self._computed(self._last, values)]
        found: dict[Value, Floats] = {}
        self._stream(
            self._last.values,
            values,
            lambda value, top: found.update({value: _host(top)}),
            scale=False,
        )
        return [found[value] for value in values]

    def _read(self, values: list[Value]) -> list[Floats]:
        return [_host(tensor) for tensor in self._computed(self._recorded("read"), values)]

    def _recorded(self, asking: str) -> Pass:
        """The last pass, for a read or a backward pass."""
        if self._last is None:
            raise EngineError(f"{asking} needs a forward pass: call forward first")
        self._keep_next = True
        return self._last

    def _backward(
        self, seed: Value, diff: Floats, mode: str, values: list[Value], partial: bool
    ) -> list[Floats]:
        last = self._recorded("backward")
        top, *bottoms = self._computed(last, [seed, *values])
        check_diff(seed.blob, tuple(top.shape), diff)
        diffs = {seed: torch.tensor(diff, device=self._device, dtype=self._dtype)}
        with self._explained(diffs):
            found = last.backward(diffs, values, mode, again=True, partial=partial)
        return [
            _host(found[value] if value in found else torch.zeros_like(x))
            for value, x in zip(values, bottoms, strict=True)
        ]

    def _computed(self, done: Pass, values: Iterable[Value]) -> list[Tensor]:
        """Those values of a pass, computing only the missing ones."""
        values = list(values)
        layers = self.model.graph.ancestors(values, have=done.values)
        with full_precision(self._device):
            done.forward(every_layer(self.module, layers))
        return [done.values[value] for value in values]

    # -- for many images: nothing is recorded, each value is freed after its last reader --------

    def _reduce(
        self, inputs: dict[str, Floats], values: list[Value], take: Callable[[Value, Tensor], None]
    ) -> None:
        self._stream(self._on_device(inputs), values, take)

    def _stream(
        self,
        inputs: Mapping[Value, Tensor],
        values: list[Value],
        take: Callable[[Value, Tensor], None],
        scale: bool = True,
    ) -> None:
        """Call `take` with each value as it is computed; `scale` as in `make_plan`."""
        run, wanted = Pass(inputs), set(values)
        for value in wanted & run.values.keys():
            take(value, run.values[value].float())
        computed = tuple(value for value in values if value not in run.values)
        if computed:
            with full_precision(self._device):
                run.forward(
                    self._plan(computed, run.values.keys(), scale=scale).steps,
                    record=False,
                    see=lambda value, top: take(value, top.float()) if value in wanted else None,
                )

    # -- for the ascent: one pass, which keeps only what its backward pass reads ---------------

    def _evaluate(self, x: Tensor, starts: tuple[Value, ...], channels: Channels) -> list[Tensor]:
        self._ascent = None  # frees the last pass's memory for this one
        plan = self._plan(starts, map(Value, self.inputs), channels)
        begin = partial(self._begin, plan, starts)
        if self.cuda_graphs and not self.ops.on_host:
            key = tuple(x.shape), starts, channels
            layers = [layer for step in plan.steps for layer in step.layers]
            self._ascent = self._graphs.passes(key, begin, self._finish, x, layers)
            if self._ascent is not None:
                return self._ascent.forward(x)
        self._ascent, tops = begin(x)
        return tops

    def _image_diff(self, diffs: Mapping[Value, Tensor], mode: str) -> Tensor:
        assert self._ascent is not None
        evaluated, self._ascent = self._ascent, None
        if isinstance(evaluated, CapturedPasses):
            return evaluated.backward(diffs, mode)
        return self._finish(evaluated, diffs, mode)

    def _begin(
        self, plan: Plan, starts: tuple[Value, ...], x: Tensor
    ) -> tuple[Evaluation, list[Tensor]]:
        """The forward pass."""
        image = laid_out(x.detach()).to(self._dtype)
        values = {Value(blob): image for blob in self.model.image_inputs}
        run, work = Pass({**self._held(image), **values}), plan.work * x.numel()
        with full_precision(self._device), self._threads_for(work):
            run.forward(plan.steps)
        tops, index = [run.values[start] for start in starts], self._indices(plan.select)
        chosen = [top.float() if index is None else top[:, index].float() for top in tops]
        return Evaluation(run, index, x, work), chosen

    def _finish(
        self, evaluated: Evaluation, diffs: Mapping[Value, Tensor], mode: str, again: bool = False
    ) -> Tensor:
        """The backward pass; frees what was recorded, unless another may follow (`again`)."""
        run, index, x, work = evaluated
        if index is not None:
            some, diffs = diffs, {start: torch.zeros_like(run.values[start]) for start in diffs}
            for start, diff in diffs.items():
                diff[:, index] = some[start].to(self._dtype)
        else:
            diffs = {start: diff.to(self._dtype) for start, diff in diffs.items()}
        images = [Value(blob) for blob in self.model.image_inputs]
        with self._explained(diffs), self._threads_for(work):
            found = run.backward(diffs, images, mode, again)
        parts = [found[image] for image in images if image in found]
        total = sum(parts[1:], parts[0]).float().contiguous() if parts else torch.zeros_like(x)
        return total.clone() if any(total is diff for diff in diffs.values()) else total

    def _indices(self, channels: Channels) -> Tensor | None:
        """Channels as an index on the device; a list would be copied there each time."""
        if channels is None:
            return None
        if self._index is None or self._index[0] != channels:
            self._index = channels, self.ops.asarray(channels, np.int64)
        return self._index[1]

    def saves_channels(self, name: str) -> bool:
        """Whether the layer that computes those channels can compute only some of them."""
        inputs = [Value(blob) for blob in self.inputs]
        return narrowed(self.module, self.model.graph.gradient_start(name), inputs, (0,)) != {}

    # -- shared --------------------------------------------------------------------------------

    def _held(self, images: Tensor) -> dict[Value, Tensor]:
        """The inputs that hold no image, cached for the last number of images."""
        if self._constants is None or self._constants[0] != len(images):
            like = np.broadcast_to(np.float32(0), tuple(images.shape))
            held = {
                name: one.for_images(like)
                for name, one in self.model.held.items()
                if not one.is_image
            }
            self._constants = len(images), self._on_device(held)
        return self._constants[1]

    def _plan(
        self,
        targets: tuple[Value, ...],
        have: Iterable[Value],
        channels: Channels = None,
        scale: bool = True,
    ) -> Plan:
        key = targets, channels is None, scale
        known, plan = self._plans.get(key, (None, None))
        # Of plans for a choice of channels only the last one is cached: there are many.
        if plan is None or known != channels or not plan.up_to_date:
            plan = make_plan(self.module, targets, set(have), channels, scale, self._joined)
            plan = replace(plan, work=self._work(plan))
            self._plans[key] = channels, plan
        return plan

    def _work(self, plan: Plan) -> float:
        """See `Plan.work`; infinite on a GPU, where the number of threads does not matter."""
        if not self.ops.on_host:
            return math.inf
        images = sum(math.prod(self.model.input_shapes[one]) for one in self.model.image_inputs)
        return multiply_adds(self.model, plan) / max(images, 1)

    def _threads_for(self, work: float) -> AbstractContextManager[None]:
        """Run the block on as many threads as `work` multiply-adds keep busy."""
        return self.ops.on_threads(threads_for(work, self.ops.threads))

    def _on_device(self, inputs: dict[str, Floats]) -> dict[Value, Tensor]:
        listed = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
        with in_memory(f"the inputs {listed} on {self._device}"):
            return {
                Value(name): laid_out(self.ops.asarray(array)).to(self._dtype)
                for name, array in inputs.items()
            }

    @contextmanager
    def _explained(self, diffs: Mapping[Value, Tensor]) -> Iterator[None]:
        """Run a backward pass in full precision; explain what fails in it, memory included."""
        try:
            with full_precision(self._device):
                yield
        except (RuntimeError, MemoryError) as error:
            starts = ", ".join(f"{v.blob!r}, of shape {tuple(dy.shape)}" for v, dy in diffs.items())
            if ran_out(error):
                images = len(next(iter(diffs.values())))
                raise lack_of(f"the backward pass from {starts}", error, images) from error
            raise EngineError(f"the backward pass from {starts}, failed: {error}") from error


def _host(tensor: Tensor) -> Floats:
    with in_memory(f"a copy of values of shape {tuple(tensor.shape)}"):
        return copy_on_host(tensor, torch.float32)
