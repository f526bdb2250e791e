"""Running out of memory: said in one error, and the same work in smaller batches.

Libraries say it in many ways. `ran_out` knows them, `in_memory` makes an `OutOfMemoryError` of
each, and `in_batches` halves a batch that does not fit.
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

# torch on a CPU and on a GPU, its libraries, C++, OpenCV
_SAID = re.compile(
    r"can't allocate memory|out of memory|bad_alloc|insufficient memory|failed to allocate"
    r"|_STATUS_ALLOC_FAILED|cannot allocate memory",
    re.IGNORECASE,
)
_SIZE = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)
_UNITS = {"bytes": 0, "kib": 1, "mib": 2, "gib": 3, "tib": 4, "pib": 5, "eib": 6}

# By net and kind of work the most images at a time that are known to fit, once memory ran out.
_fitting: WeakKeyDictionary[Net, dict[str, int]] = WeakKeyDictionary()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError | OutOfMemoryError):
        return True
    return isinstance(error, Exception) and bool(_SAID.search(str(error)))


def lack_of(what: str, error: BaseException, images: int = 0) -> OutOfMemoryError:
    """The error that memory does not suffice for something, and how much was asked for.

    Parameters
    ----------
    what
        For example "the inputs data (8, 3, 227, 227)".
    error
        What a library raised.
    images
        How many images it was for; 0 where that is not known.
    """
    size = _SIZE.search(str(error))
    asked = ""
    if size:
        count = float(size[1]) * 1024 ** _UNITS[size[2].lower()]
        asked = f", where {_in_words(count)} more were asked for"
    less = "a smaller batch_size or input_shape"
    if images:
        fewer = f"at most {images // 2} images at a time (batch_size), or " if images > 1 else ""
        less = f"{fewer}a smaller input_shape"
    return OutOfMemoryError(f"not enough memory for {what}{asked}; take {less}")


@contextmanager
def in_memory(what: str) -> Iterator[None]:
    """Turn running out of memory into an `OutOfMemoryError` that says what was to be done.

    Parameters
    ----------
    what
        As for `lack_of`.
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
    """Run items in batches, which are halved as long as memory runs out.

    What is known to fit is remembered for the net, so that the next ones begin there.

    Parameters
    ----------
    net
        The net that runs them.
    what
        The work, in words: ``"layer 'conv1'"``.
    items
        What to run, in order.
    run
        ``run(some, most)`` runs a batch; `most` is how many a full one has.
    size
        How many a full batch has as long as they fit; by default, all of them.
    splits
        Whether a batch may be cut: not if its items depend on each other.

    Yields
    ------
    Result
        Of each batch, in order.

    Raises
    ------
    OutOfMemoryError
        Not even one item fits, or all of them do not and may not be cut.
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
        # Only here what the error held of the pass is free.
        net.ops.release()
        fitting[what] = min(fitting.get(what, size), max(1, most // 2))
        log.warning(
            "%s: %d images at a time do not fit into memory; going on with %d (%s)",
            what,
            most,
            fitting[what],
            said,
        )
        waiting.appendleft(some)


def _too_large(what: str, count: int, splits: bool, error: Exception) -> OutOfMemoryError:
    said = str(error) if isinstance(error, OutOfMemoryError) else str(lack_of("it", error))
    if splits:
        return OutOfMemoryError(f"{what}: not even one image fits into memory: {said}")
    return OutOfMemoryError(
        f"{what}: {count} images that are compared with each other have to be in one batch, and do "
        f"not fit into memory: {said}; {max(1, count // 2)} of them (seeds) take half as much"
    )


def _in_words(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
