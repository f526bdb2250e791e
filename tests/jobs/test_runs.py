"""Runs from Python: saving, loading, and resuming after an interruption."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import small_model
from helpers.results_folder import contents

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ResultsError, SettingsError, UnknownNameError
from deepvis_caffe.image import read_image
from deepvis_caffe.optimizer import optimize as compute

o = dv.objectives
GOAL = o.unit("fc", 1) + 0.5 * o.unit("conv/1", 2, (3, 3)) - o.channel("conv/1", 0)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    path = tmp_path_factory.mktemp("model")
    small_model.write_model(path)
    files = path / "small.prototxt", path / "small.caffemodel"
    return dv.load_net(*files, engine="torch", mean=small_model.MEAN)


def test_it_computes_what_the_optimizer_does(net: Net) -> None:
    ours = dv.optimize(net, "fc", [2, 0], seeds=[5, 6], iterations=5)
    theirs = compute(net, "fc", [2, 0], seeds=[5, 6], iterations=5)
    assert [(run.unit, run.seed) for run in ours] == [(2, 5), (2, 6), (0, 5), (0, 6)]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("what", ["units", "objectives"])
def test_saving_and_a_results_folder_write_the_same_files(
    net: Net, tmp_path: Path, what: str
) -> None:
    layer = "fc" if what == "units" else [GOAL, o.unit("fc", 2), o.unit("fc", 1) * 2]
    units = [2, (0, 1)] if what == "units" else None
    runs = dv.optimize(net, layer, units, seeds=[0, 3], iterations=5)  # type: ignore[arg-type]
    assert runs.save(tmp_path / "saved") == tmp_path / "saved"
    dv.optimize(net, layer, units, seeds=[0, 3], iterations=5, results=tmp_path / "made")  # type: ignore[arg-type]
    saved = contents(tmp_path / "saved")
    assert saved == contents(tmp_path / "made")
    assert sum(name.endswith("_montage.jpg") for name in saved) == (2 if what == "units" else 3)


def test_an_interrupted_run_resumes(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cut off is made anew, what is finished is read, and all is as if undisturbed."""
    arguments = {"seeds": range(4), "iterations": 6, "batch_size": 2}
    dv.optimize(net, GOAL, results=tmp_path / "undisturbed", **arguments)  # type: ignore[arg-type]
    steps: list[int] = []
    cut = dv.optimize(
        net,
        GOAL,
        results=tmp_path / "cut",
        progress=lambda done, total: steps.append(done),
        cancel=lambda: steps[-1] >= 16,  # in the second of two batches
        **arguments,  # type: ignore[arg-type]
    )
    assert [run.stop for run in cut] == ["finished"] * 2 + ["cancelled"] * 2
    assert len(dv.load_runs(net, tmp_path / "cut")) == 2
    again: list[int] = []
    whole = dv.optimize(
        net,
        GOAL,
        results=tmp_path / "cut",
        progress=lambda done, total: again.append(done),
        **arguments,  # type: ignore[arg-type]
    )
    assert again[-1] == 12  # two runs of six steps
    assert [run.seed for run in whole] == [0, 1, 2, 3]
    assert contents(tmp_path / "cut") == contents(tmp_path / "undisturbed")


def test_what_compares_images_is_made_as_a_whole(net: Net, tmp_path: Path) -> None:
    goal = o.unit("fc", 1) + 5 * o.diversity("conv/1")
    runs = dv.optimize(net, goal, seeds=range(3), iterations=4, batch_size=1)
    (first,) = dv.optimize(net, goal, seeds=[0], iterations=4)
    assert np.abs(runs[0].image - first.image).max() > 1e-3  # the others count
    runs.save(tmp_path)
    (tmp_path / "regularized_opt/fc").joinpath(f"fc_{goal.name}_1.json").unlink()
    done: list[int] = []
    dv.optimize(
        net, goal, seeds=range(3), iterations=4, results=tmp_path,
        progress=lambda one, total: done.append(one),
    )  # fmt: skip
    assert done[-1] == 12  # all three, not the missing one alone


def test_runs_are_read_back(net: Net, tmp_path: Path) -> None:
    goal = GOAL.named("ears")
    made = [
        *dv.optimize(net, "fc", [2, (0, 1)], seeds=[0, 1], iterations=5, results=tmp_path),
        *dv.optimize(net, goal, iterations=5, results=tmp_path),
        *dv.optimize(net, "conv/1", [3], iterations=5, results=tmp_path, preset="best"),
    ]
    read = dv.load_runs(net, tmp_path)
    of = {(run.layer, run.unit, run.seed): run for run in read}
    assert len(of) == len(made)
    for run in made:
        one = of[run.layer, run.unit, run.seed]
        for name in ("position", "window", "best_iteration", "stop", "params", "objective_text"):
            assert getattr(one, name) == getattr(run, name), name
        np.testing.assert_allclose(one.activations, run.activations, rtol=1e-6)
        np.testing.assert_array_equal(one.picture(), run.picture())
        x = np.clip(run.image, run.preprocessor.low, run.preprocessor.high)
        assert np.abs(one.image - x).max() < 0.51
        assert (one.first_top is None) == (run.first_top is None)
        assert run.title in one._repr_html_()
    assert [run.layer for run in dv.load_runs(net, tmp_path, "conv/1")] == ["conv/1"]


def fade(x):  # type: ignore[no-untyped-def]
    return x * 0.9


def test_runs_with_functions_and_arrays_resume_and_are_read_back(net: Net, tmp_path: Path) -> None:
    """Of a function and an array the record has a digest: enough to tell whether it is the same."""
    start = np.random.default_rng(0).normal(0, 5, net.preprocessor.shape).astype(np.float32)

    def made(transform: object, start: np.ndarray) -> tuple[list[int], dv.Runs]:
        steps: list[int] = []
        runs = dv.optimize(
            net, "fc", [1], iterations=4, results=tmp_path, start=start, transforms=[transform],
            progress=lambda done, total: steps.append(done),
        )  # fmt: skip
        return steps, runs

    steps, (first,) = made(fade, start)
    assert steps[-1] == 4
    steps, (again,) = made(fade, start.copy())
    assert not steps
    np.testing.assert_array_equal(again.picture(), first.picture())
    assert "fade" in str(again.params.record()["transforms"])
    for other in ((lambda x: x * 0.9, start), (fade, start + 1)):
        assert made(*other)[0][-1] == 4  # they are others
    assert not made(fade, start)[0]


def test_the_record_says_what_was_maximized(net: Net, tmp_path: Path) -> None:
    (run,) = dv.optimize(net, GOAL, iterations=3, results=tmp_path)
    path = tmp_path / "regularized_opt" / "fc" / f"fc_{GOAL.name}_0.json"
    record = json.loads(path.read_text())
    assert record["goal"] == "fc:1 + 0.5*conv/1:2@3,3 - conv/1:0@mean" == run.objective_text
    assert record["recipe"]["objective"] == json.loads(json.dumps(GOAL.record()))
    shown = read_image(path.with_name(path.stem + "_best_Xpm.png"))
    np.testing.assert_array_equal(shown, run.picture())


def test_a_conflict_is_found_before_the_first_step(net: Net, tmp_path: Path) -> None:
    other = dv.load_net(net.model.prototxt, net.model.caffemodel, engine=net.engine, mean=(1, 2, 3))
    dv.optimize(other, "conv/1", [3], iterations=4, results=tmp_path)
    before, steps = contents(tmp_path), []
    goals = [o.unit("fc", 1), o.unit("conv/1", 3)]
    with pytest.raises(SettingsError, match="another net or preprocessing"):
        dv.optimize(
            net, goals, iterations=4, results=tmp_path,
            progress=lambda done, total: steps.append(done),
        )  # fmt: skip
    assert not steps
    with pytest.raises(SettingsError, match="another net or preprocessing"):
        dv.optimize(net, goals, iterations=4).save(tmp_path)
    assert contents(tmp_path) == before
    dv.optimize(net, goals, iterations=4, results=tmp_path, overwrite=True)
    assert [run.layer for run in dv.load_runs(net, tmp_path)] == ["conv/1", "fc"]


def test_runs_by_several_recipes_are_side_by_side(net: Net, tmp_path: Path) -> None:
    """Whoever loads gets the best there is of each unit, or the recipe that they name."""
    made = {
        name: dv.optimize(net, "fc", units, preset=which, iterations=steps, rate=rate)
        for name, which, steps, rate, units in (
            ("preset2-paper", 2, None, "paper", [0, 1]),
            ("preset2-", 2, 3, "auto", [0, 1]),
            ("best", "best", None, "auto", [0]),
        )
    }
    for runs in made.values():
        runs.save(tmp_path)
        time.sleep(0.01)  # the one that was begun last is known by the time
    (own,) = (tmp_path / "regularized_opt").iterdir()
    within = sorted(path.name for path in own.iterdir() if path.is_dir())
    assert [name.rstrip("0123456789abcdef") for name in within] == ["best", "preset2-"]
    named = {"preset2-paper": "preset2-paper", "best": "best", "preset2-": within[1]}
    for name, runs in made.items():
        loaded = dv.load_runs(net, tmp_path, recipe=named[name])
        assert [(run.unit, run.params) for run in loaded] == [
            (run.unit, run.params) for run in runs
        ]
    shown = dv.load_runs(net, tmp_path)
    assert [run.params for run in shown] == [made["best"][0].params, made["preset2-"][1].params]
    with pytest.raises(UnknownNameError, match="no recipe named 'preset1'"):
        dv.load_runs(net, tmp_path, recipe="preset1")


def test_what_cannot_be_saved_or_read(net: Net, tmp_path: Path) -> None:
    runs = dv.optimize(net, "fc", [1], iterations=3, results=tmp_path)
    with pytest.raises(SettingsError, match="a selection"):
        dv.Runs(runs[:1]).save(tmp_path)
    with pytest.raises(ResultsError, match="no results folder"):
        dv.load_runs(net, tmp_path / "nowhere")
    with pytest.raises(UnknownNameError):
        dv.load_runs(net, tmp_path, "nowhere")
    path = tmp_path / "regularized_opt/fc/fc_0001_0.json"
    whole = path.read_text()
    path.write_text(whole.replace('"finished"', "7").replace('"params": {', '"params": {"x": 1,'))
    with pytest.raises(ResultsError, match="cannot be read"):
        dv.load_runs(net, tmp_path)
    path.write_text(whole.replace(net.fingerprint, "another"))
    with pytest.raises(ResultsError, match="another net"):
        dv.load_runs(net, tmp_path)
