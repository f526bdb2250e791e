"""Whether weights are still those that something was made of: ``Stamp(weight).fits(weight)``."""

from __future__ import annotations

from torch import Tensor


class Stamp:
    """What a tensor was at some time: which one, where its values lay, how often it had changed.

    Whoever keeps something that was made of weights (packed, turned, a copy of some) keeps a stamp
    beside it, and makes it anew when that no longer fits. Checking costs less than a microsecond.
    What PyTorch does not count goes unnoticed: changes in place through ``.data``, or through a
    numpy array of the same memory.

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
