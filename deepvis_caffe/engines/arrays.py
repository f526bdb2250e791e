"""Array operations of an engine's own arrays: one ascent loop for numpy and for torch.

Operators are written in what numpy arrays and torch tensors share (``*``, ``@``, ``abs``,
``.sum(axis=...)``, ``.argmax(axis=...)``) and in functions of their namespace, ``ops.xp``, that
both name alike: ``amax``, ``clip``, ``fft.rfft2``, ``isfinite``, ``sqrt``, ``where``,
``zeros_like``. This module adds the few operations that differ. torch is imported when it is first
used.
"""

from __future__ import annotations

import abc
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from threading import Barrier
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from deepvis_caffe.engines.warps import Affines, Back, Warps, numpy_warps, torch_warps
from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.memory import free_memory


class ArrayOps(abc.ABC):
    """What an engine's arrays can do, beside the functions of their namespace.

    Attributes
    ----------
    xp
        The namespace, ``numpy`` or ``torch``.
    on_host
        Whether arrays lie in the host's memory, so that reading one waits for nothing.
    """

    xp: ModuleType
    on_host: bool

    @abc.abstractmethod
    def asarray(self, array: ArrayLike, dtype: DTypeLike = np.float32) -> Any:
        """A copy of a host array, of type `dtype`, as the engine's own array on its device."""

    @abc.abstractmethod
    def numpy(self, array: Any) -> NDArray[Any]:
        """A C-contiguous copy of the engine's own array on the host."""

    @property
    def for_numbers(self) -> ArrayOps:
        """Operations of what :meth:`numbers` gives: numpy's on the host, else these.

        Of arrays that hold a number or a few for each image, most of the time is that of the call,
        and numpy's take a fifth of torch's. ``xp.asarray`` makes arrays of them again.
        """
        return self

    def numbers(self, array: Any) -> Any:
        """An engine's own small array as one of :attr:`for_numbers`, in the same memory."""
        return array

    def free_memory(self) -> int | None:
        """Bytes to be had where the arrays lie; None where the system does not tell."""
        return free_memory()

    def sums(self, array: Any, kept: int = 1) -> Any:
        """The sum of each image, (N,), or over all axes but the first `kept`, for numbers.

        On the host it is the same to the last bit whatever the number of images, of channels that
        are kept, and of threads: numpy adds up one after the other, each in the same order. Torch
        shares a sum out among its threads.

        Parameters
        ----------
        array
            The engine's own array, (N, ...).
        kept
            How many axes, of N the first, the result has.

        Returns
        -------
        array
            One of :attr:`for_numbers`.
        """
        return array.reshape(*array.shape[:kept], -1).sum(axis=kept)

    def release(self) -> None:
        """Give memory back that is held and not used, after it has run out."""
        gc.collect()

    @contextmanager
    def helpers(self, count: int) -> Iterator[Executor]:
        """Threads that work on arrays side by side, each on one core.

        An operation that is itself split over the cores ends when the last of them is done, and
        waits wherever another thread, one that decodes images for example, is on one of them.
        """
        with ThreadPoolExecutor(count, thread_name_prefix="arrays") as pool:
            yield pool

    @abc.abstractmethod
    def percentile(self, rows: Any, q: float | NDArray[np.floating[Any]]) -> Any:
        """The `q`-th percentile of each row, linearly interpolated as ``numpy.percentile`` does.

        Parameters
        ----------
        rows
            The engine's own array, (N, M).
        q
            In 0 to 100: one for all rows, or a host array (N,) with one for each.

        Returns
        -------
        array
            The engine's own, (N,), of the type of `rows`.
        """

    @abc.abstractmethod
    def warps(self, affines: Affines, height: int, width: int) -> Warps:
        """At each step, each image through an affine map of its own.

        Bilinear, 0 where it looks outside. The maps are brought to the device once for all steps.

        Parameters
        ----------
        affines
            A host array (steps, N, 2, 3): pixel p = (row, column) of the result shows the image at
            ``affine[:, :2] @ p + affine[:, 2]``.
        height, width
            Of the images.

        Returns
        -------
        callable
            Maps the engine's own array x, float32 (N, C, H, W), and the step to what is seen, of
            the shape of x, and the exact adjoint: it maps a gradient with respect to that to the
            one with respect to x.
        """

    def warp(self, x: Any, affine: Affines) -> tuple[Any, Back]:
        """A single step of :meth:`warps`, of maps (N, 2, 3)."""
        return self.warps(affine[None], *x.shape[2:])(x, 0)


class NumpyOps(ArrayOps):
    """Operations of numpy arrays; the pycaffe engine's."""

    xp = np
    on_host = True

    def asarray(self, array: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """A C-contiguous copy of type `dtype`."""
        return np.array(array, dtype, order="C")

    def numpy(self, array: Any) -> NDArray[Any]:
        """A C-contiguous copy."""
        return np.array(array, order="C")

    def sums(self, array: Any, kept: int = 1) -> Any:
        """By numpy's sum of contiguous memory."""
        return super().sums(np.ascontiguousarray(array), kept)

    def percentile(self, rows: Any, q: float | NDArray[np.floating[Any]]) -> Any:
        """Each row's percentile, by numpy's own (a partition, not a sort)."""
        qs = np.broadcast_to(q, len(rows))
        found = [np.percentile(row, one) for row, one in zip(rows, qs, strict=True)]
        return np.array(found, rows.dtype)

    def warps(self, affines: Affines, height: int, width: int) -> Warps:
        """By a sparse matrix an image."""
        return numpy_warps(affines)


def copy_on_host(tensor: Any, dtype: Any) -> NDArray[Any]:
    """A C-contiguous copy of a torch tensor, of a torch type; this waits for the tensor's device.

    From channels last to C's order torch copies several times as fast as numpy.
    """
    import torch

    # A GPU writes several times as fast to page-locked memory, which is not for keeping.
    copy = torch.empty(tensor.shape, dtype=dtype, device="cpu", pin_memory=tensor.is_cuda)
    found: NDArray[Any] = copy.copy_(tensor).numpy()
    return found.copy() if tensor.is_cuda else found


class TorchOps(ArrayOps):
    """Operations of torch tensors on one device; the torch engine's.

    Parameters
    ----------
    device
        As torch names it, for example ``"cpu"`` or ``"cuda:0"``.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.on_host = device == "cpu"
        self._page_locks = device.startswith("cuda")

    @cached_property
    def for_numbers(self) -> ArrayOps:
        """Numpy's on the host, where nothing has to wait for them; else these."""
        return NumpyOps() if self.on_host else self

    def numbers(self, array: Any) -> Any:
        """The same memory as numpy's array, on the host."""
        return array.numpy() if self.on_host else array

    def sums(self, array: Any, kept: int = 1) -> Any:
        """On the host by numpy, of the same memory."""
        if self.on_host:
            return self.for_numbers.sums(array.contiguous().numpy(), kept)
        return super().sums(array, kept)

    @cached_property
    def xp(self) -> ModuleType:  # type: ignore[override]
        """The ``torch`` module."""
        import torch

        return torch

    def free_memory(self) -> int | None:
        """The device's, what torch holds unused included."""
        if self.on_host:
            return super().free_memory()
        cuda = self.xp.cuda
        kept = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
        return int(cuda.mem_get_info(self.device)[0] + kept)

    def release(self) -> None:
        """The device's, too: torch keeps what was freed."""
        super().release()
        if not self.on_host:
            self.xp.cuda.empty_cache()

    def asarray(self, array: ArrayLike, dtype: DTypeLike = np.float32) -> Any:
        """A contiguous tensor on the device, of the torch type that `dtype` names.

        To a GPU it goes through page-locked memory: only from there the host need not wait until
        the GPU has done all that it was given before.
        """
        host = self.xp.from_numpy(np.array(array, dtype, order="C"))
        return host.pin_memory().to(self.device, non_blocking=True) if self._page_locks else host

    def numpy(self, array: Any) -> NDArray[Any]:
        """A copy on the host; this waits for the device."""
        return copy_on_host(array.detach(), array.dtype)

    @contextmanager
    def helpers(self, count: int) -> Iterator[Executor]:
        """Threads of Python, in each of which torch uses one."""
        before, started = self.xp.get_num_threads(), Barrier(count)

        def begin() -> None:
            self.xp.set_num_threads(1)
            self.xp.get_num_threads()  # a thread's first operation takes over what holds then

        with ThreadPoolExecutor(count, "arrays", initializer=begin) as pool:
            list(pool.map(lambda _: started.wait(), range(count)))  # all of them are there
            self.xp.set_num_threads(before)  # what threads that are started later begin with
            yield pool

    def percentile(self, rows: Any, q: float | NDArray[np.floating[Any]]) -> Any:
        """Each row's percentile; unlike ``torch.quantile`` of rows of any length."""
        if self.on_host:  # numpy's partition of the same memory is six times faster than a sort
            return self.xp.from_numpy(NumpyOps().percentile(rows.numpy(), q))
        last = rows.shape[1] - 1
        if np.ndim(q) == 0 and not self.xp.are_deterministic_algorithms_enabled():
            at = float(q) / 100 * last
            below = int(at)
            # Selecting takes a few passes over the rows, sorting many; and nothing is uploaded.
            low, high = (rows.kthvalue(k + 1, dim=1).values for k in (below, min(below + 1, last)))
            return low + (high - low) * (at - below)
        ats = np.broadcast_to(np.asarray(q, np.float64), len(rows)) / 100 * last
        lower = np.floor(ats)
        ranks = self.asarray(np.stack([lower, np.minimum(lower + 1, last)], axis=1), np.int64)
        low, high = rows.sort(dim=1).values.gather(1, ranks).unbind(1)
        return low + (high - low) * self.asarray(ats - lower)

    def warps(self, affines: Affines, height: int, width: int) -> Warps:
        """By torch's own bilinear sampling."""
        return torch_warps(self, affines, height, width)


_OPS: dict[str, Callable[[str], ArrayOps]] = {
    "torch": TorchOps,
    "pycaffe": lambda device: NumpyOps(),  # Caffe's blobs are read on the host in GPU mode too
}


def ops_for(engine: str, device: str = "cpu") -> ArrayOps:
    """The array operations of an engine.

    Parameters
    ----------
    engine
        ``"torch"`` or ``"pycaffe"``.
    device
        Where that engine computes.

    Raises
    ------
    UnknownNameError
        There is no such engine.
    """
    if engine not in _OPS:
        raise UnknownNameError("engine", engine, _OPS)
    return _OPS[engine](device)
