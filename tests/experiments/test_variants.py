"""Runs under many sets of parameters: the same as the optimizer's, and none runs twice."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import cluster_work as work
from helpers.results_folder import contents

from deepvis_caffe.cluster import LocalProcesses
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import ResultsError, SettingsError
from deepvis_caffe.experiments.variants import Variants, activation
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.optimizer import AscentParams, GrayLevels, optimize
from deepvis_caffe.optimizer.target_layer import TargetLayer

PLAIN = AscentParams(iterations=4, rate=GrayLevels(4))
SEVERAL = [PLAIN, PLAIN.but(decay=0.2), PLAIN, PLAIN.but(norm_percentile=50, iterations=3)]


def _variants(net: Net, folder: Path, **more: Any) -> Variants:
    job = Job(net, folder)
    target = TargetLayer.of(net, more.pop("layer", "fc"), more.pop("position", "center"))
    return Variants(job, target, **{"units": [2, 0], "seeds": [0, 3], **more})


def test_every_run_is_the_optimizers(net: Net, tmp_path: Path) -> None:
    made = _variants(net, tmp_path)
    stores = made.make(SEVERAL)
    assert stores[0].folder == stores[2].folder
    assert len({store.folder for store in stores}) == 3
    for params in SEVERAL:
        for run in optimize(net, "fc", [0, 2], [0, 3], preset=params):
            record = made.record(params, run.unit, run.seed)
            assert record["params"] == params.record()
            assert record["best_value"] == pytest.approx(run.best_value, rel=1e-5)
            difference = made.picture(params, run.unit, run.seed).astype(int) - run.picture()
            assert np.abs(difference).max() <= 1


def test_nothing_runs_twice(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[tuple[int, int]] = []
    _variants(net, tmp_path).make(SEVERAL, lambda *given: reports.append(given))
    assert reports[-1] == (4 * (4 + 4 + 3), 4 * (4 + 4 + 3))  # one of the four is there twice
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    monkeypatch.setattr(type(net), "evaluate", None)
    again = _variants(net, tmp_path)
    again.make(SEVERAL)
    assert all(again.has_all(params) for params in SEVERAL)


@pytest.mark.slow
def test_an_interruption_costs_what_is_not_finished_and_changes_nothing(
    net: Net, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _variants(net, whole, batch_size=1).make(SEVERAL)
    steps: list[int] = []

    def stop(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 11:  # within the third of the first four runs, of 4 steps each
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _variants(net, broken, batch_size=1).make(SEVERAL, stop)
    left = _variants(net, broken, batch_size=1)
    assert left.missing(PLAIN) == {2: [], 0: [0, 3]}
    reports: list[tuple[int, int]] = []
    left.make(SEVERAL, lambda *given: reports.append(given))
    assert reports[-1] == (44 - 8, 44 - 8)
    assert contents(broken) == contents(whole)


@pytest.mark.process
def test_two_workers_each_get_some_of_a_few_runs(net: Net, tmp_path: Path) -> None:
    """They would fit into one batch, and then one process would do all of it."""
    seeds, meeting = (0, 3, 5), tmp_path / "meeting"
    meeting.mkdir()
    made = _variants(net, tmp_path, units=[2], seeds=seeds)
    make_net = partial(work.meeting_net, net.model.prototxt.parent, meeting, 2)
    job = replace(made.job, where=LocalProcesses(2), make_net=make_net)
    replace(made, job=job).make([PLAIN])
    assert len(list(meeting.iterdir())) == 2
    assert made.has_all(PLAIN)
    for run in optimize(net, "fc", 2, seeds, preset=PLAIN):
        record = made.record(PLAIN, 2, run.seed)
        assert record["best_value"] == pytest.approx(run.best_value, rel=1e-5)


def test_another_net_or_position_shares_nothing(net: Net, tmp_path: Path) -> None:
    folders = {
        _variants(net, tmp_path).store(PLAIN).folder,
        _variants(net, tmp_path, position="all").store(PLAIN).folder,
        _variants(load_net(net.model.prototxt, net.model.caffemodel, engine="torch"), tmp_path)
        .store(PLAIN)
        .folder,
    }
    assert len(folders) == 3


def test_what_a_figure_says_of_a_run() -> None:
    assert activation({"best_value": 23.4567, "stop": "finished"}) == "23.5"
    assert activation({"best_value": -123456.0, "stop": "finished"}) == "-123456"
    assert activation({"best_value": None, "stop": "not finite"}) == "not finite"


def test_titles_and_errors(net: Net, tmp_path: Path) -> None:
    made = _variants(net, tmp_path)
    assert made.title(1) == "fc unit 1, bee"
    assert _variants(net, tmp_path, layer="conv/1").title(4) == "conv/1 unit 4"
    with pytest.raises(SettingsError, match="has no unit 4"):
        _variants(net, tmp_path, units=[4])
    with pytest.raises(ResultsError, match="give the same command again"):
        made.record(PLAIN, 2, 0)
