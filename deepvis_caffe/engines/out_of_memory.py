"""Running out of memory: one error for it, and retries in smaller batches.

Libraries report it in many ways. `ran_out` recognizes them, `in_memory` turns each into an
`OutOfMemoryError`, and `in_batches` halves a batch that does not fit.
"""

from __future__ import annotations

import errno
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from deepvis_caffe.errors import OutOfMemoryError, in_words

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Messages of torch on a CPU and on a GPU, its libraries, C++ and OpenCV.
_MESSAGES = re.compile(
    r"can't allocate memory|out of memory|bad_alloc|insufficient memory|failed to allocate"
    r"|_STATUS_ALLOC_FAILED|cannot allocate memory",
    re.IGNORECASE,
)
_SIZE = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)
_UNITS = {"bytes": 0, "kib": 1, "mib": 2, "gib": 3, "tib": 4, "pib": 5, "eib": 6}

# The batch sizes that fit after memory ran out, by net and kind of work.
_fitting: WeakKeyDictionary[Net, dict[str, int]] = WeakKeyDictionary()


def ran_out(error: BaseException) -> bool:
    """Whether an error reports that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError | OutOfMemoryError):
        return True
    return isinstance(error, Exception) and bool(_MESSAGES.search(str(error)))


def lack_of(what: str, error: BaseException, images: int = 0) -> OutOfMemoryError:
    """The error for something that does not fit into memory, with the amount requested.

    Parameters
    ----------
    what
        For example "the inputs data (8, 3, 227, 227)".
    error
        What a library raised.
    images
        Number of images it was for; 0 if unknown.
    """
    size = _SIZE.search(str(error))
    asked = ""
    if size:
        count = float(size[1]) * 1024 ** _UNITS[size[2].lower()]
        asked = f" (tried to allocate {_in_words(count)} more)"
    less = "a smaller batch_size or input_shape"
    if images:
        fewer = f"at most {images // 2} images at a time (batch_size), or " if images > 1 else ""
        less = f"{fewer}a smaller input_shape"
    return OutOfMemoryError(f"not enough memory for {what}{asked}; use {less}")


@contextmanager
def in_memory(what: str) -> Iterator[None]:
    """Turn running out of memory into an `OutOfMemoryError` that names the work.

    Parameters
    ----------
    what
        As in `lack_of`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemoryError) or not ran_out(error):
            raise
        raise lack_of(what, error) from error


def in_batches(
    net: Net,
    what: str,
    items: Sequence[Item],
    run: Callable[[Sequence[Item], int], Result],
    size: int | None = None,
    splits: bool = True,
) -> Iterator[Result]:
    """Run items in batches, halving the batch size as long as memory runs out.

    The size that fits is remembered for the net, and later calls start with it.

    Parameters
    ----------
    net
        The net that runs them.
    what
        The work, in words: ``"layer 'conv1'"``.
    items
        What to run, in order.
    run
        ``run(some, most)`` runs a batch; `most` is the current batch size.
    size
        The initial batch size; by default, all items.
    splits
        Whether batches may be split; not if their items depend on each other.

    Yields
    ------
    Result
        The result of each batch, in order.

    Raises
    ------
    OutOfMemoryError
        Not even one item fits, or the batch does not fit and may not be split.
    """
    fitting = _fitting.setdefault(net, {})
    size = size or max(1, len(items))
    waiting = deque([items])
    while waiting:
        some = waiting.popleft()
        most = min(size, fitting.get(what, size)) if splits else size
        if len(some) > most:
            cuts = range(0, len(some), most)
            waiting.extendleft(some[first : first + most] for first in reversed(cuts))
            continue
        try:
            result = run(some, most)
        except Exception as error:
            if not ran_out(error):
                raise
            said = in_words(error)
            if most == 1 or not splits:
                raise _too_large(what, len(some), splits, error) from error
        else:
            yield result
            continue
        # Only here is the memory free that the error's traceback kept alive.
        net.ops.release()
        fitting[what] = min(fitting.get(what, size), max(1, most // 2))
        log.warning(
            "%s: a batch of %d images does not fit in memory; continuing with %d (%s)",
            what,
            most,
            fitting[what],
            said,
        )
        waiting.appendleft(some)


def _too_large(what: str, count: int, splits: bool, error: Exception) -> OutOfMemoryError:
    said = str(error) if isinstance(error, OutOfMemoryError) else str(lack_of("it", error))
    if splits:
        return OutOfMemoryError(f"{what}: not even one image fits in memory: {said}")
    return OutOfMemoryError(
        f"{what}: {count} images must be in one batch, because they are compared with each other, "
        f"but do not fit in memory: {said}; {max(1, count // 2)} of them (seeds) need half as much"
    )


def _in_words(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
