"""The plan of a pass, with the steps and the lifetime of values: ``(targets, have) -> steps``.

All optimizations over running layer after layer are decided here:

- only the layers that the targets need run, and a value is freed after its last reader;
- layers are fused where possible, see `deepvis_caffe.engines.torch.fusion`;
- the last layer with weights computes only the wanted channels.

The plan also makes sure that an image has the same values alone as in a batch, where a different
kernel would run for a single image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from deepvis_caffe.engines.torch.derived import Stamp
from deepvis_caffe.engines.torch.fusion import Runnable, fused
from deepvis_caffe.engines.torch.layer import Layer
from deepvis_caffe.engines.torch.layers.dense import EvenInnerProduct, InnerProduct
from deepvis_caffe.engines.torch.module import NetModule
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model import graph
from deepvis_caffe.model.graph import Graph, Value

Channels = tuple[int, ...] | None
Joined = dict[tuple[Layer, ...], Runnable]

# Layers without weights, each of whose channels depends only on the bottom's same channel.
CHANNEL_BY_CHANNEL = (
    *("AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Exp", "HardSigmoid", "HardSwish", "Log"),
    *(
        "Mish",
        "NdPooling",
        "Pooling",
        "Pooling3D",
        "Power",
        "ReLU",
        "ReLU6",
        "Sigmoid",
        "Split",
        "Swish",
        "TanH",
        "Upsample",
    ),
)


@dataclass(frozen=True)
class PlanStep:
    """A layer to run, or several fused layers.

    Attributes
    ----------
    layers
        The layers. The first one checks its bottoms' shapes and is named in errors.
    run
        Runs them.
    bottoms, tops
        The values read and written; the first layer's bottoms come first.
    done
        Values that no later step reads.
    """

    layers: tuple[Layer, ...]
    run: Runnable
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    done: tuple[Value, ...] = ()

    def check(self, bottoms: Sequence[Tensor]) -> None:
        """Raise `EngineError`, with the reason, if the first layer does not fit the bottoms."""
        self.layers[0].check(self._of_first(bottoms))

    def cannot_run(self, bottoms: Sequence[Tensor], why: object) -> EngineError:
        """An error that names the first layer and its bottoms' shapes."""
        return self.layers[0].cannot_run(self._of_first(bottoms), why)

    def _of_first(self, bottoms: Sequence[Tensor]) -> Sequence[Tensor]:
        return bottoms[: len(self.layers[0].layer.bottoms)]


@dataclass(frozen=True)
class Plan:
    """The steps of a pass.

    Attributes
    ----------
    steps
        In order.
    select
        The channels to select from the computed target; None for all.
    copied
        The weights that a step has copied in part: layer, name and stamp of each.
    work
        Multiply-adds of the steps per value of an image input; 0 if not computed.
    """

    steps: tuple[PlanStep, ...]
    select: Channels = None
    copied: tuple[tuple[Layer, str, Stamp], ...] = ()
    work: float = 0.0

    @property
    def up_to_date(self) -> bool:
        """Whether those weights are unchanged since."""
        return all(stamp.fits(layer.blob(name)) for layer, name, stamp in self.copied)


def every_layer(module: NetModule, layers: Iterable[graph.Layer]) -> list[PlanStep]:
    """One step per layer, keeping every value, so that any diff can be computed afterwards."""
    modules = [module.layer(layer.name) for layer in layers]
    return [PlanStep((m,), m, m.layer.bottoms, m.layer.tops) for m in modules]


def make_plan(
    module: NetModule,
    targets: Sequence[Value],
    have: Collection[Value],
    channels: Channels = None,
    scale: bool = True,
    joined: Joined | None = None,
) -> Plan:
    """Plan the computation of `targets` from the values in `have`; only targets remain at the end.

    Parameters
    ----------
    module
        The net.
    targets, have
        The wanted and the available values.
    channels
        The wanted channels, if there is a single target; None for all.
    scale
        Whether factors may be folded into filters, which rounds differently.
    joined
        Cache of the fused layers of this net's plans, whose folded filters are as large as the
        net's. This plan uses them and adds its own.
    """
    layers = module.graph.ancestors(targets, have)
    run: dict[str, Runnable] = {layer.name: module.layer(layer.name) for layer in layers}
    some = narrowed(module, targets[0], have, channels) if channels else {}
    run |= some
    only_reader = _only_readers(layers, targets)
    made_as = {value: number for number, layer in enumerate(layers) for value in layer.tops}
    steps: dict[tuple[Value, ...], PlanStep] = {}  # by tops
    for layer in layers:
        whole = module.layer(layer.name)
        own = run[layer.name]
        own = EvenInnerProduct(own) if isinstance(own, InnerProduct) else own
        step = PlanStep((whole,), own, layer.bottoms, layer.tops)
        alone = [v for v in layer.bottoms if only_reader.get(v) is layer and (v,) in steps]
        # If a sum reads two, fuse with the later one: by then the other value is available.
        for made in sorted(alone, key=made_as.__getitem__, reverse=True):
            below = steps[(made,)]
            if together := fused(below.run, whole, scale):
                del steps[below.tops]
                others = tuple(value for value in layer.bottoms if value not in below.tops)
                step = PlanStep(
                    (*below.layers, whole), together, (*below.bottoms, *others), layer.tops
                )
                break
        steps[step.tops] = step
    if joined is not None:
        for tops, step in steps.items():
            if len(step.layers) > 1 and not some.keys() & {one.layer.name for one in step.layers}:
                run_of = joined.setdefault(step.layers, step.run)
                steps[tops] = replace(step, run=run_of)
    copied = tuple(
        (whole, name, Stamp(weight))
        for whole in map(module.layer, some)
        for name in whole.blobs
        if (weight := whole.blob(name)) is not None
    )
    return Plan(_with_lifetimes(list(steps.values()), targets), None if some else channels, copied)


def narrowed(
    module: NetModule, target: Value, have: Collection[Value], channels: Sequence[int]
) -> dict[str, Layer]:
    """The layer that computes the target's channels, narrowed to some, by name; {} if none can."""
    source = _source_of_channels(module.graph, target, have)
    some = module.layer(source.name).narrowed(channels) if source else None
    return {some.layer.name: some} if some else {}


def _source_of_channels(net: Graph, target: Value, have: Collection[Value]) -> graph.Layer | None:
    """The layer that computes the target's channels, if later ones keep them apart; or None."""
    layers = net.ancestors([target], have)
    readers = Counter(value for layer in layers for value in layer.bottoms)
    value, layer = target, net.producer[target]
    while layer.type in CHANNEL_BY_CHANNEL and len(layer.bottoms) == len(layer.tops) == 1:
        value = layer.bottoms[0]
        layer = net.producer[value]
        if readers[value] > 1:
            return None
    return layer if layer in layers and len(layer.bottoms) == len(layer.tops) == 1 else None


def _only_readers(
    layers: Iterable[graph.Layer], targets: Iterable[Value]
) -> Mapping[Value, graph.Layer]:
    """The reader of each value that has exactly one and is not a target."""
    readers: dict[Value, list[graph.Layer]] = {value: [] for value in targets}
    for layer in layers:
        for value in layer.bottoms:
            readers.setdefault(value, []).append(layer)
    targets = set(targets)
    return {v: some[0] for v, some in readers.items() if len(some) == 1 and v not in targets}


def _with_lifetimes(steps: list[PlanStep], targets: Iterable[Value]) -> tuple[PlanStep, ...]:
    """The steps, each with the values that no later step needs."""
    needed = set(targets)
    ended: list[PlanStep] = []
    for step in reversed(steps):
        values = {*step.bottoms, *step.tops}
        ended.append(replace(step, done=tuple(values - needed)))
        needed |= values
    return tuple(reversed(ended))
