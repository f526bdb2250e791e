"""Labels of units: where they come from, whose they are, and units by name in every call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import small_model

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import Picture

LABELS = small_model.LABELS  # ant; bee, honey bee; cat; dog


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small_model.write_model(folder)
    return folder


@pytest.fixture
def net(folder: Path, engine: str) -> Net:
    return load(folder, engine, LABELS)


def load(folder: Path, engine: str, labels: object) -> Net:
    files = folder / "small.prototxt", folder / "small.caffemodel"
    return dv.load_net(*files, engine=engine, mean=small_model.MEAN, labels=labels)


def test_labels_are_of_the_classes_alone(net: Net) -> None:
    for layer in ("fc", "prob"):
        assert [net.label(layer, unit) for unit in range(5)] == [*LABELS, None]
    assert [net.label("conv/1", unit) for unit in range(4)] == [None] * 4
    assert net.label("fc", "0+1") is None  # a sum's name


def test_from_a_file_from_settings_and_none(folder: Path) -> None:
    assert load(folder, "torch", folder / "labels.txt").labels == LABELS
    assert load(folder, "torch", str(folder / "labels.txt")).labels == LABELS
    assert dv.load_net(dv.load_settings(folder / "settings_local.py")).labels == LABELS
    assert load(folder, "torch", None).labels == ()
    assert load(folder, "torch", ["ant", "", "bee", "cat", "dog"]).labels == (
        *("ant", "bee", "cat", "dog"),
    )
    with pytest.raises(dv.SettingsError, match=r"cannot read the labels .*gone\.txt"):
        load(folder, "torch", "gone.txt")
    with pytest.raises(dv.SettingsError, match="one per unit; got 3"):
        load(folder, "torch", [3])


def test_labels_do_not_make_another_net(folder: Path, net: Net) -> None:
    assert load(folder, net.engine, None).fingerprint == net.fingerprint


def test_labels_that_fit_no_output_belong_to_none(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = load(folder, "torch", ["a", "b", "c", "d", "e"])  # as many as conv/1 has units
    assert "no output has as many units as labels has names (5)" in caplog.text
    assert net.label("fc", 0) is None
    assert net.label("conv/1", 0) is None


def test_a_function_alone_is_not_an_objective(net: Net) -> None:
    with pytest.raises(dv.SettingsError, match=r"which layers it reads: pass objectives\.function"):
        dv.optimize(net, lambda fc: fc[:, 0])


@pytest.mark.parametrize(
    ("label", "unit"),
    [("ant", 0), ("Bee", 1), ("honey bee", 1), (" HONEY BEE ", 1), ("bee, honey bee", 1)],
)
def test_a_unit_by_its_name(net: Net, label: str, unit: int) -> None:
    assert net.unit("fc", label) == unit


def test_names_that_mean_no_unit(folder: Path, net: Net) -> None:
    for name in ("be", ""):
        with pytest.raises(dv.UnknownNameError, match="no label named"):
            net.unit("fc", name)
    with pytest.raises(dv.UnknownNameError, match="fc9"):
        net.unit("fc9", "ant")
    with pytest.raises(dv.SettingsError, match="not the net's classes"):
        net.unit("conv/1", "ant")
    with pytest.raises(dv.SettingsError, match="load_net got no labels"):
        load(folder, "torch", None).unit("fc", "ant")
    cranes = load(folder, "torch", ["crane, bird", "crane", "crane", "bird, crow"])
    with pytest.raises(dv.SettingsError, match=r"several units of 'fc': 1 \(crane\), 2 \(crane\)"):
        cranes.unit("fc", "crane")
    assert cranes.unit("fc", "bird") == 3  # a first name comes before a second one


def test_every_call_takes_a_name(net: Net) -> None:
    picture: Picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    how = {"iterations": 2}
    named = dv.optimize(net, "fc", ["honey bee", ("cat", 0)], **how)
    numbered = dv.optimize(net, "fc", [1, (2, 0)], **how)
    assert [run.unit for run in named] == [run.unit for run in numbered] == [1, "2+0"]
    assert [run.label for run in named] == [LABELS[1], None]
    np.testing.assert_array_equal(named[0].image, numbered[0].image)
    assert "fc unit 1 (bee)" in named[0]._repr_html_()
    o = dv.objectives
    for goal, same in (
        (o.unit("fc", "cat"), o.unit("fc", 2)),
        (o.unit("fc", ["cat", "ant"]), o.unit("fc", [2, 0])),
        (o.channel("fc", "dog") - o.unit("conv/1", 1), o.channel("fc", 3) - o.unit("conv/1", 1)),
        (o.log_probability("fc", "bee"), o.log_probability("fc", 1)),
    ):
        one, other = (dv.optimize(net, each, **how)[0] for each in (goal, same))
        np.testing.assert_array_equal(one.image, other.image)
        if goal.plain:
            assert one.unit == other.unit
    found = dv.attribute(net, picture, "fc", "cat")
    np.testing.assert_array_equal(found.map, dv.attribute(net, picture, "fc", 2).map)
    assert (found.unit, found.label) == (2, "cat")
    below = dv.drivers(net, picture, "fc", "dog")
    assert below.record() == dv.drivers(net, picture, "fc", 3).record()
    assert "fc unit 3 (dog)" in below._repr_html_()
    assert dv.drivers_by_weights(net, "fc", "dog").record() == (
        dv.drivers_by_weights(net, "fc", 3).record()
    )


def test_python_takes_what_the_command_line_takes(folder: Path) -> None:
    net = load(folder, "torch", LABELS)
    assert net.units("fc", "0-1,3+2") == [0, 1, (3, 2)]
    assert net.units("conv/1", "all") == [0, 1, 2, 3, 4]
    given = {"iterations": 1, "rate": "paper"}
    for text, listed in (
        ("0-1", [0, 1]),
        (["2+3-3", "1"], [(2, 3), 1]),
        ([("0", "2-3")], [(0, 2, 3)]),
        ("layer", ["layer"]),
    ):
        by_text = dv.optimize(net, "fc", text, **given)
        by_number = dv.optimize(net, "fc", listed, **given)
        assert [one.unit for one in by_text] == [one.unit for one in by_number]
        for mine, theirs in zip(by_text, by_number, strict=True):
            np.testing.assert_array_equal(mine.image, theirs.image)


def test_a_label_that_is_a_number_is_that_unit_in_python(folder: Path) -> None:
    net = load(folder, "torch", ("1", "2", "3", "four"))
    assert net.unit("fc", "2") == 1
    assert net.units("fc", "2") == [1]
    assert net.unit("fc", "0") == 0  # no label
    assert net.unit("conv/1", "2") == 2  # no labels


def test_a_text_that_means_several_units_is_not_a_single_target(folder: Path) -> None:
    net = load(folder, "torch", LABELS)
    with pytest.raises(dv.SettingsError, match=r"'0-1' means 2 units of layer 'fc'"):
        dv.optimize(net, dv.objectives.unit("fc", "0-1"), iterations=1)
