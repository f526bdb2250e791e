"""Work for worker processes, which import it by name: a small net, and tasks that go wrong."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepvis_caffe
from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.settings.fields import BadSettingError
from helpers.waiting import eventually

Tell = Callable[[Any], None]


def small_net(folder: Path) -> Any:
    import deepvis_caffe as dv

    files = folder / "small.prototxt", folder / "small.caffemodel"
    labels = folder / "labels.txt"
    return dv.load_net(*files, engine="torch", mean=(100.0, 110.0, 120.0), labels=labels)


def mortal_net(folder: Path, fatal: Path, marker: Path) -> Any:
    """The small net; its process is killed when a batch that starts with an image comes by, once.

    The marker file then holds the process's number.
    """
    from deepvis_caffe.image import read_image

    net = small_net(folder)
    image, reduce = net.preprocessor(read_image(fatal)), net.reduce

    def die_or_reduce(inputs: Any, *more: Any) -> Any:
        if (inputs[net.image_input()][0] == image).all():
            die_once(marker)
        return reduce(inputs, *more)

    net.reduce = die_or_reduce
    return net


def meeting_net(folder: Path, meeting: Path, processes: int) -> Any:
    """The small net, which waits to compute until that many processes are running one."""
    net = small_net(folder)
    evaluate = net.evaluate

    def meet_and_evaluate(*arguments: Any) -> Any:
        meet(None, (meeting, processes), lambda message: None)
        return evaluate(*arguments)

    net.evaluate = meet_and_evaluate
    return net


def held_net(folder: Path) -> Any:
    """The small net; before each pass it leaves a sign, and waits as long as its host is held.

    The host is named by the environment, and signs and holds lie beside the model.
    """
    net, host = small_net(folder), os.environ["DEEPVIS_TEST_HOST"]
    evaluate = net.evaluate

    def wait_and_evaluate(*arguments: Any) -> Any:
        hold, sign = folder / f"hold-{host}", folder / f"at-{host}"
        if hold.exists():
            sign.touch()
            eventually(lambda: not hold.exists(), 600)
        return evaluate(*arguments)

    net.evaluate = wait_and_evaluate
    return net


def ascend(net: Any, task: tuple[int, int, Path | None], tell: Tell) -> tuple[Any, ...]:
    """One unit and seed. In the middle of the last one, the process is killed, if `task` says so.

    The marker file lets that happen once.
    """
    import deepvis_caffe as dv

    unit, seed, marker = task

    def progress(done: int, total: int) -> None:
        tell((done, total))
        if marker and done == 4:
            die_once(marker)

    (run,) = dv.optimize(net, "fc", unit, [seed], iterations=8, progress=progress)
    return run.image, run.activations, run.best_iteration, run.picture()


def die_once(marker: Path) -> None:
    try:
        with marker.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def no_state() -> None:
    pass


def new_state() -> object:
    return object()


class Traced:
    """A state with a file in a folder for as long as it is in memory."""

    def __init__(self, folder: Path) -> None:
        sign = folder / uuid.uuid4().hex
        sign.touch()
        weakref.finalize(self, sign.unlink)


def broken_state() -> None:
    raise UnknownNameError("layer", "fcc", ["fc"], "the net")


def square(state: None, task: int, tell: Tell) -> int:
    tell(-task)
    return task * task


def identity(state: object, task: Any, tell: Tell) -> tuple[int, int, int]:
    return os.getpid(), id(state), threading.get_ident()


def meet(state: object | None, task: tuple[Path, int], tell: Tell) -> tuple[int, int, int]:
    """Wait until tasks of this kind have begun in that many processes; each leaves its PID."""
    folder, processes = task
    (folder / str(os.getpid())).touch()
    eventually(lambda: len(list(folder.iterdir())) >= processes)
    return identity(state, task, tell)


def fail(state: None, task: tuple[int, str], tell: Tell) -> int:
    number, how = task
    if number == 1:
        raise ERRORS[how]()
    return number


class AwkwardError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


ERRORS: dict[str, Callable[[], Exception]] = {
    "plain": lambda: ValueError("no such thing"),
    "unknown name": lambda: UnknownNameError("layer", "fcc", ["fc", "prob"], "the net"),
    "bad setting": lambda: BadSettingError("seeds", "seeds cannot be 0"),
    "awkward": lambda: AwkwardError(3, 4),
}


def have_version(version: str | None) -> None:
    """Let this process have another version of the package; None for no package."""
    if version is None:
        sys.modules["deepvis_caffe"] = None  # type: ignore[assignment]
    else:
        sys.modules["deepvis_caffe"] = deepvis_caffe
        deepvis_caffe.__version__ = version


def leave_when_asked() -> None:
    """Let the next request for this process's version fail, as if the worker had left."""
    version, names = deepvis_caffe.__version__, deepvis_caffe.__getattr__

    def answer(name: str) -> Any:
        if name != "__version__":
            return names(name)
        deepvis_caffe.__version__, deepvis_caffe.__getattr__ = version, names
        raise OSError("it has just left")

    del deepvis_caffe.__version__
    deepvis_caffe.__getattr__ = answer


def die(state: None, task: int, tell: Tell) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def leave(state: None, task: int, tell: Tell) -> int:
    sys.exit(7)


def beat(state: None, task: tuple[int, Path], tell: Tell) -> int:
    """The first task is short; the others outlive every test, and leave a sign of life."""
    number, folder = task
    for _ in range(60_000 if number else 0):
        tell(number)
        (folder / str(os.getpid())).touch()
        time.sleep(0.02)
    return number


def beat_in_silence(state: None, task: tuple[int, Path], tell: Tell) -> int:
    """As `beat`, and never tells, so that a pipe that is broken is not noticed."""
    return beat(state, task, lambda message: None)


def variables(state: None, names: tuple[str, ...], tell: Tell) -> dict[str, str | None]:
    """Environment variables of the worker."""
    return {name: os.environ.get(name) for name in names}


def surroundings(state: None, task: int, tell: Tell) -> tuple[dict[str, str], int, bool]:
    """Variables, torch's threads, and whether Ctrl-C has been kept out from the beginning."""
    import torch

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    seen = {name: os.environ[name] for name in names if name in os.environ}
    deaf = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return seen, torch.get_num_threads(), deaf
