"""The worker: newest first, nobody waits, errors are words, idle work gives way."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.waiting import LONG

from deepvis_caffe.errors import EngineError
from deepvis_caffe.viewer.compute import worker as worker_module
from deepvis_caffe.viewer.compute.worker import Worker
from deepvis_caffe.viewer.state.request import Frame, Request, Result
from deepvis_caffe.viewer.threads import Newest


def frame(number: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), number, f"frame {number}")


def answer(frame: Frame, request: Request) -> Result:
    return Result(frame, request, frame.picture, np.zeros((1, 1, 1), np.float32))


class Gate:
    """A computation that says when it has begun and goes on when it is let."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.seen: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def __call__(self, frame: Frame, request: Request) -> Result:
        self.seen.append((frame.number, request.layer))
        self.threads.add(threading.get_ident())
        self.begun.release()
        assert self.go.acquire(timeout=LONG)
        return answer(frame, request)


class PairOfGates:
    """Two computations at once, of frames with even numbers only if told so."""

    def __init__(self, even_only: bool = False) -> None:
        self.gates, self.even_only = (Gate(), Gate()), even_only
        self.came_numbers: list[int] = []
        self.saw_numbers: list[tuple[int, bool]] = []

    def came(self, frame: Frame, now: float) -> None:
        self.came_numbers.append(frame.number)

    def allowed(self, frame: Frame, request: Request) -> bool:
        return not self.even_only or frame.number % 2 == 0

    def saw(self, result: Result, paired: bool) -> None:
        self.saw_numbers.append((result.frame.number, paired))

    def computation(self, which: int) -> Callable[[Frame, Request], Result]:
        return self.gates[which]


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def make(*args: object, **kw: object) -> Worker:
        workers.append(Worker(*args, **kw))  # type: ignore[arg-type]
        workers[-1].start()
        return workers[-1]

    yield make
    assert all(worker.close(LONG) for worker in workers)


def test_of_frames_that_came_meanwhile_only_the_newest_is_computed(start: Callable) -> None:
    gate, results = Gate(), Newest[Result]()
    worker = start(gate, results)
    worker.request(Request(0))
    worker.show(frame(1))
    assert gate.begun.acquire(timeout=LONG)
    for number in (2, 3, 4):
        worker.show(frame(number))  # returns at once, though frame 1 is still being computed
    worker.request(Request(5))
    assert worker.busy
    gate.go.release(2)
    assert gate.begun.acquire(timeout=LONG)
    first = results.take(LONG)
    if first is not None and first.frame.number == 1:
        first = results.take(LONG)
    assert first is not None
    assert (first.frame.number, first.request.layer) == (4, 5)
    assert gate.seen == [(1, 0), (4, 5)]
    assert gate.threads.isdisjoint({threading.get_ident()})
    assert len(gate.threads) == 1


def alone(frame: Frame, request: Request) -> Result:
    raise AssertionError(f"frame {frame.number} was not computed in a pair")


def begin_two(start: Callable, results: Newest[Result], **kw: object) -> tuple[Worker, PairOfGates]:
    """A worker that computes frame 1 on its first thread and frame 2 on its second."""
    pairs = PairOfGates()
    worker = start(alone, results, pairs=pairs, **kw)
    worker.request(Request(0))
    worker.show(frame(1))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    worker.show(frame(2))
    assert pairs.gates[1].begun.acquire(timeout=LONG)
    return worker, pairs


def test_two_frames_are_computed_at_once_and_delivered_in_order(start: Callable) -> None:
    results = Newest[Result]()
    worker, pairs = begin_two(start, results)
    first, second = pairs.gates
    first.go.release()
    found = results.take(LONG)
    assert found is not None
    assert found.frame.number == 1
    assert worker.busy
    worker.show(frame(3))
    assert first.begun.acquire(timeout=LONG), "the first thread is free again"
    second.go.release()
    found = results.take(LONG)
    assert found is not None
    assert found.frame.number == 2
    assert worker.busy
    first.go.release()
    found = results.take(LONG)
    assert found is not None
    assert found.frame.number == 3
    assert first.seen == [(1, 0), (3, 0)]
    assert second.seen == [(2, 0)]
    assert first.threads.isdisjoint(second.threads)


def test_a_frame_that_a_newer_one_overtook_is_not_shown(start: Callable) -> None:
    results, changed = Newest[Result](), threading.Semaphore(0)
    worker, pairs = begin_two(start, results, changed=changed.release)
    first, second = pairs.gates
    second.go.release()
    assert changed.acquire(timeout=LONG)
    found = results.take()
    assert found is not None
    assert found.frame.number == 2
    assert not worker.busy, "the newest frame has its result"
    worker.show(frame(3))
    assert second.begun.acquire(timeout=LONG)
    first.go.release()
    worker.show(frame(4))
    assert first.begun.acquire(timeout=LONG)
    assert results.take() is None, "frame 1 came too late"
    assert pairs.saw_numbers == [(2, True), (1, True)], "but what it took is known"
    assert pairs.came_numbers == [1, 2, 3, 4]
    for gate in pairs.gates:
        gate.go.release()


def test_only_what_may_be_paired_is(start: Callable) -> None:
    """Odd frames need the whole net, by itself."""
    single, results = Gate(), Newest[Result]()
    pairs = PairOfGates(even_only=True)
    worker = start(single, results, pairs=pairs)
    worker.request(Request(0))
    worker.show(frame(1))
    assert single.begun.acquire(timeout=LONG)
    worker.show(frame(2))  # which could have a partner, but not this one
    single.go.release()
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    worker.show(frame(3))
    pairs.gates[0].go.release()
    assert single.begun.acquire(timeout=LONG)
    single.go.release()
    while (found := results.take(LONG)) is not None and found.frame.number < 3:
        pass
    assert single.seen == [(1, 0), (3, 0)]
    assert pairs.gates[0].seen == [(2, 0)]
    assert pairs.gates[1].seen == []


def test_the_second_frame_of_a_pair_begins_later_than_the_first(
    start: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, results, pairs, asked = [0.0], Newest[Result](), PairOfGates(), threading.Event()

    def clock() -> float:
        asked.set()
        return now[0]

    monkeypatch.setattr(worker_module, "time", SimpleNamespace(monotonic=clock))
    worker = start(alone, results, pairs=pairs)
    worker.request(Request(0))
    worker.show(frame(1))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    now[0] = 1000.0
    pairs.gates[0].go.release()
    assert results.take(LONG) is not None
    worker.show(frame(2))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    asked.clear()
    worker.show(frame(3))  # a frame takes 1000 seconds: this one would end together with frame 2
    assert asked.wait(LONG)
    assert worker.busy  # which waits until the second thread has decided
    now[0] = 1450.0
    worker.show(frame(4))
    assert pairs.gates[1].begun.acquire(timeout=LONG)
    assert pairs.gates[1].seen == [(4, 0)]
    pairs.gates[0].go.release()
    assert results.take(LONG) is not None
    asked.clear()
    worker.show(frame(5))
    assert asked.wait(LONG)
    assert worker.busy
    assert pairs.gates[0].seen == [(1, 0), (2, 0)], "nor may the first overtake the second"
    now[0] = 2000.0
    worker.show(frame(6))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    assert pairs.gates[0].seen[2:] == [(6, 0)]
    pairs.gates[0].go.release()
    pairs.gates[1].go.release()


def test_what_takes_the_whole_net_waits_for_the_second_thread(start: Callable) -> None:
    single, results, pairs = Gate(), Newest[Result](), PairOfGates(even_only=True)
    worker = start(single, results, pairs=pairs)
    worker.request(Request(0))
    worker.show(frame(2))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    worker.show(frame(4))
    assert pairs.gates[1].begun.acquire(timeout=LONG)
    worker.show(frame(5))
    pairs.gates[0].go.release()
    assert results.take(LONG) is not None
    assert worker.busy
    assert single.seen == []
    pairs.gates[1].go.release()
    assert single.begun.acquire(timeout=LONG)
    assert single.seen == [(5, 0)]
    single.go.release()


def test_an_error_of_the_second_thread_is_said(start: Callable) -> None:
    class Fails(PairOfGates):
        def computation(self, which: int) -> Callable[[Frame, Request], Result]:
            return fails if which == 1 else super().computation(which)

    def fails(frame: Frame, request: Request) -> Result:
        raise EngineError("layer fc cannot run")

    pairs, changed = Fails(), threading.Semaphore(0)
    worker = start(alone, Newest(), changed.release, pairs=pairs)
    worker.request(Request(0))
    worker.show(frame(1))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    worker.show(frame(2))
    assert changed.acquire(timeout=LONG)
    assert worker.trouble == worker.failure == "layer fc cannot run"
    pairs.gates[0].go.release()


def test_both_threads_end_wherever_they_are() -> None:
    """As often as it takes for the second to be between its look and its wait."""
    for _ in range(200):
        worker = Worker(answer, Newest(), pairs=PairOfGates())
        worker.start()
        assert worker.close(LONG)


def test_idle_work_has_the_net_to_itself(start: Callable) -> None:
    began = threading.Event()

    def idle(between: Callable[[], bool]) -> bool:
        began.set()
        return False

    pairs, results = PairOfGates(), Newest[Result]()
    worker = start(alone, results, idle=idle, pairs=pairs)
    assert began.wait(LONG)
    worker.request(Request(0))
    worker.show(frame(1))
    assert pairs.gates[0].begun.acquire(timeout=LONG)
    worker.show(frame(2))
    assert pairs.gates[1].begun.acquire(timeout=LONG)
    began.clear()
    pairs.gates[0].go.release()
    assert results.take(LONG) is not None
    worker.nudge()
    assert not began.is_set(), "the second thread still computes"
    pairs.gates[1].go.release()
    assert began.wait(LONG)


def test_one_frame_and_request_are_computed_once(start: Callable) -> None:
    seen, changed = [], threading.Semaphore(0)
    worker = start(
        lambda f, r: seen.append((f.number, r)) or answer(f, r), Newest(), changed.release
    )
    worker.show(frame(1))
    worker.request(Request(0))
    assert changed.acquire(timeout=LONG)
    worker.show(frame(1))
    worker.request(Request(0))
    worker.request(Request(1))
    assert changed.acquire(timeout=LONG)
    assert seen == [(1, Request(0)), (1, Request(1))]
    assert not worker.busy


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EngineError("layer fc cannot run"), "layer fc cannot run"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_an_error_is_said_and_the_next_frame_is_computed(
    start: Callable, error: Exception, said: str
) -> None:
    changed, results = threading.Semaphore(0), Newest[Result]()

    def fails_on_one(f: Frame, r: Request) -> Result:
        if f.number == 1:
            raise error
        return answer(f, r)

    worker = start(fails_on_one, results, changed.release)
    worker.request(Request(0))
    worker.show(frame(1))
    assert changed.acquire(timeout=LONG)
    assert worker.trouble == worker.failure == said
    worker.show(frame(2))
    assert changed.acquire(timeout=LONG)
    assert worker.trouble == worker.failure == ""
    result = results.take(LONG)
    assert result is not None
    assert result.frame.number == 2


def test_a_frame_comes_between_two_steps_of_idle_work(start: Callable) -> None:
    story: list[str] = []
    idle_begun, step, idle_over = (threading.Event() for _ in range(3))

    def idle(between: Callable[[], bool]) -> bool:
        if "idle 1" in story:
            return False
        story.append("idle 1")
        idle_begun.set()
        assert step.wait(LONG)
        assert between() is False
        story.append("idle 2")
        idle_over.set()
        return True

    done = threading.Semaphore(0)
    worker = start(
        lambda f, r: story.append(f"frame {f.number}") or answer(f, r),
        Newest(),
        done.release,
        idle,
    )
    assert idle_begun.wait(LONG)
    worker.request(Request(0))
    worker.show(frame(7))
    step.set()
    assert done.acquire(timeout=LONG)
    assert idle_over.wait(LONG)  # or 8 came between the same two steps
    worker.show(frame(8))
    assert done.acquire(timeout=LONG)
    assert story == ["idle 1", "frame 7", "idle 2", "frame 8"]


def test_idle_work_is_told_to_stop_at_the_end(start: Callable) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def idle(between: Callable[[], bool]) -> bool:
        begun.set()
        while not between():
            pass
        stopped.set()
        return True

    worker = start(answer, Newest(), idle=idle)
    assert begun.wait(LONG)
    assert worker.close(LONG)
    assert stopped.is_set()


def test_idle_work_that_fails_ends_nothing(start: Callable) -> None:
    def idle(between: Callable[[], bool]) -> bool:
        raise ZeroDivisionError("once and again")

    changed = threading.Semaphore(0)
    results = Newest[Result]()
    worker = start(answer, results, changed.release, idle)
    assert changed.acquire(timeout=LONG)
    assert worker.trouble == "ZeroDivisionError: once and again"
    assert worker.failure == "", "no frame was without its result"
    worker.request(Request(0))
    worker.show(frame(1))
    assert results.take(LONG) is not None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="niceness is a process's there")
def test_the_net_stands_back_for_the_window_and_so_do_its_threads(start: Callable) -> None:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    seen: list[int] = []

    def compute(frame: Frame, request: Request) -> Result:
        helper = threading.Thread(target=lambda: seen.append(nice()))
        helper.start()
        helper.join()
        seen.append(nice())
        return answer(frame, request)

    own, changed = nice(), threading.Semaphore(0)
    worker = start(compute, Newest(), changed.release)
    worker.request(Request(0))
    worker.show(frame(1))
    assert changed.acquire(timeout=LONG)
    assert seen == [min(19, own + 2)] * 2
    assert nice() == own


def test_a_computation_that_hangs_is_left_behind(start: Callable) -> None:
    gate = Gate()
    worker = start(gate, Newest())
    worker.request(Request(0))
    worker.show(frame(1))
    assert gate.begun.acquire(timeout=LONG)
    assert worker.close(0.05) is False
    gate.go.release()


def test_the_slot_keeps_the_newest_and_wakes_who_waits() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    slot.put(2)
    assert slot.take() == 2
    assert slot.take() is None
    threading.Timer(0.01, slot.put, [3]).start()
    assert slot.take(LONG) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="niceness is a process's there")
def test_what_takes_long_is_prepared_first_and_before_the_net_stands_back(start: Callable) -> None:
    story: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def nice() -> str:
        return f"{os.getpriority(os.PRIO_PROCESS, threading.get_native_id()):+d}"

    def prepare() -> None:
        begun.set()
        assert go.wait(LONG)
        story.append(f"prepared at {nice()}")

    results = Newest[Result]()
    worker = start(
        lambda f, r: story.append(f"frame {f.number}") or answer(f, r), results, prepare=prepare
    )
    assert begun.wait(LONG)
    worker.request(Request(0))
    worker.show(frame(1))
    assert worker.busy
    go.set()
    assert results.take(LONG) is not None
    assert story == [f"prepared at {nice()}", "frame 1"]


def test_where_nothing_could_be_prepared_nothing_is_computed(start: Callable) -> None:
    error, changed = EngineError("no such device"), threading.Semaphore(0)

    def prepare() -> None:
        raise error

    seen: list[int] = []
    worker = start(
        lambda f, r: seen.append(f.number) or answer(f, r),
        Newest(),
        changed.release,
        prepare=prepare,
    )
    assert changed.acquire(timeout=LONG)
    worker.request(Request(0))
    worker.show(frame(1))
    assert worker.close(LONG)
    assert worker.error is error
    assert not seen
