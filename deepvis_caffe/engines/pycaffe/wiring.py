"""Which of Caffe's layers run: ``(wanted, available) -> segments of layer indices``.

Caffe's own graph is simple: it inserts a Split wherever a blob has several readers, so that at most
one layer reads a blob, and one layer writes its diff. As each version of a blob has a name of its
own (see `surgery`), a blob also has one writer.
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
        Its index in the net.
    name
        Its name; Caffe names the Splits that it inserts.
    bottoms, tops
        Indices of the blobs that it reads and writes.
    differentiable
        Whether it has a backward pass; if not, Caffe would abort.
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
        The layers to run, top to bottom.
    zeros
        Blobs whose diff must be zeroed before: those that the layers read or leave unwritten.
    reached
        Blobs that have a diff afterwards.
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
        """The layers that must run to fill `blobs`, given that the layers `done` have run."""
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
        """The layers that propagate diffs from `starts` to `targets`, and no others.

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
    """Runs of consecutive layers as (first, last), in the given order, up or down."""
    runs: list[tuple[int, int]] = []
    for node in nodes:
        if runs and abs(node.index - runs[-1][1]) == 1:
            runs[-1] = (runs[-1][0], node.index)
        else:
            runs.append((node.index, node.index))
    return runs
