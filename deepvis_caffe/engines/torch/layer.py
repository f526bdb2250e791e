"""A layer of the torch engine: a module, and the methods with which a net's passes run it.

A layer type is a class decorated with :func:`register` in `deepvis_caffe.engines.torch.layers`. Its
``forward(*bottoms) -> top or (top, ...)`` computes the layer in plain torch operations. Most types
have nothing else; a few also define how their gradient is computed. See `Layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from deepvis_caffe.engines.out_of_memory import lack_of, ran_out
from deepvis_caffe.engines.rules import Rule, rule_for
from deepvis_caffe.engines.torch.derived import Derived
from deepvis_caffe.engines.torch_support import why_not
from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.model import graph
from deepvis_caffe.model.shapes import RULES

Tops = tuple[Tensor, ...]
Diffs = Sequence[Tensor | None]


def one_or_all(tops: Sequence[Tensor]) -> Tensor | Tops:
    """What `forward` returns: a single top unwrapped, so that hooks see a tensor."""
    return tops[0] if len(tops) == 1 else tuple(tops)


class Layer(nn.Module):
    """A layer: what it computes, and how a diff passes through it.

    :meth:`fwd` and :meth:`bwd` run a layer forward and backward without an autograd graph of the
    whole net, which for a small image would cost as much time as the arithmetic. They are named
    after JAX's custom gradients: :meth:`fwd` returns the tops and what the backward pass needs,
    :meth:`bwd` takes that and the tops' diffs. By default they run `forward` and let autograd
    differentiate this layer alone. A type overrides both if that is faster, if a backward mode has
    a rule for it, or if Caffe's backward pass differs from the gradient.

    Parameters
    ----------
    layer
        Name, type, bottoms, tops, parameters.
    weights
        The learned blobs in Caffe's order and shapes. A convolution's have the memory format that
        is best on their device.

    Attributes
    ----------
    blobs
        Names of the learned blobs, in Caffe's order.
    """

    blobs: tuple[str, ...] = ("weight", "bias")

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__()
        self.layer, self.param = layer, layer.param
        self._weight_shapes = [tuple(blob.shape) for blob in weights]
        self._fitting: set[tuple[torch.Size, ...]] = set()  # bottom shapes that passed the check
        self._constants: Derived[Tops] = Derived()
        for i, blob in enumerate(weights):
            name = self.blobs[i] if i < len(self.blobs) else f"blob{i}"
            self.register_parameter(name, blob)

    def infer(self, *bottoms: Tensor) -> Tops:
        """The tops, if no backward pass will follow."""
        tops = self.forward(*bottoms)
        return tops if isinstance(tops, tuple) else (tops,)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """The tops, and what :meth:`bwd` needs."""
        leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in bottoms]
        with torch.enable_grad():
            tops = self.infer(*leaves)
        return tuple(top.detach() for top in tops), (leaves, tops)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The bottoms' diffs, given the tops'; None for zeros. Can be called repeatedly for a pass.

        The incoming diffs may be shared and must not be changed.
        """
        leaves, tops = saved
        pairs = [
            (y, dy) for y, dy in zip(tops, dys, strict=True) if dy is not None and y.requires_grad
        ]
        if not pairs:
            return [None] * len(leaves)
        ys, found = zip(*pairs, strict=True)
        return torch.autograd.grad(ys, leaves, found, retain_graph=True, allow_unused=True)

    def last_bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The same, if no other :meth:`bwd` will follow; may overwrite what was saved.

        Called only if nothing else holds the tops.
        """
        return self.bwd(saved, dys, mode)

    def blob(self, name: str) -> Any:
        """The current learned blob, or None; ten times as fast as a module's attribute."""
        found = self._parameters
        return found[name] if name in found else getattr(self, name)

    def constants(self, like: Tensor, key: Any, make: Callable[[], Iterable[Tensor]]) -> Tops:
        """The tensors of `make`, moved to the device of `like`.

        For what depends on shapes only: a copy from the host in every pass would wait for a GPU.
        Only the last ones are kept.

        Parameters
        ----------
        like
            A bottom.
        key
            What `make` depends on, besides the dtype and device of `like`.
        """

        def moved(*_: Any) -> Tops:
            return tuple(one.to(like.device) for one in make())

        # What is made while PyTorch traces or infers cannot be used otherwise.
        kind = type(like), torch.is_inference_mode_enabled()
        return self._constants.get((), (key, like.dtype, like.device, kind), moved)

    def narrowed(self, channels: Sequence[int]) -> Layer | None:
        """A layer that computes only these channels of the top; None if that saves nothing."""
        return None

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Factor and offset of each channel, float64 (C,) or (), if the layer does nothing else."""
        return None

    def check(self, bottoms: Sequence[Tensor]) -> None:
        """Raise `EngineError`, with the reason, if the layer does not fit these bottoms' shapes."""
        shapes = tuple(x.shape for x in bottoms)
        if shapes in self._fitting:
            return
        known = RULES.get(self.layer.type)
        try:
            outcome = known and known(self.param, [tuple(shape) for shape in shapes])
        except ModelError as error:
            raise self.cannot_run(bottoms, error) from error
        if outcome and list(outcome.weights) != self._weight_shapes:
            need, have = (
                ", ".join(map(str, some)) for some in (outcome.weights, self._weight_shapes)
            )
            raise self.cannot_run(
                bottoms,
                f"at this input size it needs weights of shape {need}, but it has {have}; it "
                "accepts only the input size that the net was trained with",
            )
        self._fitting.add(shapes)

    def cannot_run(self, bottoms: Sequence[Tensor], why: object) -> EngineError:
        """An error that names the layer and its bottoms' shapes."""
        pairs = zip(self.layer.bottoms, bottoms, strict=True)
        came = ", ".join(f"{value.blob} {tuple(x.shape)}" for value, x in pairs) or "no bottoms"
        what = f"layer {self.layer.name!r} ({self.layer.type})"
        if isinstance(why, BaseException) and ran_out(why):
            return lack_of(f"{what} on {came}", why, len(bottoms[0]) if bottoms else 0)
        return EngineError(f"{what} cannot run on {came}: {why}")

    def rule(self, mode: str) -> Rule | None:
        """The rule that replaces the gradient in a backward mode; None to use the gradient."""
        return rule_for(self.layer, mode)


Builder = Callable[[graph.Layer, Sequence[nn.Parameter]], Layer]

_BUILDERS: dict[str, Builder] = {}
BUILDERS: Mapping[str, Builder] = MappingProxyType(_BUILDERS)


def register(*types: str) -> Callable[[Any], Any]:
    """Class or function decorator for what builds the layers of these types.

    Raises
    ------
    EngineError
        At import, if a type already has a builder.
    """

    def decorate(builder: Any) -> Any:
        for name in types:
            if name in _BUILDERS:
                raise EngineError(
                    f"layer type {name!r} is registered twice: by {_BUILDERS[name]!r} and by "
                    f"{builder!r}; give one of them another type, or remove it"
                )
            _BUILDERS[name] = builder
        return builder

    return decorate


class Opaque(Layer):
    """A placeholder for a layer that cannot run; running it raises an error that says why.

    Parameters
    ----------
    layer
        Name, type, bottoms, tops.
    reason
        Why it cannot run, in words.
    """

    def __init__(self, layer: graph.Layer, reason: str) -> None:
        super().__init__(layer)
        self.reason = reason

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        raise self.cannot_run(bottoms, self.reason)

    def check(self, bottoms: Sequence[Tensor]) -> None:
        """Nothing: `forward` raises the error."""


def build(layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> Layer:
    """The module of a layer.

    Raises
    ------
    EngineError
        The layer's type is unknown, or its parameters ask for something that this engine lacks.
    """
    if why := why_not(layer, [tuple(blob.shape) for blob in weights]):
        raise EngineError(why)
    return BUILDERS[layer.type](layer, weights)
