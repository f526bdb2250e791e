"""The torch engine's net: forward, backward and the ascent path, on CPU or CUDA.

Only the layers that are asked for run. Weights never require a gradient, so a backward pass
computes diffs of blobs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from deepvis_caffe.engines.arrays import ops_for
from deepvis_caffe.engines.base import Floats, Net
from deepvis_caffe.engines.rules import check_mode
from deepvis_caffe.engines.torch.device import choose_device, full_precision, memory_format
from deepvis_caffe.engines.torch.memory import keep_freed_memory
from deepvis_caffe.engines.torch.ops import Select
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.engines.torch.plan import Step, make_plan, narrowed
from deepvis_caffe.engines.torch.program import Program
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.preprocess import Preprocessor

Channels = tuple[int, ...] | None


class TorchNet(Net):
    """A Caffe model on PyTorch.

    Parameters
    ----------
    model
        Graph, shapes and weights.
    preprocessor
        How a picture becomes the net's input, and back; None where that holds no pictures.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises
    ------
    EngineError
        The model has layers of unknown types, or there is no such device.
    """

    engine = "torch"

    def __init__(
        self, model: Model, preprocessor: Preprocessor | None, device: str = "auto"
    ) -> None:
        super().__init__(model, preprocessor)
        self._device = choose_device(device)
        if self._device.type == "cpu":
            keep_freed_memory()
        self._program = Program(model, self._device)
        self.ops = ops_for("torch", str(self._device))
        self.reentrant = self.ops.on_host
        self._values: dict[Value, Tensor] = {}
        self._ascent: Pass | None = None
        self._plans: dict[tuple[Value, bool], tuple[Channels, tuple[Step, ...]]] = {}
        self._fitting: set[tuple[Value, torch.Size]] = set()
        self._shown: tuple[object, tuple[Step, ...]] = (None, ())  # of the last reduce

    @property
    def device(self) -> str:
        """``"cpu"``, or ``"cuda:0"`` and so on."""
        return str(self._device)

    # -- for people: everything computed is kept, and recorded for any number of backward passes --

    def _forward(self, inputs: dict[str, Floats], values: list[Value]) -> list[Floats]:
        self._values = {}  # the last pass's memory is free for this one
        self._values = {
            Value(name): self._laid_out(torch.tensor(array, device=self._device)).requires_grad_()
            for name, array in inputs.items()
        }
        return [_host(tensor) for tensor in self._need(values)]

    def _read(self, values: list[Value]) -> list[Floats]:
        if not self._values:
            raise EngineError("read needs a forward pass before it: call forward first")
        return [_host(tensor) for tensor in self._need(values)]

    def _backward(self, seed: Value, diff: Floats, mode: str, values: list[Value]) -> list[Floats]:
        if not self._values:
            raise EngineError("backward needs a forward pass before it: call forward first")
        top, *bottoms = self._need([seed, *values])
        if diff.shape != tuple(top.shape):
            raise EngineError(
                f"the diff for {seed.blob!r} has shape {diff.shape}, expected {tuple(top.shape)}"
            )
        dy = torch.tensor(diff, device=self._device)
        return [_host(dx) for dx in self._diffs(top, bottoms, dy, mode)]

    def _need(self, values: Iterable[Value]) -> list[Tensor]:
        """Those values of the current pass, computing only what is not there yet.

        Operations are recorded always: that takes no time that could be measured, the values are
        kept anyhow, and no backward pass has to run the net a second time.
        """
        values = list(values)
        for layer in self.model.graph.ancestors(values, have=self._values):
            bottoms = [self._values[value] for value in layer.bottoms]
            self._program.check(layer, bottoms)
            with full_precision():
                tops = self._program(layer, bottoms)
            if not bottoms:  # a source's diff can be asked for like an input's
                tops = tuple(top.detach().requires_grad_() for top in tops)
            self._values.update(zip(layer.tops, tops, strict=True))
        return [self._values[value] for value in values]

    def _diffs(self, top: Tensor, bottoms: list[Tensor], dy: Tensor, mode: str) -> list[Tensor]:
        """Diffs of `bottoms`, zero where `top` does not depend on them by a gradient."""
        found: dict[int, Tensor | None] = {id(top): dy}
        reached = [x for x in bottoms if x.requires_grad] if top.requires_grad else []
        if reached:
            self._program.mode = mode
            with full_precision(), _explained(top, dy):
                diffs = torch.autograd.grad(top, reached, dy, retain_graph=True, allow_unused=True)
            found |= {id(x): dx for x, dx in zip(reached, diffs, strict=True)}
        return [torch.zeros_like(x) if (dx := found.get(id(x))) is None else dx for x in bottoms]

    # -- for many images: nothing recorded, and each value let go after its last reader --------

    def _reduce(
        self, inputs: dict[str, Floats], values: list[Value], take: Callable[[Value, Tensor], None]
    ) -> None:
        now = {
            Value(name): self._laid_out(torch.tensor(array, device=self._device))
            for name, array in inputs.items()
        }
        for value in now.keys() & set(values):
            take(value, now[value])
        wanted = [value for value in values if value not in now]
        if not wanted:
            return
        key = (tuple(wanted), frozenset(now))
        last, steps = self._shown
        if last != key:
            graph, image = self.model.graph, Value(self.image_input())
            steps = make_plan(graph, self._program, wanted[-1], image, now, shown=wanted)
            self._shown = key, steps
        with torch.no_grad(), full_precision():
            for step in steps:
                bottoms = [now[value] for value in step.bottoms]
                self._check(step, bottoms)
                tops, _ = step.op.forward(*bottoms)
                now.update(zip(step.tops, tops, strict=True))
                for value in set(step.tops) & set(wanted):
                    take(value, now[value])
                for value in step.done:
                    del now[value]

    # -- for the ascent: one pass, nothing kept that its backward does not read ----------------

    def evaluate(self, x: Tensor, name: str, channels: tuple[int, ...] | None = None) -> Tensor:
        """The value at which a backward pass from `name` starts; see `Net.evaluate`."""
        self._ascent = None  # the last pass's memory is free for this one
        target = self.model.graph.gradient_start(name)
        image = Value(self.image_input())
        values = {image: self._laid_out(x.detach())}
        for blob, shape in self.inputs.items():
            if blob != image.blob:
                values[Value(blob)] = torch.zeros((len(x), *shape[1:]), device=self._device)
        part, steps = self._plans.get((target, channels is None), (None, None))
        if steps is None or part != channels:  # of parts the last one only: they are many
            graph, program = self.model.graph, self._program
            steps = make_plan(graph, program, target, image, values, channels)
            self._plans[target, channels is None] = channels, steps
        check = None if (target, x.shape) in self._fitting else self._check
        with full_precision():
            self._ascent = Pass(steps, values, image, target, check)
        self._fitting.add((target, x.shape))
        return self._ascent.top

    def saves_channels(self, name: str) -> bool:
        """Whether the layer that makes those channels can make some of them alone."""
        graph = self.model.graph
        target = graph.gradient_start(name)
        layers = graph.ancestors([target], map(Value, self.inputs))
        return narrowed(graph, self._program, layers, target, (0,)) != {}

    def input_gradient(self, diff: Tensor, mode: str = "gradient") -> Tensor:
        """The diff of the image input; see `Net.input_gradient`. It frees the pass."""
        if self._ascent is None:
            raise EngineError("input_gradient may be called once after each evaluate")
        ascent, self._ascent = self._ascent, None
        self._program.mode = check_mode(mode)
        if diff.shape != ascent.top.shape:
            raise EngineError(
                f"the backward pass from a value of shape {tuple(ascent.top.shape)}, for a diff of "
                f"{tuple(diff.shape)}, cannot run: they must have one shape"
            )
        with full_precision(), _explained(ascent.top, diff):
            dx = ascent.descend(diff)
        return (torch.zeros_like(ascent.x) if dx is None else dx).contiguous()

    def _check(self, step: Step, bottoms: Sequence[Tensor]) -> None:
        if not isinstance(step.op, Select):  # which is none of the model's layers
            self._program.check(step.layer, bottoms, step.concat)

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=memory_format(self._device)) if x.ndim == 4 else x


@contextmanager
def _explained(top: Tensor, dy: Tensor) -> Iterator[None]:
    """An error of torch's in a backward pass, running out of memory included, in words."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(
            f"the backward pass from a value of shape {tuple(top.shape)}, for a diff of "
            f"{tuple(dy.shape)}, failed: {error}"
        ) from error


def _host(tensor: Tensor) -> Floats:
    copy = torch.empty(tensor.shape)
    copy.copy_(tensor.detach())
    return copy.numpy()
