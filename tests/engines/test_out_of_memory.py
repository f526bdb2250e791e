"""Running out of memory: one clear error, and batches that are halved until they fit."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import small_model
from helpers.cluster_work import small_net

import deepvis_caffe as dv
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.out_of_memory import in_batches, in_memory, ran_out
from deepvis_caffe.errors import EngineError, OutOfMemoryError

UNITS, SEEDS = [2, 0], range(4)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    small_model.write_model(tmp_path)
    return small_net(tmp_path)


@pytest.fixture
def limit(net: Net, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Let the net raise MemoryError for more images than that; the numbers that it was given."""

    def set_limit(most: int) -> list[int]:
        asked: list[int] = []

        def limited(run: Callable[..., Any]) -> Callable[..., Any]:
            def checked(x: Any, *arguments: Any) -> Any:
                images = x if not isinstance(x, dict) else x["data"]
                asked.append(len(images))
                if len(images) > most:
                    raise MemoryError
                return run(x, *arguments)

            return checked

        for name in ("_evaluate", "_reduce"):
            monkeypatch.setattr(net, name, limited(getattr(net, name)))
        return asked

    return set_limit


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (OSError(2, "No such file"), False),
        (KeyboardInterrupt("out of memory"), False),
    ],
)
def test_what_libraries_say(error: BaseException, expected: bool) -> None:
    assert ran_out(error) is expected


def test_numpys_own_error_is_reported_with_its_size() -> None:
    said = r"for the picture \(tried to allocate [\d.,]+ \w+ more\)"
    with pytest.raises(OutOfMemoryError, match=said), in_memory("the picture"):
        np.zeros((2**30, 2**24), np.float32)


def test_ascents_are_halved_and_are_the_same(
    net: Net, limit: Callable[[int], list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    ask: dict[str, Any] = {"units": UNITS, "seeds": SEEDS, "iterations": 5, "batch_size": 8}
    expected = dv.optimize(net, "fc", **ask)
    asked, done = limit(3), []
    with caplog.at_level(logging.WARNING):
        runs = dv.optimize(net, "fc", **ask, progress=lambda one, of: done.append((one, of)))
        dv.optimize(net, "fc", **ask)
    assert asked[:2] == [8, 4]
    assert max(asked[2:]) == 2
    said = [one.message for one in caplog.records if "does not fit" in one.message]
    assert len(said) == 2  # 8 and 4, and not once more in the second call
    assert "continuing with 4" in said[0]
    assert "layer 'fc'" in said[0]
    assert done[-1] == (40, 40)
    assert done == sorted(done)
    assert [(one.unit, one.seed) for one in runs] == [(one.unit, one.seed) for one in expected]
    for one, other in zip(runs, expected, strict=True):
        np.testing.assert_allclose(one.image, other.image, rtol=1e-5, atol=1e-4)


def test_not_even_one_image(net: Net, limit: Callable[[int], list[int]]) -> None:
    limit(0)
    with pytest.raises(OutOfMemoryError, match="layer 'fc': not even one image fits in memory"):
        dv.optimize(net, "fc", UNITS, seeds=SEEDS, iterations=2, batch_size=8)


def test_images_that_are_compared_stay_together(
    net: Net, limit: Callable[[int], list[int]]
) -> None:
    limit(3)
    with pytest.raises(OutOfMemoryError, match=r"4 images must be in one batch.*; 2 of them"):
        dv.optimize(net, "fc", 2, seeds=SEEDS, iterations=2, batch_size=8, diversity=1)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("occlusion", {"window": 4}),
        ("integrated_gradients", {"steps": 9}),
        ("smooth_grad", {"samples": 9}),
    ],
)
def test_attributions_are_halved_and_are_the_same(
    net: Net, limit: Callable[[int], list[int]], method: str, options: dict[str, Any]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    ask = {"method": method, "batch_size": 8, **options}
    expected = dv.attribute(net, image, "fc", 2, **ask)
    asked = limit(3)
    found = dv.attribute(net, image, "fc", 2, **ask)
    assert max(asked) == 8
    np.testing.assert_allclose(found.map, expected.map, rtol=1e-5, atol=1e-6)


def test_scans_are_halved_and_are_the_same(
    net: Net, limit: Callable[[int], list[int]], tmp_path: Path
) -> None:
    import h5py

    images = np.random.default_rng(0).normal(0, 50, (11, 3, 12, 16)).astype(np.float32)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["data"] = images
    source = open_source(tmp_path / "images.h5")
    params = ScanParams(("conv/1", "fc"), count=3)
    expected = scan_images(net, source, params, batch_size=8)
    asked = limit(3)
    found = scan_images(net, source, params, batch_size=8)
    assert asked[:2] == [8, 4]
    assert set(asked[2:]) == {2}
    assert (found.names, found.images, found.skipped) == (expected.names, 11, ())
    for name, layer in found.layers.items():
        np.testing.assert_array_equal(layer.top.image, expected.layers[name].top.image)
        np.testing.assert_allclose(found.means[name], expected.means[name], rtol=1e-6)


def test_a_scans_batch_is_not_larger_than_its_images(
    net: Net, limit: Callable[[int], list[int]], tmp_path: Path
) -> None:
    import h5py

    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["data"] = np.zeros((5, 3, 12, 16), np.float32)
    asked = limit(5)
    scan_images(net, open_source(tmp_path / "images.h5"), ScanParams(("fc",)), batch_size=10_000)
    assert asked == [5]


def test_other_errors_are_left_alone(net: Net) -> None:
    def run(some: Any, most: int) -> None:
        raise EngineError("it is broken")

    with pytest.raises(EngineError, match="it is broken"):
        list(in_batches(net, "work", range(8), run))


def child(code: str, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, whose threads take no address space."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )


LARGE = """
name: "Large"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 64 dim: 64 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 64 kernel_size: 5 pad: 2 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
"""

UNDER_A_LIMIT = """
    import resource, sys
    from pathlib import Path
    import logging
    import numpy as np
    import deepvis_caffe as dv

    folder, engine = Path(sys.argv[1]), sys.argv[2]
    logging.basicConfig(level=logging.WARNING)
    draw = np.random.default_rng(0).normal
    weights = {"conv": [draw(0, 0.1, (64, 3, 5, 5)), draw(0, 0.1, 64)]}
    net = dv.load_net(folder / "large.prototxt", weights, engine=engine, device="cpu", mean=0)
    dv.optimize(net, "pool", 1, seeds=[0], iterations=1)  # what is loaded late is loaded
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
    if "blind" in sys.argv:  # as where the system does not tell
        type(net.ops).free_memory = lambda self: None
    runs = dv.optimize(net, "pool", 1, seeds=range(400), iterations=1, batch_size=400)
    print(len(runs), all(run.stop == "finished" for run in runs))
    try:
        net.forward(np.zeros((400, 3, 64, 64), np.float32), ["pool"])
    except dv.errors.OutOfMemoryError as error:
        print(error)
"""


@pytest.mark.process
@pytest.mark.parametrize("how", ["told", "blind"])
def test_under_a_real_limit_with_torch(tmp_path: Path, how: str) -> None:
    (tmp_path / "large.prototxt").write_text(LARGE)
    ended = child(UNDER_A_LIMIT, tmp_path, "torch", how)
    assert ended.returncode == 0, ended.stderr
    counted, said = ended.stdout.splitlines()
    assert counted == "400 True"
    assert "does not fit in memory; continuing with" in ended.stderr
    assert "not enough memory for layer 'conv' (Convolution) on data (400, 3, 64, 64)" in said
    assert "(tried to allocate 400 MiB more); use at most 200 images at a time" in said


@pytest.mark.process
@pytest.mark.pycaffe
def test_under_a_real_limit_with_caffe(tmp_path: Path, caffe: Any) -> None:
    (tmp_path / "large.prototxt").write_text(LARGE)
    ended = child(UNDER_A_LIMIT, tmp_path, "pycaffe")
    assert ended.returncode == 0, ended.stderr  # Caffe itself would abort
    counted, said = ended.stdout.splitlines()
    assert counted == "400 True"
    assert (
        "not enough memory for layer 'conv' (Convolution) with a top of (400, 64, 64, 64)" in said
    )
