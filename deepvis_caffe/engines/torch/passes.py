"""A forward pass through a net, and backward passes through what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.plan import PlanStep
from deepvis_caffe.model.graph import Value


class Pass:
    """The values of a net for some inputs, and what the backward pass needs.

    Parameters
    ----------
    values
        The values available before the first step: the inputs.

    Attributes
    ----------
    values
        The values currently available.
    """

    def __init__(self, values: Mapping[Value, Tensor]) -> None:
        self.values = dict(values)
        self._record: list[tuple[PlanStep, Any, set[int]]] = []  # step, saved, memory of its tops

    def forward(
        self,
        steps: Iterable[PlanStep],
        record: bool = True,
        see: Callable[[Value, Tensor], None] = lambda value, tensor: None,
    ) -> None:
        """Run steps.

        Parameters
        ----------
        steps
            In order; the first ones read available values.
        record
            Whether :meth:`backward` will follow.
        see
            Called with every value as it is computed, before it is freed.

        Raises
        ------
        EngineError
            A step cannot run; tells the layer, the shapes and the reason. `OutOfMemoryError` if
            memory ran out.
        """
        now = self.values
        with torch.no_grad():
            for step in steps:
                bottoms = [now[value] for value in step.bottoms]
                step.check(bottoms)
                try:
                    if record:
                        tops, saved = step.run.fwd(*bottoms)
                        self._record.append((step, saved, _memory(tops)))
                    else:
                        tops = step.run.infer(*bottoms)
                except (RuntimeError, IndexError, MemoryError) as error:
                    raise step.cannot_run(bottoms, error) from error
                for value, top in zip(step.tops, tops, strict=True):
                    now[value] = top
                    see(value, top)
                for value in step.done:
                    del now[value]

    def backward(
        self,
        starts: Mapping[Value, Tensor],
        targets: Collection[Value],
        mode: str,
        again: bool = False,
        partial: bool = False,
    ) -> dict[Value, Tensor]:
        """Propagate diffs down.

        Parameters
        ----------
        starts
            The diffs to start with, by value. What comes down from others is added to them.
        targets
            The values whose diff is wanted.
        mode
            The backward mode.
        again
            Whether another backward pass may follow; if not, this one frees what was recorded, or
            overwrites it, except for the values currently available.
        partial
            Whether the pass stops at each of the targets.

        Returns
        -------
        dict
            The targets' diffs, without targets that no diff reaches.
        """
        leading = set(targets)  # values that the targets' diffs depend on
        for step, *_ in self._record:
            if not leading.isdisjoint(step.bottoms):
                leading.update(step.tops)
        record = list(self._record)
        if not again:
            self._record.clear()
        diffs = dict(starts)
        ends = frozenset(targets) if partial else frozenset()
        available = _memory(self.values.values())
        with torch.no_grad():
            while record:
                step, saved, memory = record.pop()
                dys = [None if value in ends else diffs.get(value) for value in step.tops]
                if leading.isdisjoint(step.bottoms) or all(one is None for one in dys):
                    continue
                keeps = again or not memory.isdisjoint(available)
                bwd = step.run.bwd if keeps else step.run.last_bwd
                for value, dx in zip(step.bottoms, bwd(saved, dys, mode), strict=True):
                    if dx is not None:
                        diffs[value] = diffs[value] + dx if value in diffs else dx
                for value in step.tops:
                    if value not in targets:
                        diffs.pop(value, None)
        return {value: diffs[value] for value in targets if value in diffs}


def _memory(tensors: Iterable[Tensor]) -> set[int]:
    """Identifies the tensors' memory; views share theirs."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}
