"""The steps of an ascent's forward pass: what to run, in which order, and what to let go when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deepvis_caffe.engines.torch.program import Program
from deepvis_caffe.engines.torch.registry import Run
from deepvis_caffe.model.graph import Graph, Layer, Value


@dataclass(frozen=True)
class Step:
    """A layer to run, or two that follow each other.

    Attributes
    ----------
    layer
        What an error names.
    run
        The function of the bottoms.
    bottoms, tops
        The values read and written.
    done
        Values that no later step reads.
    """

    layer: Layer
    run: Run
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    done: tuple[Value, ...] = ()


def make_plan(
    graph: Graph, program: Program, target: Value, have: Iterable[Value]
) -> tuple[Step, ...]:
    """The steps from the values in `have` to `target`.

    Two layers become one step where that is faster and nobody else reads the value between them.
    Of the target there are no readers here, so it is never hidden so. The last convolution is told
    that few channels of its top may have a diff: an ascent climbs one unit an image.
    """
    layers = graph.ancestors([target], have)
    last = max((layer.index for layer in layers if layer.type == "Convolution"), default=None)
    pairs = _pairs(layers, program, last)
    joined = {after for after, _ in pairs.values()}
    steps: list[Step] = []
    for layer in layers:
        if layer in pairs:
            after, run = pairs[layer]
            steps.append(Step(layer, run, layer.bottoms, after.tops))
        elif layer not in joined:
            run = program.run_of(layer, few=layer.index == last)
            steps.append(Step(layer, run, layer.bottoms, layer.tops))
    return _with_ends(steps, target)


def _pairs(
    layers: Sequence[Layer], program: Program, last: int | None
) -> dict[Layer, tuple[Layer, Run]]:
    """Each layer that is run together with the next one, that one, and how."""
    readers: dict[Value, list[Layer]] = {}
    for layer in layers:
        for value in layer.bottoms:
            readers.setdefault(value, []).append(layer)
    pairs: dict[Layer, tuple[Layer, Run]] = {}
    for kind in ("ReLU", "Convolution"):  # a ReLU goes with its pooling rather: that saves more
        for layer in layers:
            after = readers.get(layer.tops[0], []) if layer.type == kind else []
            if len(after) == 1 and after[0] not in pairs:
                run = program.together(layer, after[0], few=layer.index == last)
                if run:
                    pairs[layer] = (after[0], run)
    return pairs


def _with_ends(steps: list[Step], target: Value) -> tuple[Step, ...]:
    """The steps, each knowing which values it is the last to need."""
    needed = {target}
    ended: list[Step] = []
    for step in reversed(steps):
        values = {*step.bottoms, *step.tops}
        ended.append(replace(step, done=tuple(values - needed)))
        needed |= values
    return tuple(reversed(ended))
