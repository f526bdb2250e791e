"""A cache for what is derived from weights or shapes, such as packed or flipped filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor

Made = TypeVar("Made")


class Stamp:
    """A tensor's identity, address and version at some time, to detect later changes.

    A cache of something derived from weights stores a stamp with it and recomputes it once the
    stamp no longer fits. A check takes less than a microsecond. Changes that PyTorch does not count
    go unnoticed: in-place ones through ``.data`` or through a numpy array that shares the memory.

    Parameters
    ----------
    tensor
        The weights.
    """

    __slots__ = ("_memory", "_tensor", "_version")

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version = tensor, tensor._version
        # Keeps the memory alive, so that no other weights get the same address.
        self._memory = tensor.detach()

    def fits(self, tensor: Tensor) -> bool:
        """Whether this is the same tensor, unchanged."""
        return (
            tensor is self._tensor
            and tensor._version == self._version
            and tensor.data_ptr() == self._memory.data_ptr()
        )


class Derived(Generic[Made]):
    """A cache for the last thing derived from weights and a key. Copies and pickles are empty."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[Any, list[Stamp], Made] | None = None

    def get(
        self,
        weights: Sequence[Tensor],
        key: Any,
        make: Callable[[Sequence[Tensor], Any], Made],
    ) -> Made:
        """``make(weights, key)``, recomputed only if the weights or the key changed."""
        last = self._last  # read once: threads share it
        if (
            last is None
            or last[0] != key
            or len(last[1]) != len(weights)
            or not all(map(Stamp.fits, last[1], weights))
        ):
            last = self._last = key, [Stamp(weight) for weight in weights], make(weights, key)
        return last[2]

    def __reduce__(self) -> tuple[Any, ...]:  # oneDNN's tensors and closures cannot be copied
        return Derived, ()
