"""A process-wide setting within overlapping blocks, against the switches of PyTorch themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from deepvis_caffe.engines.torch.device import full_precision

SWITCHES = torch.backends.cuda.matmul, torch.backends.cudnn


def now() -> tuple[bool, ...]:
    return tuple(switch.allow_tf32 for switch in SWITCHES)


def turn(allowed: tuple[bool, ...]) -> None:
    for switch, on in zip(SWITCHES, allowed, strict=True):
        switch.allow_tf32 = on


@pytest.fixture(params=[(True, False), (False, True)])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[bool, ...]]:
    found = now()
    turn(request.param)
    yield request.param
    turn(found)


def test_the_last_of_overlapping_blocks_restores_it(before: tuple[bool, ...]) -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(full_precision(torch.device("cuda")))
    second.enter_context(full_precision(torch.device("cuda")))
    first.close()
    assert now() == (False, False)
    second.close()
    assert now() == before
    with full_precision(torch.device("cpu")):
        assert now() == before
