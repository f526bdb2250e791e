"""The number of threads for a pass on a CPU: as many as its arithmetic keeps busy.

Threads synchronize at the end of every layer. In a pass of a millisecond they wait for each other
longer than they compute.
"""

from __future__ import annotations

import math

from deepvis_caffe.engines.torch.plan import Plan
from deepvis_caffe.model.model import Model

PER_THREAD = 12e6  # multiply-adds of a forward pass; see benchmarks/README.md


def multiply_adds(model: Model, plan: Plan) -> int:
    """Multiply-adds of a plan's convolutions and inner products, for the net's own input shape.

    Other layers count as if each weight were used at every position of the top.
    """
    total = 0
    for layer in (one.layer for step in plan.steps for one in step.layers):
        weight = next(iter(model.weight_shapes.get(layer.name, ())), ())
        top = model.shapes.get(layer.tops[0]) if layer.tops else None
        if top and len(weight) > 1:  # not a scale or a mean
            total += math.prod(weight) * math.prod(top[:1] + top[2:])
    return total


def threads_for(work: float, most: int) -> int:
    """How many threads `work` multiply-adds keep busy: at least one, and not more than `most`."""
    return max(1, round(min(most, work / PER_THREAD)))
