"""The steps of an ascent's forward pass: what to run, in which order, and what to let go when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from deepvis_caffe.engines.torch.ops import Op, Select
from deepvis_caffe.engines.torch.program import Program
from deepvis_caffe.engines.torch.registry import Run
from deepvis_caffe.model.graph import Graph, Layer, Value

# Layers without weights whose every channel comes of the same channel of the one bottom.
CHANNEL_BY_CHANNEL = (
    *("AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Log"),
    *("Pooling", "Power", "ReLU", "Sigmoid", "Split", "TanH"),
)


@dataclass(frozen=True)
class Step:
    """A layer to run, or two that follow each other.

    Attributes
    ----------
    layer
        What an error names.
    op
        Its two directions.
    bottoms, tops
        The values read and written.
    done
        Values that no later step reads.
    carries
        Whether a diff has to go through it to reach the image.
    concat
        The Concat that the layer would read, where it takes what that would have joined.
    """

    layer: Layer
    op: Op
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    done: tuple[Value, ...] = ()
    carries: bool = True
    concat: Layer | None = None


def make_plan(
    graph: Graph,
    program: Program,
    target: Value,
    image: Value,
    have: Iterable[Value],
    channels: tuple[int, ...] | None = None,
    shown: Collection[Value] = (),
) -> tuple[Step, ...]:
    """The steps from the values in `have`, of which `image` is climbed, to `target`.

    Two layers become one step where that is faster and nobody else reads the value between them.
    Of the target there are no readers here, so it is never hidden so. A convolution that alone
    reads a Concat takes what that would have joined. The last convolution is told that few channels
    of its top may have a diff: an ascent climbs one unit an image. Where only some `channels` of
    the target are wanted, the last layer with weights computes no others. Values that are `shown`
    are computed, too, and never hidden.
    """
    layers = graph.ancestors([target, *shown], have)
    last = max((layer.index for layer in layers if layer.type == "Convolution"), default=None)
    runs = narrowed(graph, program, layers, target, channels) if channels else {}
    readers = _readers(layers)
    concats = _concats(layers, program, readers, {last, *(layer.index for layer in runs)}, shown)
    pairs = _pairs(layers, program, readers, last, runs, concats, shown)
    hidden = {*(after for after, _ in pairs.values()), *concats.values()}
    steps: list[Step] = []
    for layer in layers:
        if layer in hidden:
            continue
        concat = concats.get(layer)
        bottoms, tops = (concat or layer).bottoms, layer.tops
        if layer in pairs:
            after, op = pairs[layer]
            tops = after.tops
        else:
            op = program.op(layer, layer.index == last, runs.get(layer), concat is not None)
        steps.append(Step(layer, op, bottoms, tops, concat=concat))
    if channels and not runs:
        steps.append(Step(graph.producer[target], Select(channels), (target,), (target,)))
    return _with_ends(_carrying(steps, image), target)


def narrowed(
    graph: Graph,
    program: Program,
    layers: Sequence[Layer],
    target: Value,
    channels: Sequence[int],
) -> dict[Layer, Run]:
    """Which of the layers makes the target's channels, and what makes some; {} if nothing does."""
    source = _source_of_channels(graph, layers, target)
    run = program.narrowed(source, channels) if source else None
    return {source: run} if source and run else {}


def _source_of_channels(graph: Graph, layers: Sequence[Layer], target: Value) -> Layer | None:
    """The layer that makes the target's channels, which those after it keep apart; or None."""
    readers = Counter(value for layer in layers for value in layer.bottoms)
    value, layer = target, graph.producer[target]
    while layer.type in CHANNEL_BY_CHANNEL and len(layer.bottoms) == len(layer.tops) == 1:
        value = layer.bottoms[0]
        layer = graph.producer[value]
        if readers[value] > 1:
            return None
    return layer if layer in layers and len(layer.bottoms) == len(layer.tops) == 1 else None


def _readers(layers: Sequence[Layer]) -> dict[Value, list[Layer]]:
    """The layers that read each value."""
    readers: dict[Value, list[Layer]] = {}
    for layer in layers:
        for value in layer.bottoms:
            readers.setdefault(value, []).append(layer)
    return readers


def _concats(
    layers: Sequence[Layer],
    program: Program,
    readers: Mapping[Value, Sequence[Layer]],
    special: Collection[int | None],
    shown: Collection[Value],
) -> dict[Layer, Layer]:
    """Each convolution that takes the bottoms of the Concat that it reads, and that Concat.

    Those of the numbers in `special`, which leave channels out, do not.
    """
    concats: dict[Layer, Layer] = {}
    for layer in layers:
        if layer.type == "Concat" and layer.tops[0] not in shown:
            after = readers.get(layer.tops[0], [])
            if len(after) == 1 and after[0].index not in special and program.joins(layer, after[0]):
                concats[after[0]] = layer
    return concats


def _pairs(
    layers: Sequence[Layer],
    program: Program,
    readers: Mapping[Value, Sequence[Layer]],
    last: int | None,
    runs: Mapping[Layer, Run],
    concats: Mapping[Layer, Layer],
    shown: Collection[Value],
) -> dict[Layer, tuple[Layer, Op]]:
    """Each layer that is run together with the next one, that one, and how."""
    pairs: dict[Layer, tuple[Layer, Op]] = {}
    for kind in ("ReLU", "Convolution"):  # a ReLU goes with its pooling rather: that saves more
        for layer in layers:
            seen = layer.type != kind or layer.tops[0] in shown
            after = [] if seen else readers.get(layer.tops[0], [])
            if len(after) == 1 and after[0] not in pairs:
                few, joined = layer.index == last, layer in concats
                op = program.together(layer, after[0], few, runs.get(layer), joined)
                if op:
                    pairs[layer] = (after[0], op)
    return pairs


def _carrying(steps: Sequence[Step], image: Value) -> list[Step]:
    """The steps, each knowing whether it lies between the image and the target."""
    reached = {image}
    found = []
    for step in steps:
        carries = not reached.isdisjoint(step.bottoms)
        found.append(replace(step, carries=carries))
        reached.update(step.tops if carries else ())
    return found


def _with_ends(steps: list[Step], target: Value) -> tuple[Step, ...]:
    """The steps, each knowing which values it is the last to need."""
    needed = {target}
    ended: list[Step] = []
    for step in reversed(steps):
        values = {*step.bottoms, *step.tops}
        ended.append(replace(step, done=tuple(values - needed)))
        needed |= values
    return tuple(reversed(ended))
