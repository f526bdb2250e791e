"""Plans of the layers to run, on graphs small enough to draw; no Caffe needed."""

from __future__ import annotations

from dataclasses import replace

from deepvis_caffe.engines.pycaffe.wiring import Node, Wiring, segments

# Blobs by number, layers by name:
#
#   0 - conv - 1 - split -+- 2 - left  - 4 -+- sum - 6 - top - 7
#                         +- 3 - right - 5 -+
LAYERS = [
    Node(0, "data", (), (0,)),
    Node(1, "conv", (0,), (1,)),
    Node(2, "split", (1,), (2, 3)),
    Node(3, "left", (2,), (4,)),
    Node(4, "right", (3,), (5,)),
    Node(5, "sum", (4, 5), (6,)),
    Node(6, "top", (6,), (7,)),
]
WIRING = Wiring(tuple(LAYERS))


def names(nodes: list[Node] | tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


def with_node(index: int, **changes: object) -> Wiring:
    nodes = [replace(n, **changes) if n.index == index else n for n in LAYERS]
    return Wiring(tuple(nodes))


def test_forward_runs_only_what_is_wanted() -> None:
    assert names(WIRING.forward_plan([4], done={0})) == ["conv", "split", "left"]
    assert names(WIRING.forward_plan([6], done={0, 1, 2, 3})) == ["right", "sum"]
    assert names(WIRING.forward_plan([0], done={0})) == []


def test_backward_from_the_top_runs_all() -> None:
    plan = WIRING.backward_plan({7}, {0})
    assert names(plan.nodes) == ["top", "sum", "right", "left", "split", "conv"]
    assert plan.zeros == frozenset()
    assert plan.reached == frozenset(range(8))


def test_backward_from_one_branch_zeroes_the_other() -> None:
    plan = WIRING.backward_plan({4}, {0})
    assert names(plan.nodes) == ["left", "split", "conv"]
    assert plan.zeros == {3}  # the split adds it in
    assert 5 not in plan.reached


def test_backward_stops_at_its_targets() -> None:
    assert names(WIRING.backward_plan({7}, {6}).nodes) == ["top"]
    assert names(WIRING.backward_plan({7}, {2}).nodes) == ["top", "sum", "left"]
    assert names(WIRING.backward_plan({6}, {6}).nodes) == []


def test_backward_reaches_nothing_above_its_seed() -> None:
    plan = WIRING.backward_plan({1}, {7, 6})
    assert plan.nodes == ()
    assert plan.reached == {1}


def test_backward_ends_where_there_is_no_backward_pass() -> None:
    plan = with_node(5, differentiable=False).backward_plan({7}, {0})
    assert plan.nodes == ()
    assert plan.reached == {7}


def test_incomplete_layers_find_zeros() -> None:
    """A layer that leaves a bottom's diff alone must not pass on an old one."""
    assert with_node(5, complete=False).backward_plan({7}, {0}).zeros == {4, 5}


def test_segments_are_runs_of_neighbours() -> None:
    up = [LAYERS[i] for i in (1, 2, 3, 5, 6)]
    assert segments(up) == [(1, 3), (5, 6)]
    assert segments(reversed(up)) == [(6, 5), (3, 1)]
    assert segments([]) == []
