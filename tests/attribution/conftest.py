"""Small nets, and arithmetic that rounds like `net.module`."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.attributed import TEXT
from helpers.engine_nets import load_text

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.torch.layer import Layer
from deepvis_caffe.engines.torch.layers import convolution, dense
from deepvis_caffe.engines.torch.layers.normalization import LRN


@pytest.fixture
def small(tmp_path: Path) -> Net:
    """Convolutions, rectifiers, a maximum pooling and an inner product, on the torch engine."""
    return load_text("torch", tmp_path, TEXT)


@pytest.fixture
def plain_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the engine's passes round like `net.module`.

    If a ReLU's input is 0 up to rounding, its gradient may be 0 or not, so gradients differ by more
    than rounding. Methods that take many gradients are therefore compared in the same arithmetic.
    """
    for module in (convolution, dense):
        monkeypatch.setattr(module, "has_packed", lambda x: False)
    monkeypatch.setattr(LRN, "infer", Layer.infer)
    monkeypatch.setattr(LRN, "fwd", Layer.fwd)
    monkeypatch.setattr(LRN, "bwd", Layer.bwd)
