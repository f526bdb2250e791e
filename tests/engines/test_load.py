"""Choosing an engine where not all of them are there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deepvis_caffe.engines import load
from deepvis_caffe.engines.load import choose_engine, load_net
from deepvis_caffe.engines.pycaffe.library import import_caffe
from deepvis_caffe.errors import EngineError, ModelError, SettingsError, UnknownNameError
from deepvis_caffe.settings import Settings


@pytest.fixture
def no_caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caffe", None)  # an import of it fails


def test_auto_takes_torch_where_there_is_no_caffe(no_caffe: None) -> None:
    assert choose_engine("auto") == "torch"


def test_no_engine_at_all_says_how_to_get_one(
    no_caffe: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'deepvis_caffe\[torch\]'.*make pycaffe"):
        choose_engine("auto")


def test_forced_pycaffe_that_is_missing(no_caffe: None) -> None:
    with pytest.raises(EngineError, match="make pycaffe"):
        import_caffe()


def test_another_module_called_caffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of that name on the path is enough to be imported."""
    (tmp_path / "caffe").mkdir()
    monkeypatch.delitem(sys.modules, "caffe", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(EngineError, match=r"is not Caffe: it has no Net"):
        import_caffe()


def test_unknown_engine() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'torch'"):
        choose_engine("troch")


def test_settings_without_a_prototxt() -> None:
    with pytest.raises(SettingsError, match="prototxt"):
        load_net(Settings())


def test_first_input_that_holds_no_images(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 dim: 5 } } } "
        'layer { name: "x" type: "ReLU" bottom: "data" top: "x" }'
    )
    with pytest.raises(ModelError, match=r"'data'.*\(1, 2, 3, 4, 5\).*\(N, C, H, W\)"):
        load_net(path, None, "torch")
