"""Selects the layers of a file that make up the net: ``(net, stages) -> Selection``.

A file may hold the layers of several nets: those of the phases TRAIN and TEST, and of stages that
its authors defined. ``include`` and ``exclude`` rules distinguish them. We want the net for
inference: phase TEST, and the requested stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from deepvis_caffe.model.schema_pb2 import (
    TEST,
    TRAIN,
    LayerParameter,
    NetParameter,
    NetState,
    NetStateRule,
    Phase,
)

DEPLOY = "deploy"  # the stage of the finished net in NVIDIA DIGITS' files

Kind = Literal["source", "computes", "measures"]


@dataclass(frozen=True)
class Selection:
    """The layers of one net in a file, and all others.

    Attributes
    ----------
    layers, left_out
        Both in the order of the file.
    notes
        Why this net was selected, if not obvious.
    """

    layers: Sequence[LayerParameter]
    left_out: Sequence[LayerParameter]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Questions:
    """Predicates on layers and blobs, to decide whether a net is complete.

    Attributes
    ----------
    kind
        Whether a layer is a source of data, computes something, or only measures.
    is_given
        Whether a blob that no layer writes can be an input.
    """

    kind: Callable[[LayerParameter], Kind]
    is_given: Callable[[str], bool]


def select(net: NetParameter, stages: Sequence[str], ask: Questions) -> Selection:
    """Select the net of a file.

    It is the one for phase TEST, level 0, and the stages of the file's ``state`` and of `stages`.
    If no stage is set and the file has a stage ``deploy`` whose net is complete, it is that one. If
    the net is incomplete but another one in the file is complete, it is that one: of phase TEST
    with a single stage, or otherwise of phase TRAIN.
    """
    asked = tuple(dict.fromkeys([*net.state.stage, *stages]))
    named = _stages_of(net)
    single = [] if asked else [(stage,) for stage in sorted(named, key=lambda s: s != DEPLOY)]
    plain = _net_of(net, TEST, asked, ask)
    staged = [_net_of(net, TEST, stage, ask) for stage in single]
    taken = plain
    if staged and staged[0].stages == (DEPLOY,) and staged[0].is_whole:
        taken = staged[0]
    elif not plain.is_whole:
        trained = [_net_of(net, TRAIN, stage, ask) for stage in (asked, *single)]
        others = [plain, *staged, *trained]
        computing = [one for one in others if one.computes]
        taken = next((one for one in others if one.is_whole), (*computing, plain)[0])
    chosen = set(taken.numbers)
    return Selection(
        layers=[net.layer[i] for i in taken.numbers],
        left_out=[layer for i, layer in enumerate(net.layer) if i not in chosen],
        notes=list(_notes(net, plain, taken, asked, named, ask)),
    )


# -- one net of the file ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Net:
    phase: Phase
    stages: tuple[str, ...]
    numbers: tuple[int, ...]  # indices of its layers in the file
    flaws: tuple[str, ...]
    computes: bool

    @property
    def is_whole(self) -> bool:
        return self.computes and not self.flaws

    @property
    def why_not(self) -> str:
        return self.flaws[0] if self.computes and self.flaws else "no layer computes anything"


def _net_of(net: NetParameter, phase: Phase, stages: tuple[str, ...], ask: Questions) -> _Net:
    state = NetState(phase=phase, stage=stages)
    numbers = tuple(i for i, layer in enumerate(net.layer) if is_included(layer, state))
    kinds = [(net.layer[i], ask.kind(net.layer[i])) for i in numbers]
    computing = [layer for layer, kind in kinds if kind == "computes"]
    sources = [layer for layer, kind in kinds if kind == "source"]
    flaws = tuple(_flaws(sources, computing, ask.is_given))
    return _Net(phase, stages, numbers, flaws, bool(computing))


def _flaws(
    sources: Sequence[LayerParameter],
    computing: Sequence[LayerParameter],
    is_given: Callable[[str], bool],
) -> Iterator[str]:
    """Errors in the net's wiring that Caffe would refuse; sources may be anywhere."""
    writer: dict[str, str] = {}
    for layer in sources:
        for blob in layer.top:
            if blob in writer:
                yield f"layers {writer[blob]!r} and {layer.name!r} both write blob {blob!r}"
            writer[blob] = layer.name
    for layer in computing:
        for blob in dict.fromkeys(layer.bottom):
            if blob not in writer and not is_given(blob):
                yield f"no layer writes blob {blob!r}, which layer {layer.name!r} reads"
                writer[blob] = layer.name  # report it once
        for blob in layer.top:
            if blob in writer and blob not in layer.bottom:
                yield f"layers {writer[blob]!r} and {layer.name!r} both write blob {blob!r}"
            writer[blob] = layer.name


# -- rules -----------------------------------------------------------------------------------------


def is_included(layer: LayerParameter, state: NetState) -> bool:
    """Whether a layer's rules include it in the net for a state, as in Caffe.

    Caffe refuses a layer with both kinds of rules; here such a layer must pass both.
    """
    if layer.include and not any(_meets(state, rule) for rule in layer.include):
        return False
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: NetState, rule: NetStateRule) -> bool:
    stages = set(state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )


def _stages_of(net: NetParameter) -> tuple[str, ...]:
    """The stages that rules name, in order."""
    rules = [rule for layer in net.layer for rule in (*layer.include, *layer.exclude)]
    return tuple(dict.fromkeys(stage for rule in rules for stage in (*rule.stage, *rule.not_stage)))


def _waits_for_a_stage(layer: LayerParameter, phase: Phase) -> bool:
    """Whether a layer is excluded only because its stages are not set."""
    states = [NetState(phase=phase, stage=rule.stage) for rule in layer.include]
    none = NetState(phase=phase)
    return not is_included(layer, none) and any(is_included(layer, state) for state in states)


# -- what to say -----------------------------------------------------------------------------------


def _notes(
    net: NetParameter,
    plain: _Net,
    taken: _Net,
    asked: tuple[str, ...],
    named: tuple[str, ...],
    ask: Questions,
) -> Iterator[str]:
    for stage in asked:
        if stage not in named:
            known = f"; they name {', '.join(named)}" if named else ""
            yield f"stage {stage!r} has no effect: no rule of a layer names it{known}"
    if taken.phase == TRAIN:
        yield f"loaded in phase TRAIN, because in phase TEST {plain.why_not}"
    if asked:
        return
    if taken.stages:
        is_deploy = taken.phase == TEST and taken.stages == (DEPLOY,)
        why = "the deploy net" if is_deploy else f"because without a stage {plain.why_not}"
        yield f"loaded in stage {taken.stages[0]!r}, {why}{_how_to_choose(taken, named)}"
    elif any(
        ask.kind(layer) == "computes" and _waits_for_a_stage(layer, taken.phase)
        for layer in net.layer
    ):
        why = f" ({taken.why_not})" if taken.flaws else ""
        yield (
            f"some of its layers belong to stages, but no stage is set{why}"
            f"{_how_to_choose(taken, named)}"
        )


def _how_to_choose(taken: _Net, named: tuple[str, ...]) -> str:
    others = [stage for stage in named if stage not in taken.stages]
    if not others:
        return ""
    one = others[0]
    return (
        f". Its layers name the stages {', '.join(named)}; choose one, for example with the "
        f"setting stages = ({one!r},), the flag --stages {one}, or in Python stages=({one!r},)"
    )
