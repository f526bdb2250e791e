"""One forward pass and one backward pass of an ascent, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.plan import Step
from deepvis_caffe.engines.torch.program import cannot_run
from deepvis_caffe.model.graph import Value

Check = Callable[[Step, Sequence[Tensor]], None]


class Pass:
    """A forward pass that remembers what one backward pass needs.

    Parameters
    ----------
    steps
        In order, from the values that are there to the target's.
    values
        What is there before the first step.
    image, target
        Where :meth:`descend` ends and where it starts.
    check
        Called before each step with its bottoms, to refuse in words what would fail.

    Attributes
    ----------
    x, top
        Image and target.

    Raises
    ------
    EngineError
        A step failed: which layer, on what shapes, and why.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        values: Mapping[Value, Tensor],
        image: Value,
        target: Value,
        check: Check | None = None,
    ) -> None:
        self.x = values[image]
        self._image, self._target = image, target
        self._records: list[tuple[Step, Any]] = []
        now = dict(values)
        with torch.no_grad():
            for step in steps:
                bottoms = [now[value] for value in step.bottoms]
                if check:
                    check(step, bottoms)
                try:
                    tops, saved = step.op.forward(*bottoms)
                except (RuntimeError, IndexError) as error:
                    raise cannot_run(step.layer, bottoms, error, step.bottoms) from error
                now.update(zip(step.tops, tops, strict=True))
                if step.carries:
                    self._records.append((step, saved))
                for value in step.done:
                    del now[value]
        self.top = now[target]

    def descend(self, dy: Tensor) -> Tensor | None:
        """The image's diff for the target's, None for zeros; what was remembered is let go."""
        diffs: dict[Value, tuple[Tensor, bool]] = {self._target: (dy, False)}
        with torch.no_grad():
            while self._records:
                step, saved = self._records.pop()
                found = [diffs.pop(value, None) for value in step.tops]
                if not any(found):
                    continue
                dys = [one and one[0] for one in found]
                own = all(one[1] for one in found if one)
                dxs, own = step.op.backward(dys, saved, own)
                for value, dx in zip(step.bottoms, dxs, strict=True):
                    if dx is not None:
                        before = diffs.get(value)
                        diffs[value] = (before[0] + dx, True) if before else (dx, own)
        return diffs[self._image][0] if self._image in diffs else None
