"""The search for a unit by part of its label, or by its number."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache

from deepvis_caffe.viewer.state.actions import select_layer, select_unit
from deepvis_caffe.viewer.state.catalogue import unit_label
from deepvis_caffe.viewer.state.state import Scene, State, UnitRef

MOST = 12  # matches listed
LONGEST = 60  # characters of a query
NOTHING_LABELLED = "this net has no labels: type a unit's number"


@dataclass(frozen=True)
class Match:
    """A matching unit.

    Attributes
    ----------
    ref
        Its layer and its number.
    name
        The layer's name, the unit's number and its full label.
    """

    ref: UnitRef
    name: str


def matches(state: State, scene: Scene) -> tuple[Match, ...]:
    """The units that match the query, best match first.

    A number matches that unit of the selected layer, which comes first. Words match the units whose
    label contains all of them. These are ranked by where the whole query occurs: as one of the
    label's comma-separated names, as whole words, at the start of the label, at the start of a
    word, or anywhere else. The labels are those of the selected layer, or else of the last labelled
    layer.
    """
    query = _plain(state.search or "")
    found: list[tuple[int, UnitRef]] = []
    if query.isdecimal() and int(query) < scene.entries[state.layer].units:
        found.append((-1, (state.layer, int(query))))
    layer = labelled_layer(state, scene)
    if layer is not None and query:
        for unit in range(scene.entries[layer].units):
            label = _plain(unit_label(scene.labels, scene.entries[layer], unit) or "")
            rank = _rank(label, query)
            if rank is not None and (-1, (layer, unit)) not in found:
                found.append((rank, (layer, unit)))
    return tuple(Match(ref, _name(scene, ref)) for _, ref in sorted(found)[:MOST])


def labelled_layer(state: State, scene: Scene) -> int | None:
    """The layer whose labels are searched; None if no layer has labels."""
    labelled = [
        index
        for index, entry in enumerate(scene.entries)
        if entry.classes
        and any(unit_label(scene.labels, entry, unit) for unit in range(entry.units))
    ]
    if state.layer in labelled:
        return state.layer
    return labelled[-1] if labelled else None


def type_key(state: State, scene: Scene, key: str) -> State:
    """Handle a key while the search is open."""
    query = state.search or ""
    if key == "esc" or (key == "backspace" and not query):
        return replace(state, search=None)
    if key == "enter":
        return choose(state, scene, state.match)
    if key in ("up", "down"):
        count = len(matches(state, scene))
        step = 1 if key == "down" else -1
        return replace(state, match=max(0, min(state.match + step, count - 1)))
    if key == "backspace":
        return replace(state, search=query[:-1], match=0)
    letter = " " if key == "space" else key
    if len(letter) > 1 or len(query) >= LONGEST:
        return state
    return replace(state, search=query + letter, match=0)


def choose(state: State, scene: Scene, index: int) -> State:
    """Select a match by its index and close the search; -1 only closes it."""
    found = matches(state, scene)
    state = replace(state, search=None, match=0)
    if not 0 <= index < len(found):
        return state
    layer, unit = found[index].ref
    chosen = select_unit(select_layer(state, scene, layer), scene, unit)
    return replace(chosen, cursor="units")


def _rank(label: str, query: str) -> int | None:
    """The rank of a match, 0 is best; None if the label does not match."""
    if not all(word in label for word in query.split()):
        return None
    words = " ".join(["", *re.split(r"\W+", label), ""])
    fits = (
        query in [name.strip() for name in label.split(",")],
        f" {query} " in words,
        label.startswith(query),
        f" {query}" in words,
        True,
    )
    return fits.index(True)


def _name(scene: Scene, ref: UnitRef) -> str:
    entry = scene.entries[ref[0]]
    label = unit_label(scene.labels, entry, ref[1])
    return f"{entry.name} {ref[1]}" + (f"   {label}" if label and label != str(ref[1]) else "")


@lru_cache(maxsize=1 << 16)
def _plain(text: str) -> str:
    """The text in lower case, without accents."""
    parts = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(one for one in parts if not unicodedata.combining(one))
