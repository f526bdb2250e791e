"""pycaffe's API for training, which this package does not implement: using it is an error."""

from __future__ import annotations

from typing import Any, NoReturn

from deepvis_caffe.errors import EngineError


class TrainingError(EngineError, NotImplementedError):
    """Solvers and other training features are not implemented."""


def _refuse(name: str) -> NoReturn:
    raise TrainingError(
        f"caffe.{name} trains nets, which deepvis_caffe.caffe does not do: it runs nets that are "
        "trained. Forward and backward passes, and the diffs of parameters, are in caffe.Net; to "
        "train, use a Caffe of your own (make pycaffe builds one)"
    )


class SGDSolver:
    """Not here: it raises `TrainingError`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse(type(self).__name__)


class NesterovSolver(SGDSolver):
    """Not here: it raises `TrainingError`."""


class AdaGradSolver(SGDSolver):
    """Not here: it raises `TrainingError`."""


class RMSPropSolver(SGDSolver):
    """Not here: it raises `TrainingError`."""


class AdaDeltaSolver(SGDSolver):
    """Not here: it raises `TrainingError`."""


class AdamSolver(SGDSolver):
    """Not here: it raises `TrainingError`."""


class NCCL(SGDSolver):
    """Not here: it raises `TrainingError`."""


class Timer(SGDSolver):
    """Not here: it raises `TrainingError`."""


def get_solver(*args: Any, **kwargs: Any) -> NoReturn:
    """Not here: it raises `TrainingError`."""
    _refuse("get_solver")


def has_nccl() -> bool:
    """False: there is a single process, and it does not train."""
    return False


def solver_count() -> int:
    """1: there is one process."""
    return 1


def set_solver_count(count: int) -> None:
    """Without effect, as there is one process."""


def solver_rank() -> int:
    """0: there is one process."""
    return 0


def set_solver_rank(rank: int) -> None:
    """Without effect, as there is one process."""


def set_multiprocess(on: bool) -> None:
    """Without effect, as there is one process."""
