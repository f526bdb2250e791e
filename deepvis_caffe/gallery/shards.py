"""Ascents as tasks that any process can run: ``(net, shards, where) -> (shard, results), ...``.

Only numbers travel: which units and seeds one way, images and histories the other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deepvis_caffe.cluster import LocalProcesses, Serial, Where, run_tasks
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.fingerprint import fingerprint, same_net
from deepvis_caffe.errors import ClusterError
from deepvis_caffe.optimizer import AscentParams, AscentResult, Position, optimize
from deepvis_caffe.optimizer.run import Crop
from deepvis_caffe.optimizer.targets import Target, name_of

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shard:
    """Some units of a layer, some seeds of each, and what is to be done with them.

    Attributes
    ----------
    layer, targets, seeds, params, position, crop
        As for `deepvis_caffe.optimizer.optimize`; all images of a shard run as one batch.
    """

    layer: str
    targets: tuple[Target, ...]
    seeds: tuple[int, ...]
    params: AscentParams
    position: Position = "center"
    crop: Crop = "auto"

    @property
    def images(self) -> int:
        """How many images run side by side."""
        return len(self.targets) * len(self.seeds)

    @property
    def steps(self) -> int:
        """Image steps in all."""
        return self.images * self.params.iterations

    def __str__(self) -> str:
        names = [name_of(target) for target in self.targets]
        units, seeds = (",".join(map(str, some)) for some in (names, self.seeds))
        return f"{self.layer}, units {units}, seeds {seeds}"


def run_shards(
    net: Net,
    shards: Sequence[Shard],
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
    progress: Progress | None = None,
) -> Generator[tuple[Shard, list[AscentResult]], None, None]:
    """Run every shard, and yield what it found as soon as it is there.

    Parameters
    ----------
    net
        Runs the shards where `where` is `Serial`. Elsewhere processes make nets of their own, and
        make sure that those are the same.
    where
        See `deepvis_caffe.cluster`.
    make_net
        Makes such a net in another process; picklable, see
        `deepvis_caffe.gallery.elsewhere.net_maker`.
    progress
        Called with the image steps that are done and that there are to do.

    Yields
    ------
    tuple of Shard and list of AscentResult
        In the order in which they are ready.

    Raises
    ------
    ModelError
        A worker's net is not the one that is here.
    ClusterError, Exception
        As `deepvis_caffe.cluster.run_tasks`.
    """
    make_state: Callable[[], Net]
    if isinstance(where, Serial):
        make_state = partial(_itself, net)
    elif make_net is None:
        raise ClusterError("other processes need a net of their own: give make_net")
    else:
        make_state = partial(same_net, make_net, fingerprint(net))
    meter = _Meter([shard.steps for shard in shards], progress)
    with closing(run_tasks(make_state, _run, shards, where, meter.heard)) as found:
        for index, results in found:
            meter.heard(index, shards[index].steps)
            yield shards[index], [_with_preprocessor(net, result) for result in results]


def fair_batch(images: int, most: int, where: Where) -> int:
    """A batch size, `most` or less, of which every local process gets one.

    Parameters
    ----------
    images
        How many there are to share.
    """
    if not isinstance(where, LocalProcesses):
        return most
    return max(1, min(most, -(-images // where.count)))


def _run(net: Net, shard: Shard, tell: Callable[[Any], None]) -> list[AscentResult]:
    results = optimize(
        net,
        shard.layer,
        shard.targets,
        shard.seeds,
        preset=shard.params,
        position=shard.position,
        crop=shard.crop,
        batch_size=shard.images,
        progress=lambda done, total: tell(done),
    )
    # The preprocessor is as large as two images, and whoever asks has its own.
    return [replace(result, preprocessor=None) for result in results]  # type: ignore[arg-type]


def _with_preprocessor(net: Net, result: AscentResult) -> AscentResult:
    own = net.preprocessor
    if result.window:
        top, left, bottom, right = result.window
        own = own.cut(slice(top, bottom), slice(left, right))
    return replace(result, preprocessor=own)


def _itself(net: Net) -> Net:
    return net


class _Meter:
    """Adds up what shards tell; one that begins again on another process does not count back."""

    def __init__(self, steps: Sequence[int], progress: Progress | None) -> None:
        self._total, self._progress = sum(steps), progress
        self._done = [0] * len(steps)

    def heard(self, index: int, done: int) -> None:
        if done > self._done[index]:
            self._done[index] = done
            if self._progress:
                self._progress(sum(self._done), self._total)
