"""Drivers of the units in a results folder, by the weights of its net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.results_folder import add_run, record
from helpers.small_model import write_model

import deepvis_caffe as dv
from deepvis_caffe.engines.load import load_layers
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.scan import run_scan
from deepvis_caffe.model.model import Model
from deepvis_caffe.results.additions import MOST_DRIVERS, with_drivers
from deepvis_caffe.results.index import read_results
from deepvis_caffe.settings import load_settings


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_layers(load_settings(write_model(tmp_path)), with_weights=True)


def _units(folder: Path, model: Model) -> dict[tuple[str, int], Any]:
    layers = with_drivers(read_results(folder), model).layers
    return {(layer.name, unit.unit): unit.drivers for layer in layers for unit in layer.units}


def test_units_with_weights_have_drivers_and_others_none(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for layer, unit in (("fc", 3), ("fc", 0), ("prob", 1), ("gone", 0), ("fc", 9)):
        add_run(out, layer, record(layer, unit, 0))
    found = _units(out, model)
    assert {key: one is not None for key, one in found.items()} == {
        ("fc", 0): True,
        ("fc", 3): True,
        ("fc", 9): False,
        ("gone", 0): False,
        ("prob", 1): False,
    }
    every = dv.drivers_by_weights(model, "fc", 3, count=None)
    known = found["fc", 3]
    assert known.raising == every.raising[:MOST_DRIVERS]
    assert known.lowering == every.lowering[:MOST_DRIVERS]
    assert not known.has_means


def test_another_net_s_layers_stay_as_they_are(model: Model, tmp_path: Path) -> None:
    other = {"name": "Other", "prototxt": "a.prototxt", "weights": "a.caffemodel"}
    add_run(tmp_path / "out", "fc", record("fc", 3, 0, model=other))
    assert _units(tmp_path / "out", model) == {("fc", 3): None}


def test_the_means_of_the_folder_s_scan_count(model: Model, tmp_path: Path) -> None:
    net = dv.load_net(load_settings(tmp_path / "settings_local.py"))
    rng = np.random.default_rng(0)
    for number in range(3):
        picture = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        dv.write_image(tmp_path / "photos" / f"{number}.png", picture)
    add_run(tmp_path / "out", "fc", record("fc", 3, 0))
    source = dv.open_source(tmp_path / "photos")
    run_scan(Job(net, tmp_path / "out"), source, dv.ScanParams(("conv/1",)))
    known = _units(tmp_path / "out", model)["fc", 3]
    assert known.has_means
    maps = [
        net.forward(net.preprocessor(dv.read_image(path))[None], ["conv/1"])["conv/1"]
        for path in sorted((tmp_path / "photos").iterdir())
    ]
    mean = np.mean(maps, axis=(0, 1, 3, 4))
    assert {one.unit: one.mean for one in known} == pytest.approx(dict(enumerate(mean)), rel=1e-5)
