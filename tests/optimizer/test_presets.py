"""A user's presets: saving and loading, and errors that name the file and entry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer import (
    PRESETS,
    AscentParams,
    Constant,
    GrayLevels,
    Progress,
    Progress01,
)
from deepvis_caffe.optimizer.params import in_words
from deepvis_caffe.optimizer.presets import (
    find_preset,
    params_from_record,
    read_presets,
    save_preset,
)
from deepvis_caffe.optimizer.run import ascent_params

CRISP = AscentParams(decay=0.01, blur_width=0.7, blur_every=3, rate=GrayLevels(5), iterations=77)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presets.json"


def _error(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SettingsError) as caught:
        read_presets(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "rate", [Constant(3), GrayLevels(5), Progress(100, 2), Progress01(9, 0.5, 0.25)]
)
def test_parameters_come_back_from_their_record(rate: object) -> None:
    params = AscentParams(
        **dict.fromkeys(("decay", "blur_width"), 0.5),
        blur_every=2,
        value_percentile=1,
        norm_percentile=2,
        benefit_percentile=3,
        contribution_percentile=4.5,
        rate=rate,  # type: ignore[arg-type]
        iterations=12,
        start="uniform",
        sign=-1,
    )
    assert params_from_record(json.loads(json.dumps(params.record()))) == params


def test_a_saved_preset_is_found_and_keeps_the_others(path: Path) -> None:
    assert read_presets(path) == {}
    save_preset(path, "first", AscentParams(decay=0.1))
    save_preset(path, "crisp", CRISP)
    assert read_presets(path) == {"first": AscentParams(decay=0.1), "crisp": CRISP}
    assert find_preset("crisp", path) == CRISP
    assert find_preset(3, path) == 3
    # `optimize` then runs with it as it is, its rate and number of steps too
    assert ascent_params(find_preset("crisp", path)) == CRISP


def test_what_is_left_out_has_its_default(path: Path) -> None:
    path.write_text('{"small": {"norm_percentile": 5}}')
    assert read_presets(path) == {"small": AscentParams(norm_percentile=5)}


def test_an_unknown_name_lists_all_that_there_are(path: Path) -> None:
    save_preset(path, "crisp", CRISP)
    with pytest.raises(UnknownNameError) as caught:
        find_preset("crips", path)
    message = str(caught.value)
    assert "no preset named 'crips'" in message
    assert "did you mean 'crisp'" in message
    for name in (*map(str, PRESETS), "crisp", str(path)):
        assert name in message


def test_a_built_in_name_needs_no_file_and_cannot_be_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "deepvis_caffe.optimizer.presets.PRESETS", {**PRESETS, "ours": AscentParams()}
    )
    path.write_text("not JSON")
    assert find_preset("ours", path) == "ours"
    with pytest.raises(SettingsError, match="built-in preset"):
        save_preset(path, "ours", CRISP)


def test_another_preset_of_that_name_is_lost_only_on_request(path: Path) -> None:
    save_preset(path, "crisp", CRISP)
    save_preset(path, "crisp", CRISP)  # the same: nothing is lost
    before = path.read_bytes()
    with pytest.raises(SettingsError, match=r"another preset named 'crisp'.*--overwrite"):
        save_preset(path, "crisp", CRISP.but(decay=0.5))
    assert path.read_bytes() == before
    save_preset(path, "crisp", CRISP.but(decay=0.5), overwrite=True)
    assert read_presets(path)["crisp"].decay == 0.5


@pytest.mark.parametrize("name", ["", "3", "a b", "None", "all", "-x", "a/b"])
def test_names_that_a_flag_could_not_say(path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="invalid preset name"):
        save_preset(path, name, CRISP)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "are not valid JSON"),
        ([1], "must be an object"),
        ({"a": 3}, "preset 'a': expected an object of parameters, got 3"),
        ({"a": {"decai": 0.1}}, "preset 'a': no ascent parameter named 'decai'"),
        ({"a": {"decay": "0.1"}}, "preset 'a': decay cannot be '0.1'"),
        ({"a": {"decay": True}}, "decay cannot be True"),
        ({"a": {"iterations": 2.5}}, "iterations cannot be 2.5"),
        ({"a": {"decay": 1.5}}, "decay must be a fraction"),
        ({"a": {"start": "nosie"}}, "did you mean 'noise'"),
        ({"a": {"rate": 3}}, "rate must be an object"),
        ({"a": {"rate": {"type": "Constatn", "lr": 1}}}, "did you mean 'Constant'"),
        ({"a": {"rate": {"type": "Constant"}}}, "rate Constant takes lr"),
        ({"a": {"rate": {"type": "Constant", "lr": 1, "x": 2}}}, "no parameter of Constant"),
        ({"a": {"rate": {"type": "Constant", "lr": "1"}}}, "lr of Constant cannot be '1'"),
        ({"a": {"rate": {"type": "Constant", "lr": -1}}}, "must be a positive number"),
    ],
)
def test_a_file_that_is_not_right(path: Path, content: object, message: str) -> None:
    said = _error(path, content)
    assert str(path) in said
    assert message in said
    with pytest.raises(SettingsError):  # and nothing is added to it
        save_preset(path, "crisp", CRISP)


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the presets"):
        read_presets(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot (read|write)"):
        save_preset(tmp_path / "file" / "presets.json", "crisp", CRISP)


def test_parameters_as_text() -> None:
    assert in_words(CRISP, rate=True) == ("decay 0.01, blur 0.7 px every 3; 5 gray levels a step")
    assert in_words(AscentParams()) == "no regularization"
    assert in_words(PRESETS[4]) == "blur 0.5 px every 4, clips contributions under 90%"
    assert in_words(AscentParams(decay=0.5, sign=-1)) == "minimizes, decay 0.5"


def test_names_of_earlier_versions() -> None:
    """Records and preset files keep them, calls may use them, the constructor says the new ones."""
    params = AscentParams(jitter=0.25, sign=-1)
    stored = params.record()
    assert (stored["shift"], stored["push"]) == (0.25, -1)
    assert not {"jitter", "sign"} & set(stored)
    assert params_from_record(stored) == params
    assert params_from_record({"jitter": 0.25, "sign": -1}) == params
    assert AscentParams().but(shift=0.25, push=-1) == params
    assert ascent_params(params.but(jitter=0), shift=0.25) == params
    with pytest.raises(SettingsError, match="shift is now called jitter"):
        AscentParams(shift=0.25)  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="push is now called sign"):
        AscentParams(push=-1)  # type: ignore[call-arg]
