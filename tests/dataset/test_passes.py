"""How many batches run in parallel, and that each lane's images come in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, load_text, net_text

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.reduction import Reduction, reduce_value
from deepvis_caffe.dataset.scan import LIVE_VALUES, parallel_batches, read_batches
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import write_image

LARGEST = 16 * 8 * 8 * 4  # bytes of the one layer's value for an image


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, net_text(conv("one", "data", 16, 1), data=(1, 3, 8, 8)))


@pytest.mark.parametrize(
    ("free", "parallel"), [(None, 6), (0, 1), (3.5 * LIVE_VALUES * 4 * LARGEST, 3), (1e12, 6)]
)
def test_as_many_batches_run_in_parallel_as_memory_holds(
    net: Net, monkeypatch: pytest.MonkeyPatch, free: float | None, parallel: int
) -> None:
    monkeypatch.setattr(type(net.ops), "free_memory", lambda self: free)
    assert parallel_batches(net, 4, 6) == (
        parallel if net.engine == "torch" else 1
    )  # Caffe's net is one


def test_batches_come_in_order_whichever_is_done_first(net: Net, tmp_path: Path) -> None:
    for number in range(11):
        level = np.full((8, 8, 3), 20 * number, np.uint8)
        write_image(tmp_path / "images" / f"{number:02d}.png", level)
    (tmp_path / "images" / "04.png").write_bytes(b"no image")

    def read(x: np.ndarray, helpers: object, most: int) -> dict[str, Reduction]:
        value = x if net.engine == "pycaffe" else net.ops.asarray(x)
        return {"data": reduce_value(net.ops, value, len(x))}

    passed = list(read_batches(net, open_source(tmp_path / "images"), range(11), 3, 3, read))
    levels = np.concatenate([one.parts["data"].high[:, 0] for one in passed])
    good = [number for number in range(11) if number != 4]
    assert [index for one in passed for index in one.indices] == good
    np.testing.assert_allclose(levels - levels[0], [20 * number for number in good], atol=1e-3)
    assert [index for one in passed for index, _ in one.skipped] == [4]
