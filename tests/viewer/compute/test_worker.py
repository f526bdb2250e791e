"""The worker: newest first, nobody waits, errors are words, idle work gives way."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers.waiting import LONG

from deepvis_caffe.errors import EngineError
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
