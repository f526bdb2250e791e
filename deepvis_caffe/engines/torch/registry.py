"""The layer types of the torch engine: type string -> builder -> function of the bottoms.

A builder is called once for each layer, when the net is built: ``build(setup) -> run``. What it
returns is called in every forward pass: ``run(*bottoms) -> top or (top, ...)``, in plain torch
operations, so that autograd gives the gradient. A new layer type is one small class or function in
`deepvis_caffe.engines.torch.layers` under :func:`register`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from deepvis_caffe.engines.rules import Rule
from deepvis_caffe.errors import EngineError, did_you_mean
from deepvis_caffe.model.graph import Layer

Run = Callable[..., Tensor | tuple[Tensor, ...]]
RuleNow = Callable[[], Rule | None]
Builder = Callable[["Setup"], Run]

_BUILDERS: dict[str, Builder] = {}
BUILDERS: Mapping[str, Builder] = MappingProxyType(_BUILDERS)


def _gradient() -> Rule | None:
    return None


@dataclass(frozen=True)
class Setup:
    """What a builder gets to know of its layer.

    Attributes
    ----------
    layer
        Name, type, bottoms, tops, parameters.
    weights
        The layer's learned blobs in Caffe's order and shapes, on the engine's device.
    device
        Where constants of the layer belong.
    memory_format
        How four-dimensional weights are best laid out there.
    rule
        Returns the backward rule of the mode that the running backward pass is in, None where the
        gradient holds. To be called in the backward pass: the mode is not known before.
    """

    layer: Layer
    weights: tuple[Tensor, ...] = ()
    device: torch.device | str = "cpu"
    memory_format: torch.memory_format = torch.contiguous_format
    rule: RuleNow = _gradient


def register(*types: str) -> Callable[[Builder], Builder]:
    """Class or function decorator: the builder of these layer types.

    Raises
    ------
    EngineError
        At import, where a type has a builder already.
    """

    def decorate(builder: Builder) -> Builder:
        for name in types:
            if name in _BUILDERS:
                raise EngineError(
                    f"layer type {name!r} is registered twice: by {_BUILDERS[name]!r} and by "
                    f"{builder!r}; give one of them another type, or remove it"
                )
            _BUILDERS[name] = builder
        return builder

    return decorate


def check_types(layers: Iterable[Layer]) -> None:
    """`EngineError` that lists every layer whose type has no builder."""
    unknown = [layer for layer in layers if layer.type not in BUILDERS]
    if unknown:
        listed = ", ".join(f"{layer.name!r} ({layer.type})" for layer in unknown)
        raise EngineError(
            f"the torch engine cannot run {listed}; pycaffe runs every layer type that your Caffe "
            f'was built with: engine="pycaffe"'
            f"{did_you_mean(unknown[0].type, sorted(BUILDERS), most=len(BUILDERS))}"
        )


def build(setup: Setup) -> Run:
    """The function that runs a layer.

    Raises
    ------
    EngineError
        The layer's type is unknown, or its parameters ask for what this engine does not do.
    """
    check_types([setup.layer])
    return BUILDERS[setup.layer.type](setup)
