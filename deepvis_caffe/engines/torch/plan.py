"""What a pass runs, in which order, and when values are freed: ``(targets, have) -> steps``.

Everything that makes a pass faster than running layer after layer is decided here:

- only the layers that the targets need, and every value is freed after its last reader;
- layers that can be one sweep are one, see `deepvis_caffe.engines.torch.fusion`;
- of the last layer with weights only the channels that are wanted.

And that an image has the same values alone as in a batch, where another kernel would run for one.
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

# Layers without weights whose every channel comes of the same channel of the one bottom.
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
    """A layer to run, or several that follow each other.

    Attributes
    ----------
    layers
        The layers. The first one checks the shapes of its bottoms, and errors name it.
    run
        What runs them.
    bottoms, tops
        The values read and written; of several layers, first the bottoms of the first one.
    done
        Values that no later step reads.
    """

    layers: tuple[Layer, ...]
    run: Runnable
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    done: tuple[Value, ...] = ()

    def check(self, bottoms: Sequence[Tensor]) -> None:
        """`EngineError` in words where the first layer does not fit bottoms of these shapes."""
        self.layers[0].check(self._of_first(bottoms))

    def cannot_run(self, bottoms: Sequence[Tensor], why: object) -> EngineError:
        """An error with the first layer and the shapes that came to it."""
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
        Of the target's channels those that are to be taken in the end; None for all there are.
    copied
        The weights of which a step has a copy, in part: layer, name and stamp of each.
    work
        Multiply-adds of the steps, for each number of an image input; 0 where nobody asks.
    """

    steps: tuple[PlanStep, ...]
    select: Channels = None
    copied: tuple[tuple[Layer, str, Stamp], ...] = ()
    work: float = 0.0

    @property
    def up_to_date(self) -> bool:
        """Whether those weights have not changed since."""
        return all(stamp.fits(layer.blob(name)) for layer, name, stamp in self.copied)


def every_layer(module: NetModule, layers: Iterable[graph.Layer]) -> list[PlanStep]:
    """Layer after layer, every value kept: what any diff can be asked of afterwards."""
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
    """The way from the values in `have` to those of `targets`, which alone are there afterwards.

    Parameters
    ----------
    module
        The net.
    targets, have
        What is wanted, and what is there.
    channels
        Of the one target, the channels that are wanted; None for all.
    scale
        Whether filters may be scaled beforehand, which rounds otherwise than layer after layer.
    joined
        Layers that other plans of this net run as one, which have scaled filters of their own, as
        large as the net. They are used here, too, and those of this plan are added.
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
        # Of two that a sum reads the last one made: the other value is there by then.
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
    return Plan(_with_ends(list(steps.values()), targets), None if some else channels, copied)


def narrowed(
    module: NetModule, target: Value, have: Collection[Value], channels: Sequence[int]
) -> dict[str, Layer]:
    """By name the layer that makes the target's channels, as one of some; {} if there is none."""
    source = _source_of_channels(module.graph, target, have)
    some = module.layer(source.name).narrowed(channels) if source else None
    return {some.layer.name: some} if some else {}


def _source_of_channels(net: Graph, target: Value, have: Collection[Value]) -> graph.Layer | None:
    """The layer that makes the target's channels, which those after it keep apart; or None."""
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
    """The layer that alone reads a value, for each that has just one and is no target."""
    readers: dict[Value, list[graph.Layer]] = {value: [] for value in targets}
    for layer in layers:
        for value in layer.bottoms:
            readers.setdefault(value, []).append(layer)
    targets = set(targets)
    return {v: some[0] for v, some in readers.items() if len(some) == 1 and v not in targets}


def _with_ends(steps: list[PlanStep], targets: Iterable[Value]) -> tuple[PlanStep, ...]:
    """The steps, each knowing which values it is the last to need."""
    needed = set(targets)
    ended: list[PlanStep] = []
    for step in reversed(steps):
        values = {*step.bottoms, *step.tops}
        ended.append(replace(step, done=tuple(values - needed)))
        needed |= values
    return tuple(reversed(ended))
