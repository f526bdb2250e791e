"""What is made of weights, packed or turned, and kept as long as they do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor

Made = TypeVar("Made")


class Stamp:
    """What a tensor was at some time: which one, where its values lay, how often it had changed.

    Whoever keeps something that was made of weights keeps a stamp beside it, and makes it anew when
    that no longer fits. Checking costs less than a microsecond. What PyTorch does not count goes
    unnoticed: changes in place through ``.data``, or through a numpy array of the same memory.

    Parameters
    ----------
    tensor
        The weights.
    """

    __slots__ = ("_memory", "_tensor", "_version")

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version = tensor, tensor._version
        # Kept so that no other weights are given the same address.
        self._memory = tensor.detach()

    def fits(self, tensor: Tensor) -> bool:
        """Whether this is the same tensor, unchanged."""
        return (
            tensor is self._tensor
            and tensor._version == self._version
            and tensor.data_ptr() == self._memory.data_ptr()
        )


class Derived(Generic[Made]):
    """Something made of weights, the last one only. A copy or pickle of it is empty."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[Any, list[Stamp], Made] | None = None

    def get(
        self,
        weights: Sequence[Tensor],
        key: Any,
        make: Callable[[Sequence[Tensor], Any], Made],
    ) -> Made:
        """What `make` gives for these weights and this key, made anew only where one changed."""
        last = self._last  # threads share it
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
