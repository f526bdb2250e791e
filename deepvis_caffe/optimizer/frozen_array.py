"""`FrozenArray`: an immutable array that parameters can hold, compare and record."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrozenArray:
    """An immutable copy of an array; equal to one of the same type, shape and values.

    Parameters
    ----------
    array
        Anything that numpy can convert to an array, or a tensor.

    Attributes
    ----------
    array
        The copy, read-only.
    """

    def __init__(self, array: Any) -> None:
        host = array.detach().cpu() if hasattr(array, "detach") else array
        self.array: NDArray[Any] = np.array(np.asarray(host), order="C")
        self.array.flags.writeable = False

    @cached_property
    def digest(self) -> str:
        """A digest of type, shape and values, the same on every machine."""
        own = self.array.astype(self.array.dtype.newbyteorder("<"), copy=False)
        head = f"{own.dtype.str} {own.shape} ".encode()
        return hashlib.blake2b(head + own.tobytes(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenArray) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"FrozenArray({self.array.dtype}, shape {self.array.shape}, {self.digest[:8]})"
