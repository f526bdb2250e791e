"""Which folder has which recipe: names, existing folders, and several processes at once."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.optimizer import AscentParams, ascent_params
from deepvis_caffe.results.layer_files import LayerFolder
from deepvis_caffe.results.recipes import (
    folder_within,
    recipe_folders,
    recipe_name,
    take_folder,
)


def recipe(params: AscentParams, **more: Any) -> dict[str, Any]:
    own = {"net": "00", "params": params.record(), "position": "center", "crop": "auto"}
    return {**own, **more}


BEST, THREE = recipe(ascent_params("best")), recipe(ascent_params(3))


@pytest.mark.parametrize(
    ("params", "name"),
    [
        (ascent_params("best"), "best"),
        (ascent_params(1), "preset1"),
        (ascent_params(4), "preset4"),
        (ascent_params(3, "paper"), "preset3-paper"),
        (ascent_params("best", iterations=20), "best-"),
        (ascent_params(3, decay=0.5, sign=-1), "preset3-"),
        (ascent_params(2, 5.0), "preset2-paper-"),
        (AscentParams(decay=0.3, norm_percentile=20, iterations=300), "preset2-"),
        (AscentParams(total_variation=3, octaves=2, diversity=2, blur_width=9), "changed-"),
    ],
)
def test_names_tell_presets(params: AscentParams, name: str) -> None:
    digest = "[0-9a-f]{6}" if name.endswith("-") else ""
    assert re.fullmatch(name + digest, recipe_name(recipe(params)))


def test_names_are_of_all_that_decides_but_the_net_and_the_objective() -> None:
    assert recipe_name({**BEST, "net": "01", "output_of": "relu1"}) == "best"
    assert recipe_name({**BEST, "objective": {"a": 1}, "position": "all"}) == "best"
    others = [
        {**BEST, "position": "all"},
        {**BEST, "position": [1, 2]},
        {**BEST, "crop": "off"},
        {**BEST, "start": "ab12"},
        {**BEST, "seeds": [0, 1]},
    ]
    names = {recipe_name(one) for one in others}
    assert len(names) == len(others)
    assert all(name.startswith("best-") for name in names)
    # As JSON gives it back, it is the same.
    for one in (BEST, *others):
        assert recipe_name(json.loads(json.dumps(one))) == recipe_name(one)


def test_the_first_has_the_layers_own_folder_and_others_are_within(tmp_path: Path) -> None:
    own = tmp_path / "fc"
    assert folder_within(own, THREE) == ""
    assert not own.exists()
    assert take_folder(own, THREE) == ""
    assert folder_within(own, BEST) == take_folder(own, BEST) == "best"
    assert folder_within(own, THREE) == take_folder(own, THREE) == ""
    assert folder_within(own, {**THREE, "net": "another"}) == ""


def _write(path: Path, content: object = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"" if content is None else json.dumps(content).encode())


@pytest.mark.parametrize(
    "name", ["fc_0001_montage.jpg", "fc_0001_4_best_Xpm.jpg", "whole_layer.jpg"]
)
def test_what_another_program_has_keeps_the_layers_own_folder(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "fc" / name)
    assert take_folder(tmp_path / "fc", BEST) == "best"
    assert [one.name for one in recipe_folders(tmp_path / "fc")] == ["best", "toolbox"]


def test_what_an_earlier_version_has_is_found_there(tmp_path: Path) -> None:
    own = tmp_path / "fc"
    changed = recipe(ascent_params(3, decay=0.5))
    for name, one in (("0001_0", THREE), ("0001_montage", THREE), ("0+2_montage", changed)):
        _write(own / f"fc_{name}.json", {"recipe": one})
    _write(own / "fc_0001_montage.jpg")
    assert folder_within(own, BEST) == "best"
    for one in (THREE, changed):  # in one folder, as that version had them
        assert folder_within(own, one) == take_folder(own, one) == ""
    assert folder_within(own, BEST) == "best"
    assert recipe_folders(own)[0].within == ""


def test_an_unfinished_picture_of_ours_does_not_take_the_folder(tmp_path: Path) -> None:
    _write(tmp_path / "fc/fc_0001_0_best_X.png")
    assert take_folder(tmp_path / "fc", BEST) == ""


@pytest.mark.parametrize("left", ["", '{"recipes": [', '{"recipes": 3}', "\0\0"])
def test_a_mark_that_a_power_cut_left_is_replaced(tmp_path: Path, left: str) -> None:
    own = tmp_path / "fc"
    own.mkdir()
    (own / "recipe.json").write_text(left)
    assert take_folder(own, BEST) == ""
    assert take_folder(own, THREE) == "preset3"


def test_a_folder_with_a_wrong_name_is_not_written_to(tmp_path: Path) -> None:
    own = tmp_path / "fc"
    take_folder(own, THREE)
    take_folder(own / "best", THREE)
    with pytest.raises(ResultsError, match="another recipe than its name says"):
        take_folder(own, BEST)


@pytest.mark.parametrize("links", [True, False])
def test_of_many_processes_one_gets_the_layers_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on file systems without them
        monkeypatch.setattr(os, "link", _no_links)
    several = [recipe(ascent_params("best", iterations=steps)) for steps in range(1, 9)]
    for place in range(20 if links else 5):
        own, together = tmp_path / str(place), threading.Barrier(len(several))
        taken: list[str] = []
        threads = [
            threading.Thread(target=_take_together, args=(together, own, one, taken))
            for one in several
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken)[0] == ""
        assert len(set(taken)) == len(several)
        assert {folder_within(own, one) for one in several} == set(taken)


def _take_together(
    together: threading.Barrier, own: Path, one: dict[str, Any], taken: list[str]
) -> None:
    together.wait()
    taken.append(take_folder(own, one))


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_best_is_shown_first_and_then_what_was_begun_last(tmp_path: Path) -> None:
    own = tmp_path / "fc"
    begun = {"preset1": 30, "preset2": 50, "best": 10, "preset4": 40}
    for name, when in begun.items():
        which = name.removeprefix("preset")
        folder = own / take_folder(
            own, recipe(ascent_params(int(which) if which in "124" else which))
        )
        os.utime(folder / "recipe.json", (when, when))
    _write(own / "moved by hand" / "fc_0001_0_best_X.png")
    names = [one.name for one in recipe_folders(own)]
    assert names == ["best", "preset2", "preset4", "preset1", "moved by hand"]


def test_the_viewers_list_has_one_recipe_for_each_unit(tmp_path: Path) -> None:
    own = tmp_path / "regularized_opt/fc"
    take_folder(own, THREE)
    take_folder(own, BEST)
    take_folder(own, recipe(ascent_params(1)))
    os.utime(own / "recipe.json", (1, 1))
    for name in (
        "fc_0000_0_best_X.png",
        "fc_0001_0_best_X.png",
        "fc_0001_1_best_X.png",
        "whole_layer.jpg",
        "best/fc_0001_0_best_X.png",
        "best/fc_0001_montage.jpg",
        "preset1/fc_0000_7_best_X.png",
        "preset1/fc_0001_7_best_X.png",
    ):
        _write(own / name)
    _write(tmp_path / "max_im/fc/fc_0001.jpg")
    folder = LayerFolder(tmp_path, ["fc"])

    def shown(wanted: str = "") -> list[tuple[str, list[int]]]:
        return [(one.recipe, [*one.runs]) for one in folder.files(wanted).units.values()]

    assert folder.files().recipes == ("best", "preset1", "preset3")
    assert shown() == [("preset1", [7]), ("best", [0])]
    assert shown("preset3") == [("preset3", [0]), ("preset3", [0, 1])]
    assert shown("best") == [("preset1", [7]), ("best", [0])]
    assert shown("no such") == shown()
    assert folder.files().units[1].single.keys() == {"montage", "max_im"}
    assert folder.files("preset3").units[1].single.keys() == {"max_im"}
    assert folder.files().sprite == own / "whole_layer.jpg"
    _write(own / "best/fc_0000_3_best_X.png")  # a change within a recipe's folder is seen
    assert shown() == [("best", [3]), ("best", [0])]
