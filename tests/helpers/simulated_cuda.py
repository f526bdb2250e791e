"""A simulated CUDA device, for machines without a GPU: `with simulated_cuda() as cuda: ...`.

PyTorch behaves as if it had one GPU. The tensors of that device compute on the CPU, but their
memory is as separate as a GPU's:

- an operation on tensors of both devices fails, with PyTorch's own exceptions to that rule
- the host cannot read a tensor of the device without a copy
- operators that only exist for the CPU (oneDNN's, quantized ones) fail
- whatever makes the host wait for the device causes PyTorch's warning if that is on, and an error
  during a capture
- a captured graph computes nothing until it is replayed, on the memory and with the host's numbers
  of the capture

It does not simulate a GPU's speed, its rounding, its memory limits, streams, copies that are still
under way, or memory that is freed before a graph reads it. It is active in the thread that enters
it, and in those that start after.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
MEMORY = 16 * 2**30  # bytes
OLDEST = 2, 13  # of PyTorch; with 2.1 it fails, and those between have not been tried

# Operators whose result the host needs before it can go on: a number, or a shape.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::allclose",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "aten::bincount",
}
WITHOUT_KERNEL = {
    "aten::_local_scalar_dense",
    "aten::_unsafe_view",
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
COPIES = {"aten::_to_copy", "aten::copy_"}
CPU_ONLY = ("mkldnn", "quantized", "onednn", "fbgemm")


class DeviceTensor(torch.Tensor):
    """A tensor of the simulated device.

    PyTorch's own code takes it for one without memory ("meta"), so that nothing reads it except by
    way of the dispatcher.

    Attributes
    ----------
    host
        The CPU tensor that holds its values.
    """

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> DeviceTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device("meta"),
        )
        made.host = host
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The simulated GPU."""
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """True."""
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        """False."""
        return False

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.host!r} on {DEVICE}"

    def numpy(self, *, force: bool = False) -> Any:
        """Fails, as for a CUDA tensor."""
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """The values, by a copy to the host."""
        return self.cpu().tolist()

    def new_tensor(self, data: Any, dtype: Any = None, **options: Any) -> Tensor:  # type: ignore[override]
        """A copy of the host's data on the device."""
        return torch.tensor(data, dtype=dtype or self.dtype, device=DEVICE, **options)

    def data_ptr(self) -> int:
        """The address of the memory that holds the values."""
        return self.host.data_ptr()

    def untyped_storage(self) -> Any:
        """The memory that holds the values, to compare it."""
        return self.host.untyped_storage()

    def __getitem__(self, key: Any) -> Tensor:
        return super().__getitem__(_with_tensors(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_with_tensors(key), value)

    # Makes `torch.nn.Module.to` swap tensors, rather than only what PyTorch knows of them.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], *rest: Any) -> DeviceTensor:
        return DeviceTensor(parts["host"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = memo.get(id(self))
        if copied is None:
            copied = _restored(self.host.clone(), isinstance(self, torch.nn.Parameter))
            memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored, (self.host, isinstance(self, torch.nn.Parameter))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # Without the mode: in another thread, or after its end.
        return SimulatedCuda().run(func, args, kwargs or {})


class _GeneratorType(type):
    real = torch.Generator
    of_device: ClassVar[dict[int, torch.Generator]] = {}

    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, cls.real)


class _Generator(metaclass=_GeneratorType):
    """Stands in for `torch.Generator`, which asks CUDA for one of its own."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        if not _is_ours(device):
            return _GeneratorType.real(device)
        made = _GeneratorType.real("cpu")
        _GeneratorType.of_device[made._cdata] = made
        return made


def _restored(host: Tensor, is_parameter: bool) -> Tensor:
    made = DeviceTensor(host)
    return torch.nn.Parameter(made, requires_grad=False) if is_parameter else made


class SimulatedCuda(TorchDispatchMode):
    """What the device does.

    Attributes
    ----------
    launches
        How often each operator that computes ran on the device; replays of a graph are not counted.
    traffic
        Bytes that these operators read and wrote: each tensor once per operator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.traffic = 0
        self.warns = False
        self.graphs: dict[int, Graph] = {}  # that are being captured, by thread

    @property
    def graph(self) -> Graph | None:
        """The graph that this thread captures."""
        return self.graphs.get(threading.get_ident())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        ours = _is_ours(kwargs.get("device")) or bool(_on_device(_tensors((args, kwargs))))
        generator = kwargs.get("generator")
        if generator is not None and (generator._cdata in _GeneratorType.of_device) != ours:
            raise RuntimeError("the generator and the tensor are of different devices")
        return self.run(func, args, kwargs) if ours else func(*args, **kwargs)

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator that reads, writes or makes tensors of the device."""
        if func is torch.ops.aten._conj.default:
            # PyTorch would resolve a lazy conjugate before it gets here.
            func = torch.ops.aten.conj_physical.default
        name = func.name().partition(".")[0]
        tensors = _tensors((args, kwargs))
        if any(word in name for word in CPU_ONLY):
            raise NotImplementedError(f"Could not run {name!r} with arguments from 'CUDA'")
        to_host = False
        if name in COPIES:
            to_host = self._copies(name, args, kwargs)
        elif name in WAITING or _by_mask(name, args):
            self.waited(name)
        else:
            self._check_devices(name, tensors, args)
        host_args, host_kwargs = tree_map(_host, args), tree_map(_host, kwargs)
        if _is_ours(host_kwargs.get("device")):
            host_kwargs["device"] = "cpu"
        if host_kwargs.pop("pin_memory", False):
            raise RuntimeError("only CPU memory can be pinned")
        compute = func if self.graph is None else partial(self.graph.run, func)
        found = compute(*host_args, **host_kwargs)
        if to_host:
            return args[0] if name == "aten::copy_" else found
        if not func.is_view and name not in WITHOUT_KERNEL:
            self.launches[name] += 1
            self.traffic += sum(map(_bytes, [*_on_device(tensors), *_tensors(found)]))
        known = {id(one.host): one for one in _on_device(tensors)}

        def wrapped(one: Any) -> Any:
            if not isinstance(one, Tensor):
                return one
            return known[id(one)] if id(one) in known else DeviceTensor(one)

        return tree_map(wrapped, found)

    def waited(self, why: str) -> None:
        """The host waits for the device: a warning if asked for, an error during a capture."""
        self.check_not_capturing(why)
        if self.warns:
            warnings.warn(f"called a synchronizing CUDA operation: {why}", stacklevel=4)

    def check_not_capturing(self, what: str) -> None:
        """Raise if this thread captures a graph."""
        if self.graph is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")

    def _copies(self, name: str, args: Any, kwargs: dict[str, Any]) -> bool:
        """Record a copy between devices; returns whether it is one to the host."""
        if name == "aten::copy_":
            to, source = args[:2]
            quick = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
            to_host = not isinstance(to, DeviceTensor)
        else:
            to = source = args[0]
            quick = kwargs.get("non_blocking", False)
            target = kwargs.get("device")
            to_host = target is not None and not _is_ours(target)
        from_host = not isinstance(source, DeviceTensor)
        if not (to_host or from_host):
            return False
        if from_host and source.ndim == 0 and name == "aten::copy_":
            return False  # a fill with a number of the host
        on_host = to if to_host else source
        if not (quick and (_is_pinned(on_host) or to_host)):
            self.waited(f"{name} {'to' if to_host else 'from'} the host, {tuple(source.shape)}")
        elif self.graph is not None:
            raise RuntimeError("a captured copy reads memory of the host that may be reused")
        return to_host

    def _check_devices(self, name: str, tensors: list[Tensor], args: Any) -> None:
        """Check that all tensors are on the device, but for what PyTorch copies there."""
        strangers = [one for one in tensors if not isinstance(one, DeviceTensor)]
        if strangers and name in INDEXING and isinstance(args[0], DeviceTensor):
            self.waited(f"{name} by indices of the host")
            indices = set(map(id, _tensors(args[1])))
            strangers = [one for one in strangers if id(one) not in indices]
        shaped = [one for one in strangers if one.ndim]
        # A tensor without axes counts as a number, which may be on the host.
        if shaped or (strangers and len(strangers) == len(tensors)):
            shapes = ", ".join(str(tuple(one.shape)) for one in strangers)
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE} and cpu: {name} of {shapes}"
            )


class _InAnotherThread(TorchDispatchMode):
    def __init__(self, device: SimulatedCuda) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._device.__torch_dispatch__(func, types, args, kwargs)


class Graph:
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._steps: list[tuple[Any, Any, dict[str, Any], list[Tensor]]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # memory from before the capture
        self._made: dict[int, Tensor] = {}

    def run(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Record an operator. It runs, because its result's shape is needed."""
        for tensor in _written(func, args, kwargs):
            where = _memory(tensor)
            if where not in self._made and where not in self._before:
                self._before[where] = tensor, tensor.clone()
        found = func(*args, **kwargs)
        read = set(map(_memory, _tensors((args, kwargs))))
        fresh = [one for one in _tensors(found) if _memory(one) not in read]
        self._made |= {_memory(one): one for one in fresh}
        self._steps.append((func, args, kwargs, fresh))
        return found

    def end_capture(self) -> None:
        """Undo what the recorded operators computed: a capture only records them."""
        for tensor, before in self._before.values():
            tensor.copy_(before)
        for tensor in self._made.values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else 0)

    def replay(self) -> None:
        """Run the recorded operators again, on the same memory."""
        with torch.utils._python_dispatch._disable_current_modes(), torch.no_grad():
            for func, args, kwargs, fresh in self._steps:
                read = set(map(_memory, _tensors((args, kwargs))))
                found = [one for one in _tensors(func(*args, **kwargs)) if _memory(one) not in read]
                for old, new in zip(fresh, found, strict=True):
                    old.copy_(new)


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operator writes into."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(args[place] if place < len(args) else kwargs.get(argument.name))


def _tensors(some: Any) -> list[Tensor]:
    return [one for one in tree_flatten(some)[0] if isinstance(one, Tensor)]


def _memory(tensor: Tensor) -> int:
    """Identifies a tensor's memory; views share theirs."""
    return tensor.untyped_storage().data_ptr()


def _bytes(tensor: Tensor) -> int:
    """What a tensor takes in memory; broadcast axes take nothing."""
    host = _host(tensor)
    sizes = (size for size, step in zip(host.shape, host.stride(), strict=True) if step)
    return math.prod(sizes) * host.element_size()


def _with_tensors(key: Any) -> Any:
    """An index whose lists and arrays are tensors on the host; PyTorch's own would be empty."""
    if isinstance(key, tuple):
        return tuple(map(_with_tensors, key))
    return torch.as_tensor(key) if isinstance(key, (list, np.ndarray)) else key


def _on_device(tensors: list[Tensor]) -> list[DeviceTensor]:
    return [one for one in tensors if isinstance(one, DeviceTensor)]


def _host(one: Any) -> Any:
    return one.host if isinstance(one, DeviceTensor) else one


def _is_ours(device: Any) -> bool:
    # PyTorch's own code asks for "meta" where it makes a tensor beside one of ours.
    return device is not None and torch.device(device).type in (DEVICE.type, "meta")


def _by_mask(name: str, args: Any) -> bool:
    """Whether an operator selects by a mask, so that the result's shape depends on its values."""
    return name.startswith("aten::index") and any(
        isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8)
        for one in (args[1] if isinstance(args[1], (list, tuple)) else ())
    )


def _is_pinned(tensor: Tensor) -> bool:
    return getattr(tensor, "pinned_in_simulation", False)


@contextmanager
def simulated_cuda() -> Iterator[SimulatedCuda]:
    """Simulate a CUDA device in this thread."""
    mode = SimulatedCuda()

    @contextmanager
    def capturing(graph: Graph, **options: Any) -> Iterator[None]:
        mode.graphs[threading.get_ident()] = graph
        try:
            yield
        finally:
            del mode.graphs[threading.get_ident()]
            with torch.utils._python_dispatch._disable_current_modes(), torch.no_grad():
                graph.end_capture()

    def set_sync_debug_mode(level: str | int) -> None:
        mode.warns = level not in ("default", 0)

    def constant(answer: Any) -> Callable[..., Any]:
        return lambda *arguments, **options: answer

    properties = SimpleNamespace(name="simulated", total_memory=MEMORY, multi_processor_count=1)
    cuda = {
        "_lazy_init": constant(None),
        "is_available": constant(True),
        "device_count": constant(1),
        "current_device": constant(0),
        "get_device_name": constant("simulated"),
        "get_device_capability": constant((9, 0)),
        "get_device_properties": constant(properties),
        "mem_get_info": constant((MEMORY, MEMORY)),
        "memory_reserved": constant(0),
        "memory_allocated": constant(0),
        "max_memory_allocated": constant(0),
        "reset_peak_memory_stats": constant(None),
        "empty_cache": constant(None),
        "synchronize": lambda *device: mode.check_not_capturing("synchronize"),
        "current_stream": constant(None),
        "set_stream": constant(None),
        "set_sync_debug_mode": set_sync_debug_mode,
        "CUDAGraph": Graph,
        "graph": capturing,
    }
    with ExitStack() as stack:
        for name, stand_in in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        for name in ("tensor", "as_tensor"):
            made = _made_on_the_host(getattr(torch, name))
            stack.enter_context(mock.patch.object(torch, name, made))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", _pinned))
        stack.enter_context(mock.patch.object(Tensor, "to", _to(Tensor.to)))
        stack.enter_context(mock.patch.object(torch, "empty", _empty(torch.empty)))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.callback(_GeneratorType.of_device.clear)
        run = threading.Thread.run

        def run_within(thread: threading.Thread) -> None:
            with _InAnotherThread(mode):
                run(thread)

        stack.enter_context(mock.patch.object(threading.Thread, "run", run_within))
        stack.enter_context(mode)
        yield mode


def cuda_device() -> AbstractContextManager[Any]:
    """A context with a CUDA device: the real one, or a simulated one where there is none.

    With an older PyTorch than `OLDEST` and no real one, the test is skipped.
    """
    if torch.cuda.is_available():
        return nullcontext()
    skip_without_simulation()
    return simulated_cuda()


def skip_without_simulation() -> None:
    """Skip the test if this PyTorch is older than `OLDEST`."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST:
        pytest.skip(f"PyTorch {torch.__version__} cannot simulate a CUDA device")


def _made_on_the_host(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor` and the like, which copy from the host without the dispatcher."""

    def made(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        if isinstance(data, DeviceTensor) or not _is_ours(device):
            return make(data, **options) if device is None else make(data, device=device, **options)
        return make(data, **options).to(device)

    return made


def _to(move: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`Tensor.to`, which asks CUDA's driver for the number of a device that is given without."""

    def to(tensor: Tensor, *where: Any, **options: Any) -> Tensor:
        named = [
            DEVICE if isinstance(one, (str, torch.device)) and _is_ours(one) else one
            for one in where
        ]
        if _is_ours(options.get("device")):
            options["device"] = DEVICE
        return move(tensor, *named, **options)

    return to


def _pinned(tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.pinned_in_simulation = True  # type: ignore[attr-defined]
    return copy


def _empty(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.empty`; memory of the host may be pinned."""

    def empty(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        made = make(*size, **options)
        if pin_memory:
            made.pinned_in_simulation = True  # type: ignore[attr-defined]
        return made

    return empty
