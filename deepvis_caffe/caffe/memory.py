"""A blob's values, synchronized between numpy and PyTorch.

A script reads and writes a blob through numpy arrays that stay valid for as long as it keeps them.
The engine works on tensors in its own memory format, perhaps on a GPU. Copying every blob in both
directions on every pass would cost more than many layers, so a `Memory` copies only what a script
accesses, like Caffe's SyncedMemory between CPU and GPU.

While a script keeps an array, it may read or write the values at any time. So all results of the
engine are copied into the array immediately, and the engine reads from it.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepvis_caffe.engines.torch.module import laid_out

Shape = tuple[int, ...]
Array = NDArray[np.float32]


class Clock:
    """Counts the occasions on which a script may have written through an array."""

    def __init__(self) -> None:
        self._count, self.now = itertools.count(1), 0

    def tick(self) -> None:
        """Record that a script has run."""
        self.now = next(self._count)


clock = Clock()


@dataclass(frozen=True)
class Product:
    """An addend that is a sum over images: ``compute(x, dy)``, batch axis first in both.

    Attributes
    ----------
    owner
        Products with the same owner are computed together.
    compute, x, dy
        As above.
    """

    owner: object
    compute: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    dy: Tensor

    def __call__(self) -> Tensor:
        """The sum."""
        return self.compute(self.x, self.dy)


Addend = Product | Callable[[], Tensor]


def _size(addend: Addend) -> float:
    """The number of values that an addend keeps alive; infinite if unknown."""
    return addend.x.numel() + addend.dy.numel() if isinstance(addend, Product) else math.inf


def _joined(addends: Sequence[Addend]) -> Iterator[Addend]:
    alike: dict[Any, list[Product]] = {}
    for addend in addends:
        if isinstance(addend, Product):
            key = id(addend.owner), addend.x.shape[1:], addend.dy.shape[1:]
            alike.setdefault(key, []).append(addend)
        else:
            yield addend
    for products in alike.values():
        joined = products[0]
        if len(products) > 1:
            x = torch.cat([one.x for one in products])
            dy = torch.cat([one.dy for one in products])
            joined = replace(joined, x=x, dy=dy)
        yield joined


class Memory:
    """Memory for a number of float32 values, initially zeros.

    Tensors that are set or returned are never changed in place, so that they can be shared.

    Parameters
    ----------
    capacity
        Number of values.
    device
        Where the engine computes.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self._device = capacity, device
        self._host: Tensor | None = None  # flat; the script's arrays are views of it
        self._lease: weakref.ref[Array] | None = None  # alive as long as one of those arrays is
        self._exposed = False  # whether the script may have written since the engine last checked
        self._looked = -1  # the time of that check
        self._tensor: Tensor | None = None  # the engine's copy
        self._host_is_old = False
        self._addends: list[Addend] = []  # pending, of shape `_sum_shape`
        self._sum_shape: Shape = ()

    # -- the script's side -------------------------------------------------------------------

    def view(self, shape: Shape) -> Array:
        """A new array of the first values, in C order, always over the same memory."""
        self._add()
        lease = self._script_array()
        if lease is None:
            # It is the base of its views, and of their views, so it lives as long as they do.
            lease = self._current_host().numpy()
            self._lease = weakref.ref(lease)
        self._exposed, self._looked = True, -1
        return lease[: math.prod(shape)].reshape(shape)

    # -- the engine's side -------------------------------------------------------------------

    def get(self, shape: Shape) -> Tensor:
        """The first values, on the engine's device."""
        self._add()
        if self._script_may_have_written():
            self._tensor = None
        if self._tensor is not None and self._tensor.numel() != math.prod(shape):
            self._current_host()
            self._tensor = None
        if self._tensor is None:
            values = self._current_host()[: math.prod(shape)].reshape(shape)
            self._tensor = laid_out(values.clone().to(self._device))
        elif self._tensor.shape != shape:
            self._tensor = laid_out(self._tensor.reshape(shape))
        return self._tensor

    def set(self, tensor: Tensor) -> None:
        """Replace the first values."""
        self._addends = []
        old = self._tensor if self._host_is_old else None
        if old is not None and tensor.numel() < old.numel():
            self._current_host()  # to keep the remaining values
        self._tensor, self._host_is_old = tensor, True
        if self._exposed:
            self._exposed = self._script_array() is not None
            if self._exposed:
                self._current_host()
                self._looked = clock.now

    def add(self, addend: Addend, shape: Shape) -> None:
        """Add what `addend` returns, a tensor of that shape, when the values are next read.

        Addends stay pending while they take less memory than the values: few scripts read the diffs
        of parameters, and for a single image an InnerProduct's is a thousand times the size of its
        two factors.
        """
        if self._addends and sum(map(_size, [*self._addends, addend])) > self.capacity:
            self._add()
        self._addends.append(addend)
        self._sum_shape = shape
        if self._script_array() is not None:
            self._add()

    # -- shared ------------------------------------------------------------------------------

    def _add(self) -> None:
        if self._addends:
            addends, self._addends = self._addends, []
            total = self.get(self._sum_shape)
            for addend in _joined(addends):
                total = total + addend()
            self.set(total)

    def _script_may_have_written(self) -> bool:
        """Whether to read the host's values again; true at most once until a script runs again."""
        if not self._exposed or self._looked == clock.now:
            return False
        self._looked = clock.now
        self._exposed = self._script_array() is not None
        return True

    def _script_array(self) -> Array | None:
        """The base of the script's arrays, if it still has one."""
        return None if self._lease is None else self._lease()

    def _current_host(self) -> Tensor:
        if self._host is None:
            self._host = torch.zeros(self.capacity)
        if self._host_is_old:
            self._host_is_old = False
            self._copy_to(self._host)
        return self._host

    def _copy_to(self, host: Tensor) -> None:
        assert self._tensor is not None
        host[: self._tensor.numel()].view(self._tensor.shape).copy_(self._tensor)


class ParameterMemory(Memory):
    """The values of a learned blob, which the engine's modules hold as parameters.

    Parameters
    ----------
    parameter
        The parameter of the layer that owns the blob. Layers that share it in another shape add
        theirs to `parameters`.
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__(parameter.numel(), parameter.device)
        self.parameters = [parameter]
        self._host_is_old = True

    def refresh(self) -> None:
        """Copy what a script wrote to the modules, which updates version counters, too."""
        if not self._script_may_have_written():
            return
        assert self._host is not None
        with torch.no_grad():
            for parameter in self.parameters:
                written = self._host.view(parameter.shape)
                # A comparison is cheaper than repacking the weights.
                if not torch.equal(parameter, written.to(parameter.device)):
                    parameter.copy_(written)

    def get(self, shape: Shape) -> Tensor:
        """The values, on the engine's device."""
        self.refresh()
        return self.parameters[0].detach().clone().reshape(shape)

    def set(self, tensor: Tensor) -> None:
        """Replace the values."""
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.copy_(tensor.reshape(parameter.shape))
        self._host_is_old = self._host is None
        if self._host is not None:
            self._copy_to(self._host)

    def _copy_to(self, host: Tensor) -> None:
        parameter = self.parameters[0]
        host.view(parameter.shape).copy_(parameter.detach())
