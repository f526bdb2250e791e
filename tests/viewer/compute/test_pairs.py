"""Two frames at a time: when, on how many threads, and that each has its own values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_model import LABELS, write_model
from helpers.waiting import LONG

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.settings import load_settings
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.compute.pairs import ON_ALL_CORES, ON_HALF, Pairs
from deepvis_caffe.viewer.state.catalogue import as_maps, catalogue
from deepvis_caffe.viewer.state.request import Frame, Request, Result
from deepvis_caffe.viewer.state.state import Scene

torch = pytest.importorskip("torch")

CONV, FC, PROB = 0, 1, 2


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Not loaded yet, as in `deepvis view`; it takes four threads."""
    found = dv.load_net(load_settings(write_model(tmp_path), {"engine": "torch"}), run=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield found
    torch.set_num_threads(before)


def frame(number: int, live: bool = True) -> Frame:
    picture = np.random.default_rng(number).integers(0, 256, (30, 44, 3)).astype(np.uint8)
    return Frame(picture, number, f"noise {number}", live)


def pairs_of(net: Net) -> tuple[Pairs, Result]:
    """Pairs, and the first result, which was computed on all cores."""
    compute = Compute(net, Scene(catalogue(net), LABELS))
    return Pairs(compute), compute(frame(1), Request(CONV))


def taking(seconds: float, result: Result) -> Result:
    return replace(result, seconds=seconds)


def test_frames_are_paired_while_passes_are_short(net: Net) -> None:
    pairs, first = pairs_of(net)
    assert not pairs.allowed(frame(2), Request(CONV)), "nothing is known yet"
    story = []
    for seconds in (ON_ALL_CORES * 1.1, ON_ALL_CORES * 0.9, ON_HALF * 0.9, ON_HALF * 1.1):
        pairs.saw(taking(seconds, first))
        story.append(pairs.allowed(frame(2), Request(CONV)))
    assert story == [False, True, True, False]


@pytest.mark.parametrize(
    ("live", "request_", "expected"),
    [
        (True, Request(FC), True),
        (True, Request(PROB, weights=True, resize="stretch"), True),
        (False, Request(FC), False),  # its values are kept, for the next request
        (True, Request(FC, back="gradient", source=(CONV, 1)), False),
        (True, Request(FC, drivers=(FC, 1)), False),
    ],
)
def test_only_forward_passes_of_a_stream_are_paired(
    net: Net, live: bool, request_: Request, expected: bool
) -> None:
    pairs, first = pairs_of(net)
    pairs.saw(taking(0, first))
    assert pairs.allowed(frame(2, live), request_) is expected


@pytest.mark.parametrize("change", ["one thread", "not reentrant"])
def test_no_pairs_without_a_second_core_or_a_reentrant_engine(net: Net, change: str) -> None:
    pairs, first = pairs_of(net)
    if change == "one thread":
        torch.set_num_threads(1)
    else:
        net.loaded().reentrant = False  # as on a GPU
    pairs.saw(taking(0, first))
    assert not pairs.allowed(frame(2), Request(CONV))


def test_both_of_a_pair_have_their_own_values_on_half_of_the_threads(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, first = pairs_of(net)
    pairs.saw(taking(0, first))
    loaded, both = net.loaded(), threading.Barrier(2, timeout=LONG)
    reduce, threads = loaded.reduce, []

    def together(inputs: Any, blobs: Any, function: Callable[[str, Any], Any]) -> Any:
        def taken(name: str, value: Any) -> Any:
            both.wait()  # until the other pass is as far
            return function(name, value)

        threads.append(torch.get_num_threads())
        return reduce(inputs, blobs, taken)

    monkeypatch.setattr(loaded, "reduce", together)
    with ThreadPoolExecutor(1) as second:
        other = second.submit(pairs, 1, frame(3), Request(FC))
        own = pairs(0, frame(2), Request(CONV))
        results = [own, other.result(LONG)]
    assert threads == [2, 2]
    assert torch.get_num_threads() == 4
    assert results[0].number != results[1].number
    assert min(one.number for one in results) > first.number
    for result, name in zip(results, ("conv/1", "fc"), strict=True):
        x = loaded.preprocessor(result.frame.picture)[None]
        plain = loaded.forward(x, blobs=[name, "prob"])
        np.testing.assert_allclose(result.maps, as_maps(plain[name]), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(result.scores, plain["prob"][0], rtol=1e-5)
