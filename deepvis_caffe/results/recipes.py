"""The folders of a layer, one for each recipe: ``(layer's folder, recipe) -> folder``.

The layer's own folder has the images of the first recipe used there, where earlier versions and the
Deep Visualization Toolbox (DVT) keep theirs. Every other recipe has a folder within it::

    regularized_opt/<layer>/            the first recipe, or what was there before
        recipe.json                     that recipe
        preset3/, best-9f2c01/          other recipes, with the same files

So several recipes coexist, and a folder with one recipe looks as it always did. `best` is the
preset of that name, ``preset3`` and ``preset3-paper`` are the paper's with either learning rate,
and ``best-9f2c01`` is the nearest of these with parameters changed by hand.

A folder is found by its recipe, not by its name. The net is not part of that: results of another
net in the same place are a conflict, which `ResultStore.claim` detects.

Readers show the best recipe that a unit has: `best`, or else the most recently begun.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.files import new_text
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, GRAY_LEVELS, PRESETS
from deepvis_caffe.results.layout import RECIPE, record_of
from deepvis_caffe.results.records import Record, as_json, read_record

BEST = "best"
TOOLBOX = "toolbox"  # the name of pictures without records, such as DVT's
CHANGED = "changed"  # the name of parameters that are not near any preset
NOT_IDENTIFYING = ("net", "picture_channels", "objective")  # fields without effect on identity
NEAR = 3  # how many parameters may differ from a preset's


class RecipeFolder(NamedTuple):
    """A folder with the images of one recipe.

    Attributes
    ----------
    name
        The recipe's name.
    path
        The layer's own folder, or one within it.
    within
        Its name within the layer's folder; empty for the layer's own.
    begun
        When its first image was written, in seconds; 0 if not known.
    """

    name: str
    path: Path
    within: str
    begun: float


def identity(recipe: Mapping[str, Any]) -> Record:
    """What distinguishes recipes: all but the net, its input, and the objective (in file names)."""
    known: Record = as_json({k: v for k, v in recipe.items() if k not in NOT_IDENTIFYING})
    if "objective" in recipe:
        known["position"] = "center"  # the objective has its own positions
    return known


def recipe_name(recipe: Mapping[str, Any]) -> str:
    """A short name for a recipe and its folder: ``best``, ``preset3-paper``, ``best-9f2c01``."""
    known = identity(recipe)
    params = known.get("params")
    params = params if isinstance(params, dict) else {}
    usual = known.get("position") == "center" and known.get("crop", "auto") == "auto"
    if usual and not {"start", "seeds"} & known.keys():
        for name, own in _presets().items():
            if own == params:
                return name
    differing = {
        name: sum(own.get(key) != params.get(key) for key in {*own, *params})
        for name, own in _presets().items()
    }
    nearest = min(differing, key=differing.__getitem__)
    digest = hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=3).hexdigest()
    return f"{nearest if differing[nearest] <= NEAR else CHANGED}-{digest}"


def folder_within(own: Path, recipe: Mapping[str, Any]) -> str:
    """Where in a layer's folder the images of a recipe are, or will be written.

    Parameters
    ----------
    own
        The layer's folder; it need not exist.

    Returns
    -------
    str
        The name of a folder within it; empty for the layer's own.
    """
    marked = _marked(own)
    if marked is not None:
        return "" if identity(recipe) in marked else recipe_name(recipe)
    recorded = list(_recipes_in(own))
    if identity(recipe) in recorded or not (recorded or _has_foreign_pictures(own)):
        return ""
    return recipe_name(recipe)


def take_folder(own: Path, recipe: Mapping[str, Any]) -> str:
    """Like `folder_within`, and claim that folder for this recipe, safely between processes.

    Raises
    ------
    ResultsError
        It cannot be written, or the folder of that name holds another recipe.
    """
    known = identity(recipe)
    while True:  # repeated if another process came first
        within = folder_within(own, recipe)
        marked = _marked(own / within)
        if marked is not None and known in marked:
            return within
        if marked is not None and within:
            raise ResultsError(
                f"{own / within} holds images of another recipe than its name says; move it away"
            )
        if marked is None:
            others = () if within else _recipes_in(own)
            recipes = [known, *(other for other in others if other != known)]
            if _mark(own / within, recipes):
                return within


def recipe_folders(own: Path) -> list[RecipeFolder]:
    """A layer's folder and those within it, in the order in which recipes are shown.

    Any of them may be empty or missing.
    """
    first = next(iter(_marked(own) or _recipes_in(own)), None)
    name = TOOLBOX if first is None else recipe_name(first)
    found = [RecipeFolder(name, own, "", _begun(own))]
    with suppress(OSError), os.scandir(own) as entries:
        found += [
            RecipeFolder(entry.name, own / entry.name, entry.name, _begun(own / entry.name))
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        ]
    return sorted(found, key=rank)


def rank(folder: RecipeFolder) -> tuple[bool, float, str]:
    """A sort key for the order in which recipes are shown: preset best, then the latest begun."""
    return folder.name != BEST, -folder.begun, folder.name


# -- parts -------------------------------------------------------------------------------------


@cache
def _presets() -> dict[str, Record]:
    """The named sets of parameters, in JSON's types."""
    named: dict[str, Record] = {}
    for which, params in PRESETS.items():
        if which in GRAY_LEVELS:
            levels = params.but(rate=GRAY_LEVELS[which], iterations=GRAY_LEVEL_STEPS)
            named[f"preset{which}"] = as_json(levels.record())
            named[f"preset{which}-paper"] = as_json(params.record())
        else:
            named[str(which)] = as_json(params.record())
    return named


def _marked(folder: Path) -> list[Record] | None:
    """The recipes that a folder is marked with; None if it is not marked."""
    listed = (read_record(folder / RECIPE) or {}).get("recipes")
    known = [_identity(recipe) for recipe in listed] if isinstance(listed, list) else []
    return [recipe for recipe in known if recipe is not None] or None


def _identity(recipe: Any) -> Record | None:
    """The `identity` of a value from a file; None if it is not a recipe."""
    with suppress(RecursionError):
        return identity(recipe) if isinstance(recipe, dict) else None
    return None


def _mark(folder: Path, recipes: list[Record]) -> bool:
    """Mark a folder with these recipes; return False if another process came first."""
    path = folder / RECIPE
    try:
        if path.exists() and _marked(folder) is None:  # damaged, as by a power cut
            path.unlink(missing_ok=True)
        new_text(path, json.dumps({"recipes": recipes}) + "\n")
    except FileExistsError:
        return False
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error
    return True


def _begun(folder: Path) -> float:
    with suppress(OSError):
        return (folder / RECIPE).stat().st_mtime
    return 0.0


def _recipes_in(own: Path) -> Iterator[Record]:
    """The distinct recipes in a folder of an earlier version, from its records."""
    names = sorted(name for name in _names(own) if name.endswith(".json") and name != RECIPE)
    montages = [name for name in names if name.endswith(("_montage.json", "whole_layer.json"))]
    seen: list[Record] = []
    for some in (montages, names):  # montages first: runs have longer records, and more of them
        for name in some:
            known = _identity((read_record(own / name) or {}).get("recipe"))
            if known is not None and known not in seen:
                seen.append(known)
                yield known
        if seen:
            return


def _has_foreign_pictures(own: Path) -> bool:
    """Whether another program made pictures; ours have records, or are unfinished PNGs."""
    names = set(_names(own))
    return any(n.endswith(".jpg") and record_of(Path(n)).name not in names for n in names)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []
