"""Array operations for numpy and torch, so that one ascent loop serves both engines.

The ascent uses only what numpy arrays and torch tensors share (``*``, ``@``, ``abs``,
``.sum(axis=...)``, ``.argmax(axis=...)``) and functions that have the same name in both namespaces
(``ops.xp``): ``amax``, ``clip``, ``fft.rfft2``, ``isfinite``, ``sqrt``, ``where``, ``zeros_like``.
This module adds the few operations that differ. torch is imported on first use.
"""

from __future__ import annotations

import abc
import gc
from collections.abc import Callable, Iterator, Sequence
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

# Width up to which MKL's inverse Fourier transform rounds differently on one thread and on several.
# On an AMD EPYC these are widths of up to 16, of 32 and of 64.
NARROW = 64

Normals = Callable[[tuple[int, ...]], Any]


class ArrayOps(abc.ABC):
    """Operations on an engine's arrays that their namespaces do not share.

    Attributes
    ----------
    xp
        The namespace, ``numpy`` or ``torch``.
    on_host
        Whether arrays are in host memory, so that reading one needs no synchronization.
    """

    xp: ModuleType
    on_host: bool

    @abc.abstractmethod
    def asarray(self, array: ArrayLike, dtype: DTypeLike = np.float32) -> Any:
        """A copy of a host array as the engine's own array of type `dtype`, on its device."""

    @abc.abstractmethod
    def numpy(self, array: Any) -> NDArray[Any]:
        """A C-contiguous copy of the engine's own array on the host."""

    @property
    def for_numbers(self) -> ArrayOps:
        """Operations for what :meth:`numbers` returns: numpy's on the host, otherwise these.

        With one or a few numbers per image, call overhead dominates, and numpy's is a fifth of
        torch's. ``xp.asarray`` converts back.
        """
        return self

    def numbers(self, array: Any) -> Any:
        """A small array as one that :attr:`for_numbers` takes, sharing its memory."""
        return array

    def free_memory(self) -> int | None:
        """Bytes available on the arrays' device; None if the system does not say."""
        return free_memory()

    def sums(self, array: Any, kept: int = 1) -> Any:
        """The sum of each image, (N,), or over all axes but the first `kept`.

        On the host the result is the same to the last bit for any number of images, kept channels
        and threads: numpy computes one sum after another, each in the same order, while torch
        splits a sum among its threads.

        Parameters
        ----------
        array
            The engine's own array, (N, ...).
        kept
            Number of leading axes to keep, the batch axis included.

        Returns
        -------
        array
            One of :attr:`for_numbers`.
        """
        return array.reshape(*array.shape[:kept], -1).sum(axis=kept)

    def release(self) -> None:
        """Return unused cached memory to the system, after running out."""
        gc.collect()

    @contextmanager
    def helpers(self, count: int) -> Iterator[Executor]:
        """A thread pool for array work, in which each thread uses one core.

        An operation that is itself split over all cores is only as fast as the slowest of them, so
        it stalls when another thread, such as an image decoder, occupies one.
        """
        with ThreadPoolExecutor(count, thread_name_prefix="arrays") as pool:
            yield pool

    @property
    def threads(self) -> int:
        """The number of threads over which each operation of the calling thread is spread."""
        return 1

    @contextmanager
    def on_threads(self, count: int) -> Iterator[None]:
        """Spread the calling thread's operations over `count` threads, where any are spread."""
        yield

    def irfft2(self, spectra: Any, size: tuple[int, int]) -> Any:
        """The images, float32 (..., H, W), of spectra as ``fft.rfft2`` gives them.

        `size` is (H, W). On the host the result has the same bits for any number of threads.
        """
        return self.xp.asarray(self.xp.fft.irfft2(spectra, size), dtype=self.xp.float32)

    def normals(self, seeds: Sequence[Sequence[int]]) -> Normals:
        """Standard normal numbers for each image, from a generator of its own on the device.

        Images therefore get the same numbers in any batch. On the host these are numpy's; on a GPU
        they are torch's, which may differ between kinds of GPUs.

        Parameters
        ----------
        seeds
            One for each of N images; each is a sequence of integers that are not negative.

        Returns
        -------
        callable
            Maps the shape of an image to the engine's own array (N, *shape), float32, with new
            numbers in every call.
        """
        generators = [np.random.default_rng(seed) for seed in seeds]

        def draw(shape: tuple[int, ...]) -> Any:
            drawn = [one.standard_normal(shape, np.float32) for one in generators]
            return self.asarray(np.stack(drawn))

        return draw

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
        """Warp each image by an affine map of its own, at each step.

        Interpolation is bilinear; pixels outside the image are 0. The maps are copied to the device
        once for all steps.

        Parameters
        ----------
        affines
            A host array (steps, N, 2, 3): pixel p = (row, column) of the result shows the image at
            ``affine[:, :2] @ p + affine[:, 2]``.
        height, width
            Size of the images.

        Returns
        -------
        callable
            ``(x, step) -> warped, adjoint``. x and `warped` are the engine's own arrays, float32
            (N, C, H, W); `adjoint` is exact and maps the gradient with respect to `warped` to that
            with respect to x.
        """

    def warp(self, x: Any, affine: Affines) -> tuple[Any, Back]:
        """A single step of :meth:`warps`, of maps (N, 2, 3)."""
        return self.warps(affine[None], *x.shape[2:])(x, 0)


class NumpyOps(ArrayOps):
    """Operations on numpy arrays, for the pycaffe engine."""

    xp = np
    on_host = True

    def asarray(self, array: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """A C-contiguous copy of type `dtype`."""
        return np.array(array, dtype, order="C")

    def numpy(self, array: Any) -> NDArray[Any]:
        """A C-contiguous copy."""
        return np.array(array, order="C")

    def sums(self, array: Any, kept: int = 1) -> Any:
        """By numpy's sum over contiguous memory."""
        return super().sums(np.ascontiguousarray(array), kept)

    def percentile(self, rows: Any, q: float | NDArray[np.floating[Any]]) -> Any:
        """Each row's percentile, by ``numpy.percentile`` (a partition, not a sort)."""
        qs = np.broadcast_to(q, len(rows))
        found = [np.percentile(row, one) for row, one in zip(rows, qs, strict=True)]
        return np.array(found, rows.dtype)

    def warps(self, affines: Affines, height: int, width: int) -> Warps:
        """By one sparse matrix per image."""
        return numpy_warps(affines)


def copy_on_host(tensor: Any, dtype: Any) -> NDArray[Any]:
    """A C-contiguous host copy of a torch tensor, as a torch type; waits for its device.

    torch converts from channels last to C order several times as fast as numpy.
    """
    import torch

    # A GPU copies to pinned memory several times as fast; the result is then copied out of it.
    copy = torch.empty(tensor.shape, dtype=dtype, device="cpu", pin_memory=tensor.is_cuda)
    found: NDArray[Any] = copy.copy_(tensor).numpy()
    return found.copy() if tensor.is_cuda else found


def copy_on_device(tensor: Any, device: Any) -> Any:
    """A copy of a host tensor on a torch device; on the host, the tensor itself.

    Copies to a GPU go through pinned memory: only those are asynchronous, so that the host need not
    wait for the work already queued.
    """
    if not str(device).startswith("cuda"):
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


class TorchOps(ArrayOps):
    """Operations on torch tensors on one device, for the torch engine.

    Parameters
    ----------
    device
        As torch names it, for example ``"cpu"`` or ``"cuda:0"``.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.on_host = device == "cpu"

    @cached_property
    def for_numbers(self) -> ArrayOps:
        """Numpy's operations on the host, otherwise these."""
        return NumpyOps() if self.on_host else self

    def numbers(self, array: Any) -> Any:
        """On the host, a numpy view of the same memory."""
        return array.numpy() if self.on_host else array

    def sums(self, array: Any, kept: int = 1) -> Any:
        """On the host by numpy, on the same memory."""
        if self.on_host:
            return self.for_numbers.sums(array.contiguous().numpy(), kept)
        return super().sums(array, kept)

    @cached_property
    def xp(self) -> ModuleType:  # type: ignore[override]
        """The ``torch`` module."""
        import torch

        return torch

    def free_memory(self) -> int | None:
        """The device's free memory, including what torch's allocator caches."""
        if self.on_host:
            return super().free_memory()
        cuda = self.xp.cuda
        kept = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
        return int(cuda.mem_get_info(self.device)[0] + kept)

    def release(self) -> None:
        """Empty torch's cache on the device, too."""
        super().release()
        if not self.on_host:
            self.xp.cuda.empty_cache()

    def asarray(self, array: ArrayLike, dtype: DTypeLike = np.float32) -> Any:
        """A contiguous tensor on the device, of the torch type that `dtype` names."""
        return copy_on_device(self.xp.from_numpy(np.array(array, dtype, order="C")), self.device)

    def numpy(self, array: Any) -> NDArray[Any]:
        """A copy on the host; this waits for the device."""
        return copy_on_host(array.detach(), array.dtype)

    def irfft2(self, spectra: Any, size: tuple[int, int]) -> Any:
        """Narrow images by numpy on the host: MKL rounds them differently on one thread."""
        if not self.on_host or size[1] > NARROW:
            return super().irfft2(spectra, size)
        images = np.fft.irfft2(spectra.resolve_conj().numpy(), size)
        return self.xp.from_numpy(images.astype(np.float32, copy=False))

    def normals(self, seeds: Sequence[Sequence[int]]) -> Normals:
        """On a GPU by torch's generators, without a copy from the host."""
        if self.on_host:
            return super().normals(seeds)
        generators = []
        for seed in seeds:
            (number,) = np.random.SeedSequence(seed).generate_state(1, np.uint64)
            generator = self.xp.Generator(self.device)
            generators.append(generator.manual_seed(int(number >> 1)))  # at most 2^63 - 1

        def draw(shape: tuple[int, ...]) -> Any:
            drawn = self.xp.empty(
                (len(generators), *shape), dtype=self.xp.float32, device=self.device
            )
            for image, generator in zip(drawn, generators, strict=True):
                image.normal_(generator=generator)
            return drawn

        return draw

    @contextmanager
    def helpers(self, count: int) -> Iterator[Executor]:
        """Python threads, in each of which torch computes on a single thread."""
        before, started = self.xp.get_num_threads(), Barrier(count)

        def begin() -> None:
            self.xp.set_num_threads(1)
            self.xp.get_num_threads()  # a thread takes over the global number at its first use

        with ThreadPoolExecutor(count, "arrays", initializer=begin) as pool:
            list(pool.map(lambda _: started.wait(), range(count)))  # until all have started
            self.xp.set_num_threads(before)  # the default for threads that start later
            yield pool

    @property
    def threads(self) -> int:
        """PyTorch's, for the calling thread."""
        return int(self.xp.get_num_threads())

    @contextmanager
    def on_threads(self, count: int) -> Iterator[None]:
        """Set PyTorch's number of threads for the calling thread, and restore it at the end.

        Meanwhile it is also the number for threads that use PyTorch for the first time.
        """
        before = self.threads  # a thread takes over the global number at its first use
        if count == before:
            yield
            return
        self.xp.set_num_threads(count)
        try:
            yield
        finally:
            self.xp.set_num_threads(before)

    def percentile(self, rows: Any, q: float | NDArray[np.floating[Any]]) -> Any:
        """Each row's percentile; unlike ``torch.quantile``, for rows of any length."""
        if self.on_host:  # numpy's partition is six times faster than torch's sort
            return self.xp.from_numpy(NumpyOps().percentile(rows.numpy(), q))
        last = rows.shape[1] - 1
        if np.ndim(q) == 0 and not self.xp.are_deterministic_algorithms_enabled():
            at = float(q) / 100 * last
            below = int(at)
            # Selection takes a few passes over the rows, a sort many; and nothing is uploaded.
            low, high = (rows.kthvalue(k + 1, dim=1).values for k in (below, min(below + 1, last)))
            return low + (high - low) * (at - below)
        ats = np.broadcast_to(np.asarray(q, np.float64), len(rows)) / 100 * last
        lower = np.floor(ats)
        ranks = self.asarray(np.stack([lower, np.minimum(lower + 1, last)], axis=1), np.int64)
        low, high = rows.sort(dim=1).values.gather(1, ranks).unbind(1)
        return low + (high - low) * self.asarray(ats - lower)

    def warps(self, affines: Affines, height: int, width: int) -> Warps:
        """By torch's bilinear sampling."""
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
