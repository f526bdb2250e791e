"""What the GPU benchmarks count and time, on a simulated GPU, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def device() -> Iterator[Any]:
    from helpers.simulated_cuda import simulated_cuda, skip_without_simulation

    skip_without_simulation()
    with simulated_cuda() as simulated:
        yield simulated


def test_convolutions_with_relu_are_timed_where_cudnn_has_them(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here PyTorch's own stand in, all values 1 higher."""
    from benchmarks.gpu import steps

    monkeypatch.setattr(steps, "REHEARSAL", True)
    found: list[dict] = []
    monkeypatch.setattr(steps, "write", lambda part, what, **more: found.append(more))

    def stand_in(x: Any, weight: Any, bias: Any, *options: Any) -> Any:
        return torch.conv2d(x, weight, bias, *options).clamp(min=0) + 1

    monkeypatch.setattr(torch, "cudnn_convolution_relu", stand_in, raising=False)
    steps.convolutions_with_relu()
    assert [one["precision"] for one in found] == ["float32", "tf32", "bfloat16"]
    assert all(one["two_kernels_ms"] > 0 and one["one_kernel_ms"] > 0 for one in found)
    # bfloat16 rounds what is large to the next even number
    assert [round(one["largest_difference"], 4) for one in found[:2]] == [1, 1]


def test_launches_and_bytes_are_counted(device: Any) -> None:
    x, row = (torch.ones(size, device="cuda") for size in ((2, 3, 4, 4), (1, 3, 1, 1)))
    launches, moved = device.launches.total(), device.traffic
    x.clamp_(min=0)  # read and written: 2 * 96 floats
    x + row.expand_as(x)  # 96 and 3 read, 96 written
    x[:, :2].amax(dim=(2, 3))  # 64 read, 4 written; the view takes nothing
    torch.empty_like(x)
    assert device.launches.total() - launches == 3
    assert device.traffic - moved == 4 * (2 * 96 + 96 + 3 + 96 + 64 + 4)
