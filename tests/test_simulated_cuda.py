"""The simulated CUDA device behaves like a real one, which is tested where there is one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("cuda")]


def ones(*size: int) -> torch.Tensor:
    return torch.ones(*size, device="cuda")


def read(tensor: torch.Tensor) -> Any:
    return tensor.cpu().tolist()


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: ones(3) + torch.ones(3),
        lambda: torch.cat([ones(2), torch.ones(2)]),
        lambda: ones(1, 3) @ torch.ones(3, 1),
        lambda: torch.ones(3) + ones(1)[0],
        lambda: ones(3).index_select(0, torch.tensor([1])),
        lambda: torch.nn.functional.conv2d(ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)),
    ],
)
def test_tensors_of_two_devices_cannot_be_combined(mixed: Any) -> None:
    with pytest.raises(RuntimeError, match=r"on the same device|should be the same"):
        mixed()


def test_but_numbers_indices_and_copies_can() -> None:
    x = ones(3) * torch.tensor(2.0)
    assert read(x[torch.tensor([0, 1])]) == read(x[[1, 2]]) == [2, 2]
    x[torch.tensor([0])] = 5
    x[1:].copy_(torch.tensor([6.0, 7.0]))
    assert read(x) == [5, 6, 7]


def test_the_host_cannot_read_a_tensor_without_a_copy() -> None:
    for reading in (lambda x: x.numpy(), np.asarray):
        with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\)"):
            reading(ones(2))


def test_made_beside_a_tensor_means_on_its_device() -> None:
    x = ones(2)
    numbers = x.new_tensor([1, 2])
    made = x, numbers, x.new_zeros(3), torch.zeros_like(x), torch.tensor([1], device="cuda")
    assert {str(one.device) for one in made} == {"cuda:0"}
    assert x.is_cuda
    assert read(numbers) == [1, 2]


def test_onednns_operators_do_not_run_there() -> None:
    reorder = partial(torch.ops.mkldnn._reorder_convolution_weight, padding=[1, 1], stride=[1, 1])
    reorder(torch.ones(2, 2, 3, 3), dilation=[1, 1], groups=1)
    with pytest.raises(NotImplementedError, match="CUDA"):
        reorder(ones(2, 2, 3, 3), dilation=[1, 1], groups=1)


@pytest.mark.parametrize(("tensors", "generators"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_tensor_is_filled_by_a_generator_of_its_own_device(tensors: str, generators: str) -> None:
    drawn = torch.zeros(3, device=tensors)
    with pytest.raises(RuntimeError, match="generator"):
        drawn.normal_(generator=torch.Generator(generators))
    drawn.normal_(generator=torch.Generator(tensors))
    assert all(read(drawn))


def test_gradients_and_conjugates_are_the_hosts() -> None:
    on_host = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        x = on_host.to(device).requires_grad_()
        waves = torch.fft.rfft2(x)
        value = (waves.conj() * waves.roll(1, 0)).imag.pow(3).sum()
        (dx,) = torch.autograd.grad(value, x)
        found.append(dx.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-3)


def test_a_capture_computes_nothing_until_it_is_replayed() -> None:
    x, total = ones(3), torch.zeros(3, device="cuda")
    doubled = 2 * x  # libraries start before a capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = 2 * x
        total += doubled
    assert read(total) == [0, 0, 0]
    for factor in (1, 10):
        x.fill_(factor)
        graph.replay()
        assert read(doubled) == [2 * factor] * 3
    assert read(total) == [22, 22, 22]


@pytest.mark.parametrize(
    "waiting", [lambda x: float(x[0]), lambda x: x[x > 0], lambda x: x + torch.ones(3).to("cuda")]
)
def test_a_capture_cannot_wait(waiting: Any) -> None:
    x = ones(3)
    with pytest.raises(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        waiting(x)
