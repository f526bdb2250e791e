"""Reproducible runs: the same bytes, however work is batched, shared, interrupted or threaded."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fake_nets import FakeNet, bumps
from helpers.jobs import make_layer
from helpers.results_folder import files
from threadpoolctl import threadpool_limits

import deepvis_caffe as dv
from deepvis_caffe.cluster import LocalProcesses
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.computed import computed_by, one_thread
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.experiments.variants import Variants
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.optimizer import ascent_params
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.results.store import ResultStore

# Products whose order of adding up depends on the number of rows and of threads in most libraries.
PROTOTXT = """
name: "Sums"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 48 dim: 48 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 24 kernel_size: 5 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc1" type: "InnerProduct" bottom: "conv" top: "fc1"
        inner_product_param { num_output: 200 } }
layer { name: "relu1" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
        inner_product_param { num_output: 6 } }
"""
PARAMS = ascent_params(preset=1, iterations=4)
UNITS, SEEDS = [4, 1], [0, 1, 2]


def make_net(engine: str, prototxt: Path) -> Net:
    """The net, also in workers: it writes no file that another of them may be reading."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.05, shape).astype(np.float32)

    weights = {
        "conv": [draw(24, 3, 5, 5), draw(24)],
        "fc1": [draw(200, 24 * 22 * 22), draw(200)],
        "fc2": [draw(6, 200), draw(6)],
    }
    return dv.load_net(prototxt, weights, engine=engine, mean=(104, 117, 123))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@pytest.fixture
def prototxt(tmp_path: Path) -> Path:
    path = tmp_path / "sums.prototxt"
    path.write_text(PROTOTXT)
    return path


@pytest.fixture
def make(engine: str, prototxt: Path, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Make the units' pictures in a folder of that name, and read every file."""
    make_it = partial(make_net, engine, prototxt)
    net = make_it()

    def run(name: str, **more: object) -> dict[str, bytes]:
        store = ResultStore(tmp_path / name)
        more = {"reproducible": True, "make_net": make_it, **more}
        make_layer(net, store, "fc2", UNITS, SEEDS, PARAMS, **more)
        return files(store.folder)

    return run


def test_batches_threads_and_what_is_there_already_change_no_byte(
    make: Callable[..., dict[str, bytes]], tmp_path: Path
) -> None:
    with threads(1):
        expected = make("alone", batch_size=1)
        for size in (2, 9):
            assert make(f"of {size}", batch_size=size) == expected
    with threads(2):
        assert make("by two threads", batch_size=9) == expected
        store = ResultStore(tmp_path / "by two threads")
        store.record("fc2", 1, 2).unlink()
        store.montage("fc2", 1).unlink()
        assert make("by two threads", batch_size=9) == expected
    record = json.loads(store.record("fc2", 1, 2).read_text())
    computed = record["computed"]
    assert (computed["threads"], computed["batch"], computed["reproducible"]) == (1, 1, True)


@pytest.mark.process
def test_workers_change_no_byte(make: Callable[..., dict[str, bytes]]) -> None:
    assert make("by two", where=LocalProcesses(2), batch_size=9) == make("here", batch_size=2)


def test_what_is_not_reproducible_is_another_recipe(make: Callable[..., dict[str, bytes]]) -> None:
    """It gets a folder of its own, and nothing of the other is touched."""
    first = make("one", reproducible=False)
    both = make("one")
    assert both.items() >= first.items()
    assert len(both) == 2 * len(first)


def test_images_that_are_compared_are_one_batch_of_a_unit(tmp_path: Path, prototxt: Path) -> None:
    net = make_net("torch", prototxt)
    runs = dv.optimize(
        net, "fc2", UNITS, seeds=SEEDS, iterations=3, diversity=1, reproducible=True, batch_size=2
    )
    alone = dv.optimize(
        net, "fc2", UNITS[1], seeds=SEEDS, iterations=3, diversity=1, reproducible=True
    )
    assert [run.computed["batch"] for run in runs] == [3] * 6
    for one, other in zip(runs[3:], alone, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_saved_runs_are_those_that_the_folder_would_have(tmp_path: Path, prototxt: Path) -> None:
    net = make_net("torch", prototxt)
    ask = {"units": UNITS, "seeds": SEEDS, "iterations": 3, "reproducible": True}
    dv.optimize(net, "fc2", **ask).save(tmp_path / "saved")
    with threads(2):
        runs = dv.optimize(net, "fc2", **ask, results=tmp_path / "made")
    assert files(tmp_path / "saved") == files(tmp_path / "made")
    again = dv.optimize(net, "fc2", **ask, results=tmp_path / "made")  # read, not run
    assert [run.computed for run in again] == [run.computed for run in runs]


def test_experiments_are_reproducible_too(tmp_path: Path, prototxt: Path) -> None:
    net = make_net("torch", prototxt)
    job = Job(net, tmp_path / "runs", reproducible=True)
    variants = Variants(job, TargetLayer.of(net, "fc2"), [4], SEEDS, batch_size=3)
    variants.make([PARAMS])
    (image,) = dv.optimize(net, "fc2", 4, seeds=[2], preset=PARAMS, reproducible=True)
    np.testing.assert_array_equal(variants.picture(PARAMS, 4, 2), image.picture())
    assert variants.record(PARAMS, 4, 2)["computed"]["batch"] == 1


def test_a_gpu_makes_no_promise(
    tmp_path: Path, prototxt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = make_net("torch", prototxt)
    monkeypatch.setattr(type(net), "device", property(lambda self: "cuda:0"))
    with pytest.raises(SettingsError, match="only on the CPU, but the net runs on cuda:0"):
        dv.optimize(net, "fc2", 0, reproducible=True)
    with pytest.raises(SettingsError, match="use device='cpu'"):
        Job(net, tmp_path, reproducible=True)


def test_the_number_of_threads_comes_back(tmp_path: Path, prototxt: Path, engine: str) -> None:
    net = make_net(engine, prototxt)
    with threads(2):
        with one_thread(net):
            assert computed_by(net)["threads"] == 1
            assert torch.get_num_threads() == 1
        assert computed_by(net)["threads"] == 2
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as another:  # which takes over torch's global number
            assert another.submit(torch.get_num_threads).result() == 2
        kept = re.findall(r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
        assert kept in (["2"], []), "a torch without MKL says nothing of it"


def test_records_say_what_the_engine_computes_with_and_no_other(
    tmp_path: Path, prototxt: Path, engine: str
) -> None:
    here = {"device", "processor", "numpy", "threads"}
    own = {"torch": {"torch", "kernels"}, "pycaffe": {"caffe", "blas"}}[engine]
    assert computed_by(make_net(engine, prototxt)).keys() == here | own


def test_a_net_of_another_engine_asks_for_no_caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caffe", None)  # as where it is not installed
    (run,) = dv.optimizer.optimize(FakeNet(bumps(np.ones((1, 3, 8, 7)))), "unit", 0, iterations=1)
    assert run.computed.keys() == {"device", "processor", "numpy", "batch", "reproducible"}
