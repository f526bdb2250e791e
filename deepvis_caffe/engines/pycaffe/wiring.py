"""Which of Caffe's layers run: ``(what is wanted, what is there) -> segments of layer numbers``.

Caffe's own graph is simple: it inserts a Split wherever a blob has several readers, so every blob
is read by one layer at most, and a diff is written by one layer. With every writing of a blob under
its own name (see `surgery`), a blob also has one writer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Node:
    """One layer of a `caffe.Net`.

    Attributes
    ----------
    index
        Its number in the net.
    name
        Its name; a Split that Caffe inserted has one of Caffe's making.
    bottoms, tops
        Numbers of the blobs that it reads and writes.
    differentiable
        Whether it has a backward pass; without one, Caffe would abort.
    complete
        Whether its backward pass writes the diff of every bottom.
    """

    index: int
    name: str
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    differentiable: bool = True
    complete: bool = True


@dataclass(frozen=True)
class BackwardPlan:
    """A backward pass.

    Attributes
    ----------
    nodes
        The layers that run, top to bottom.
    zeros
        Blobs whose diff must be zero before: what the layers read or leave, and none of them
        writes.
    reached
        Blobs that have a diff after it.
    """

    nodes: tuple[Node, ...]
    zeros: frozenset[int]
    reached: frozenset[int]


@dataclass(frozen=True)
class Wiring:
    """The layers of a `caffe.Net` in order."""

    nodes: tuple[Node, ...]

    @cached_property
    def writer(self) -> dict[int, Node]:
        """The layer that writes each blob."""
        return {top: node for node in self.nodes for top in node.tops}

    def forward_plan(self, blobs: Iterable[int], done: Collection[int]) -> list[Node]:
        """The layers that must run to fill `blobs`, where the layers `done` have run already."""
        wanted = [blob for blob in blobs if blob in self.writer]
        found: dict[int, Node] = {}
        while wanted:
            node = self.writer[wanted.pop()]
            if node.index not in found and node.index not in done:
                found[node.index] = node
                wanted += [blob for blob in node.bottoms if blob in self.writer]
        return [found[index] for index in sorted(found)]

    def backward_plan(
        self, starts: Collection[int], targets: Collection[int], held: Collection[int] = ()
    ) -> BackwardPlan:
        """The layers that carry diffs from `starts` to `targets`, and no others.

        Parameters
        ----------
        held
            Blobs whose diff goes no further down.
        """
        leading = set(targets)
        for node in self.nodes:
            if node.differentiable and leading.intersection(node.bottoms):
                leading.update(node.tops)
        running: list[Node] = []
        written = set(starts)
        for node in reversed(self.nodes):
            if (
                node.differentiable
                and written.intersection(node.tops).difference(held)
                and leading.intersection(node.bottoms)
            ):
                running.append(node)
                written.update(node.bottoms)
        zeros = {top for node in running for top in node.tops} - written
        zeros.update(blob for node in running if not node.complete for blob in node.bottoms)
        return BackwardPlan(tuple(running), frozenset(zeros), frozenset(written))


def segments(nodes: Iterable[Node]) -> list[tuple[int, int]]:
    """Runs of neighbouring layers as (first, last), in the order given, up or down."""
    runs: list[tuple[int, int]] = []
    for node in nodes:
        if runs and abs(node.index - runs[-1][1]) == 1:
            runs[-1] = (runs[-1][0], node.index)
        else:
            runs.append((node.index, node.index))
    return runs
