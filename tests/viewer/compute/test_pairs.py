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
from deepvis_caffe.viewer.compute.pairs import ON_ALL_CORES, ON_HALF, PASSES, Pairs
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


def pairs_of(net: Net, seconds: float = 0.05, interval: float = 0.02) -> tuple[Pairs, Result]:
    """Pairs, after a stream began and its frames took that long on all cores."""
    compute = Compute(net, Scene(catalogue(net), LABELS))
    pairs, first = Pairs(compute), compute(frame(1), Request(CONV))
    for number in (1, 2):
        pairs.came(frame(number), 7 + interval * number)
    for _ in range(PASSES):
        pairs.saw(taking(seconds, first), paired=False)
    return pairs, first


def taking(seconds: float, result: Result) -> Result:
    return replace(result, seconds=seconds)


def test_frames_are_paired_while_passes_are_short(net: Net) -> None:
    pairs, first = pairs_of(net, ON_ALL_CORES * 1.1)
    story = [pairs.allowed(frame(2), Request(CONV))]
    for part, paired in ((0.9, False), (0.9, True), (1.1, True), (0.9, False)):
        longest = ON_HALF if paired else ON_ALL_CORES
        pairs.saw(taking(part * longest, first), paired)
        story.append(pairs.allowed(frame(2), Request(CONV)))
    assert story == [False, True, True, False, True]


def test_nothing_is_paired_before_some_passes_and_two_frames_of_a_stream(net: Net) -> None:
    compute = Compute(net, Scene(catalogue(net), LABELS))
    pairs, first = Pairs(compute), compute(frame(1), Request(CONV))
    story = []
    for step in (
        lambda: pairs.came(frame(1), 1.0),
        *[lambda: pairs.saw(taking(0.05, first), paired=False)] * PASSES,
        lambda: pairs.came(frame(2), 1.01),
    ):
        step()
        story.append(pairs.allowed(frame(2), Request(CONV)))
    assert story == [False] * (PASSES + 1) + [True]


def test_the_fastest_of_the_last_passes_counts(net: Net) -> None:
    pairs, first = pairs_of(net, 0.03, 0.05)
    story = []
    for _ in range(PASSES):
        pairs.saw(taking(0.06, first), paired=False)
        story.append(pairs.allowed(frame(2), Request(CONV)))
    assert story == [False] * (PASSES - 1) + [True]


@pytest.mark.parametrize(
    ("seconds", "interval", "expected"),
    [(0.05, 0.1, False), (0.05, 0.075, False), (0.05, 0.065, True), (0.05, 0.01, True)],
)
def test_one_pass_at_a_time_is_enough_for_a_slow_stream(
    net: Net, seconds: float, interval: float, expected: bool
) -> None:
    pairs, _ = pairs_of(net, seconds, interval)
    assert pairs.allowed(frame(2), Request(CONV)) is expected


def test_the_rate_of_a_stream_is_a_mean_until_it_changes(net: Net) -> None:
    pairs, _ = pairs_of(net, 0.05, 0.05)  # 20 frames a second, and 20 passes
    now, story = 100.0, []

    def later(*steps: float) -> None:
        nonlocal now
        for step in steps:
            now += step
            pairs.came(frame(2), now)
        story.append(pairs.allowed(frame(2), Request(CONV)))

    later(1.0)  # it was frozen
    later(0.05)  # and goes on
    later(*[0.03, 0.07] * 20)  # with some jitter, as fast as before
    later(*[0.09, 0.11] * 40)  # half as fast
    pairs.came(frame(3, live=False), now)
    later()  # nothing is known of another stream
    later(0.05)
    later(0.05)
    assert story == [False, True, True, False, False, False, True]


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
def test_only_forward_passes_of_a_stream_are_paired_and_timed(
    net: Net, live: bool, request_: Request, expected: bool
) -> None:
    pairs, first = pairs_of(net)
    assert pairs.allowed(frame(2, live), request_) is expected
    other = replace(first, frame=frame(2, live), request=request_)
    for _ in range(PASSES):
        pairs.saw(taking(1.0, other), paired=False)
    assert pairs.allowed(frame(2), Request(CONV)) is not expected


@pytest.mark.parametrize("change", ["one thread", "not reentrant"])
def test_no_pairs_without_a_second_core_or_a_reentrant_engine(net: Net, change: str) -> None:
    if change == "one thread":
        torch.set_num_threads(1)
    else:
        net.loaded().reentrant = False  # as on a GPU
    pairs, _ = pairs_of(net)
    assert not pairs.allowed(frame(2), Request(CONV))


def test_both_of_a_pair_have_their_own_values_on_half_of_the_threads(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, first = pairs_of(net)
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
        other = second.submit(pairs.computation(1), frame(3), Request(FC))
        own = pairs.computation(0)(frame(2), Request(CONV))
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
