"""The steps of an ascent's forward pass: what to run, in which order, and what to let go when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deepvis_caffe.engines.torch.program import Program
from deepvis_caffe.engines.torch.registry import Run
from deepvis_caffe.model.graph import Graph, Layer, Value


@dataclass(frozen=True)
class Step:
    """A layer to run, or a convolution with the ReLU that follows it.

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

    A convolution that only a ReLU reads becomes one step with it: nobody sees the value between
    them. Of the target there are no readers here, so it is never hidden so.
    """
    layers = graph.ancestors([target], have)
    readers: dict[Value, list[Layer]] = {}
    for layer in layers:
        for value in layer.bottoms:
            readers.setdefault(value, []).append(layer)
    steps: list[Step] = []
    fused: set[Layer] = set()
    for layer in layers:
        if layer in fused:
            continue
        run, tops = program.run_of(layer), layer.tops
        after = readers.get(tops[0], [])
        with_relu = program.with_relu(layer, after[0]) if len(after) == 1 else None
        if with_relu:
            run, tops = with_relu, after[0].tops
            fused.add(after[0])
        steps.append(Step(layer, run, layer.bottoms, tops))
    return _with_ends(steps, target)


def _with_ends(steps: list[Step], target: Value) -> tuple[Step, ...]:
    """The steps, each knowing which values it is the last to need."""
    needed = {target}
    ended: list[Step] = []
    for step in reversed(steps):
        values = {*step.bottoms, *step.tops}
        ended.append(replace(step, done=tuple(values - needed)))
        needed |= values
    return tuple(reversed(ended))
