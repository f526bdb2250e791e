"""Fixtures of the whole suite: real pycaffe, each engine in turn, real weights, a browser."""

from __future__ import annotations

import importlib
import multiprocessing.process
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.testing  # noqa: F401  # here, since numpy 1 starts a process (lscpu) at this import
import pytest
from helpers.array_ops import KINDS
from helpers.browser_page import open_browser
from helpers.engine_nets import SIMULATED

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import FetchError
from deepvis_caffe.fetch import fetch
from deepvis_caffe.resources import resource
from deepvis_caffe.settings import Settings

os.environ.update(GLOG_minloglevel="3")  # before the first import of caffe, wherever it happens

# A shell ignores Ctrl-C for what it runs in the background, and processes inherit that from us;
# tests that press it need the usual answer.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests so marked may start processes; they and the slow ones are left out of `make test-fast`.
STARTS_PROCESSES = ("browser", "screen", "cluster", "process")
MARKS_BY_FIXTURE = {"driver": "browser", "display": "screen"}


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark the tests that need a browser, a screen or a cluster by what they use."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKS_BY_FIXTURE:
                item.add_marker(MARKS_BY_FIXTURE[fixture])
        if "cluster" in item.path.parts[-2:-1]:
            item.add_marker("cluster")


@pytest.fixture(autouse=True)
def no_process_without_a_mark(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail a test that starts a process without being marked so: the fast tier has none."""
    if any(request.node.get_closest_marker(mark) for mark in STARTS_PROCESSES):
        return

    begin = subprocess.Popen.__init__

    def refuse(*arguments: Any, **options: Any) -> None:
        # matplotlib asks for fonts at its first import on a machine, h5py for the system's name,
        # and an old threadpoolctl for the C library
        if arguments[1:] and {"fc-list", "uname", "/sbin/ldconfig"} & set(arguments[1]):
            return begin(*arguments, **options)
        pytest.fail("this test starts a process: mark it `@pytest.mark.process`")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)


@pytest.fixture(scope="session")
def caffe() -> Any:
    """Real pycaffe; where it cannot be imported the test is skipped, or fails if it is required."""
    try:
        return importlib.import_module("caffe")
    except ImportError as error:
        if os.environ.get("DEEPVIS_REQUIRE_PYCAFFE") == "1":
            pytest.fail(f"pycaffe is required here and cannot be imported: {error}", pytrace=False)
        pytest.skip(f"needs real pycaffe: {error}")


@pytest.fixture(scope="session", autouse=True)
def simulated_device() -> Iterator[None]:
    """With DEEPVIS_TEST_DEVICE=simulated, the nets of `load_text` run on a simulated GPU."""
    if not SIMULATED:
        yield
        return
    from helpers.simulated_cuda import simulated_cuda

    with simulated_cuda():
        yield


@pytest.fixture
def cuda() -> Iterator[None]:
    """A CUDA device, a simulated one where there is no real one."""
    from helpers.simulated_cuda import cuda_device

    with cuda_device():
        yield


@pytest.fixture(params=list(KINDS))
def ops(request: pytest.FixtureRequest) -> ArrayOps:
    """The operations of each kind of array: numpy, torch, torch on a CUDA device."""
    if request.param == "cuda":
        request.getfixturevalue("cuda")
    return KINDS[request.param]


@pytest.fixture(params=["torch", pytest.param("pycaffe", marks=pytest.mark.pycaffe)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine's name in turn, as `load_net` takes it."""
    if request.param == "pycaffe":
        request.getfixturevalue("caffe")
    return request.param


@pytest.fixture(scope="session")
def squeezenet_weights() -> Path:
    """SqueezeNet's real weights, as `deepvis fetch squeezenet` gets them; skipped offline.

    Where pycaffe is required, so are they.
    """
    try:
        return fetch("squeezenet")
    except FetchError as error:
        if os.environ.get("DEEPVIS_REQUIRE_PYCAFFE") == "1":
            pytest.fail(f"SqueezeNet's weights are required here: {error}", pytrace=False)
        pytest.skip(f"needs SqueezeNet's weights: {error}")


@pytest.fixture
def squeezenet_settings(squeezenet_weights: Path, tmp_path: Path) -> Settings:
    """SqueezeNet on the embedded engine, with its labels; results go to a folder of the test's."""
    return Settings(
        prototxt=resource("prototxt", "squeezenet_v1.1.prototxt"),
        weights=squeezenet_weights,
        labels=resource("weights", "imagenet_labels.txt"),
        mean=(104, 117, 123),
        engine="torch",
        results=tmp_path / "results",
    )


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Chromium for all tests; without it they are skipped, or fail if it is required."""
    yield from open_browser(tmp_path_factory.mktemp("profile"))
