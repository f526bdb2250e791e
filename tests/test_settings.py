"""Settings: found, read, validated, overridden; and those of the Deep Visualization Toolbox."""

from __future__ import annotations

import logging
import pickle
import re
import runpy
import warnings
from pathlib import Path

import pytest

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.settings import Settings, find_settings_file, load_settings

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)


def _file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _error(text: str, path: str = "settings_local.py") -> str:
    _file(Path(path), text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    return str(caught.value)


# -- which file ----------------------------------------------------------------------------------


def test_a_flag_wins_over_the_variable_over_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_settings_file() is None
    assert load_settings() == Settings()
    here = _file(tmp_path / "settings_local.py", "seeds = 1")
    assert find_settings_file() == here
    monkeypatch.setenv("DEEPVIS_SETTINGS", str(_file(tmp_path / "b.py", "seeds = 2")))
    assert load_settings().seeds == 2
    assert load_settings(_file(tmp_path / "c.py", "seeds = 3")).seeds == 3


def test_a_named_file_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SettingsError, match=r"no settings file at .*gone\.py \(named by --settings"
    ):
        load_settings("gone.py")
    monkeypatch.setenv("DEEPVIS_SETTINGS", "gone.py")
    with pytest.raises(SettingsError, match=r"named by \$DEEPVIS_SETTINGS"):
        load_settings()


# -- what is in it -------------------------------------------------------------------------------


def test_paths_start_at_the_folder_of_what_names_them(tmp_path: Path) -> None:
    path = _file(
        tmp_path / "models/mine.py",
        "import os\n"
        "_here = os.path.dirname(os.path.abspath(__file__))\n"
        "prototxt = 'net.prototxt'\n"
        "weights = os.path.join(_here, 'w.caffemodel')\n"
        "mean = 'mean.npy'\n",
    )
    settings = load_settings(path, {"labels": "labels.txt"})
    assert settings.prototxt == tmp_path / "models/net.prototxt"
    assert settings.weights == tmp_path / "models/w.caffemodel"
    assert settings.mean == tmp_path / "models/mean.npy"
    assert settings.labels == Path("labels.txt")  # a flag's: from the current folder
    assert settings.results == Path("results")  # nobody named it


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"mean": "104,117,123"}, {"mean": (104.0, 117.0, 123.0)}),
        ({"mean": "(0.5)"}, {"mean": (0.5,)}),
        ({"mean": "none"}, {"mean": None}),
        ({"mean": "ilsvrc_2012_mean.npy"}, {"mean": Path("ilsvrc_2012_mean.npy")}),
        ({"channel_swap": "2,1,0"}, {"channel_swap": (2, 1, 0)}),
        ({"input_shape": "1,3,8,9"}, {"input_shape": (1, 3, 8, 9)}),
        (
            {"input_shape": "data:1,3,8,9; info:1,8"},
            {"input_shape": {"data": (1, 3, 8, 9), "info": (1, 8)}},
        ),
        ({"stages": "deploy, val", "image_input": "b"}, {"stages": ("deploy", "val")}),
        ({"stages": "none", "inputs": "none"}, {"stages": (), "inputs": {}}),
        (
            {"inputs": "mask:0.5; pair:image;info:C:/here/info.npy"},
            {"inputs": {"mask": 0.5, "pair": "image", "info": Path("C:/here/info.npy")}},
        ),
        ({"rate": "paper"}, {"rate": "paper"}),
        ({"rate": "12.5"}, {"rate": 12.5}),
        ({"iterations": "30", "batch_size": "none"}, {"iterations": 30, "batch_size": None}),
        ({"raw_scale": "1", "device": "cuda:1"}, {"raw_scale": 1.0, "device": "cuda:1"}),
    ],
)
def test_flags_are_read_as_text(flags: dict[str, str], expected: dict[str, object]) -> None:
    _file(Path("settings_local.py"), "mean = (1, 2, 3)\nbatch_size = 4\nrate = 1\n")
    settings = load_settings(None, flags)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_files_of_inputs_lie_beside_the_settings(tmp_path: Path) -> None:
    text = "inputs = {'mask': 1, 'pair': 'image', 'info': 'sub/info.npy'}\n"
    inputs = load_settings(_file(tmp_path / "s.py", text)).inputs
    assert inputs == {"mask": 1, "pair": "image", "info": tmp_path / "sub/info.npy"}
    with pytest.raises(SettingsError, match="it should name inputs, as in mask:1;other:image"):
        load_settings(None, {"inputs": "1"})


def test_overrides_leave_the_rest_of_the_file_alone() -> None:
    _file(Path("settings_local.py"), "mean = (1, 2, 3)\npreset = 1\n")
    settings = load_settings(None, {"preset": "4"})
    assert (settings.mean, settings.preset) == ((1, 2, 3), 4)


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        Settings().preset = 2  # type: ignore[misc]


# -- what is wrong with it -----------------------------------------------------------------------


def test_an_unknown_name_has_a_line_and_the_nearest_known_one() -> None:
    message = _error("preset = 1\n\nwieghts = 'a.caffemodel'\n")
    assert "settings_local.py:3: no setting named 'wieghts'; did you mean 'weights'?" in message
    assert "underscore" in message
    with pytest.raises(SettingsError, match="did you mean 'batch_size'"):
        Settings(batchsize=3)


def test_helper_names_are_ignored_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "import os\nhere = os.path.dirname(__file__)\nbase = here\nweights = here + '/a.h5'\n"
    assert load_settings(_file(tmp_path / "s.py", text)).weights == tmp_path / "a.h5"
    (warning,) = caplog.messages
    assert warning.endswith("s.py: these names are not settings and are ignored: here, base")


@pytest.mark.parametrize("slip", ["iteration", "prototext", "seed", "label", "batchsize"])
def test_slips_of_the_pen_stay_errors(slip: str) -> None:
    assert f"no setting named '{slip}'; did you mean" in _error(f"{slip} = 1\n")


@pytest.mark.parametrize("text", ["0-4", "1,2", "3.5", "many"])
def test_a_count_is_one_whole_number(text: str) -> None:
    with pytest.raises(
        SettingsError, match=r"cannot be '.*': it should be a single whole number"
    ) as e:
        load_settings(None, {"seeds": text})
    assert "Value error" not in str(e.value)


def test_the_error_for_a_bad_device_lists_the_choices() -> None:
    with pytest.raises(
        SettingsError, match=r"should be auto, cpu, cuda, or cuda with a number"
    ) as e:
        load_settings(None, {"device": "gpu"})
    assert "\\d" not in str(e.value)


def test_a_bad_value_has_a_line_and_what_fits() -> None:
    message = _error("mean = None\nengine = 'cafe'\n")
    assert "settings_local.py:2: engine cannot be 'cafe'" in message
    assert "'auto', 'pycaffe' or 'torch'" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preset", "5"),
        ("seeds", "0"),
        ("device", "gpu"),
        ("raw_scale", "-1"),
        ("rate", "fast"),
        ("channel_swap", "2,1,x"),
        ("input_shape", "1,0,3"),
        ("results", "none"),
    ],
)
def test_a_bad_flag_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^--{name.replace('_', '-')}: {name} cannot be"):
        load_settings(None, {name: value})


def test_errors_of_the_file_itself_have_a_line() -> None:
    assert "settings_local.py:2: ZeroDivisionError" in _error("preset = 1\nseeds = 1 / 0\n")
    assert "settings_local.py:2: NameError" in _error("def _f():\n    return nothing\n_f()\n")
    assert re.search(r"settings_local.py:1: .*Python 2", _error("print 'hello'\n"))
    assert "SystemExit" in _error("import sys\nsys.exit(3)\n")


# -- what people write who do not know Python ----------------------------------------------------

SLASHES = r'write paths with /, or put r before the quotes: r"C:\models\net.prototxt"'
QUOTED = 'put paths and other text in quotes: prototxt = "net.prototxt"'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (r'prototxt = "C:\Users\me\net.prototxt"', SLASHES),  # an escape of eight digits
        (
            r'prototxt = "C:\models\net.prototxt"',
            f"it contains a line break: in quotes, .*{SLASHES}",
        ),
        (r'weights = "models\train.caffemodel"', "it contains a tab"),
        (r'results = "D:\2012\best"', "it contains a control character"),
        (r'source = "C:\new\cat.jpg"', "it contains a line break"),
        (r'mean = "C:\new\mean.npy"', "it contains a line break"),
        (r'images = r"C:\data\"' + "\n", SLASHES),  # the last backslash escapes the quote
        ("prototxt = net.prototxt", f"name 'net' is not defined; {QUOTED}"),
        ("prototxt = /home/me/net.prototxt", QUOTED),
        ("weights = C:/net.caffemodel", QUOTED),
        ("engine = torch", QUOTED),
        ("prototxt: net.prototxt", QUOTED),
        ('prototxt: "net.prototxt"', "prototxt is not set; use a single = to set a setting"),
        ('prototxt == "net.prototxt"', "use a single = to set a setting, as in prototxt ="),
        ("labels = none", "in Python, write None"),
        ("device = null", "in Python, write None"),
        ("prototxt = \u201cnet.prototxt\u201d", "must be the plain ASCII ones"),
        ("mean = (104\uff0c117\uff0c123)", "must be the plain ASCII ones"),
        ('prototxt = "net.prototxt",', "a comma at the end makes it a tuple of one; remove the"),
        ("raw_scale = 255,", "a comma at the end makes it a tuple of one; remove the comma"),
        ('mean = "mean.npy",', "a comma at the end makes it a tuple of one; remove the comma"),
        ("PROTOTXT = 'net.prototxt'", "no setting named 'PROTOTXT'.*prototxt"),
        ("Mean = (1, 2, 3)", "no setting named 'Mean'.*mean"),
    ],
)
def test_errors_for_typos_name_the_line_and_the_fix(line: str, words: str) -> None:
    message = _error(f"seeds = 1\n{line}\n")
    assert "settings_local.py:2: " in message
    plain = re.escape(words).replace(re.escape(".*"), ".*")
    assert re.search(plain, message), message


def test_pythons_warning_of_a_backslash_comes_once_and_names_the_line(tmp_path: Path) -> None:
    path = _file(tmp_path / "settings_local.py", 'seeds = 1\nsource = "C:\\movies"\n')
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_settings(path)
    assert [(warning.filename, warning.lineno) for warning in seen] == [(str(path), 2)]


@pytest.mark.parametrize(
    ("line", "mean"),
    [
        ("mean = ('104', '117', '123')", (104, 117, 123)),
        ("mean = '104 117 123'", (104, 117, 123)),
        ("mean = '[104., 117., 123.]'", (104, 117, 123)),
        ("import numpy\nmean = numpy.float32([104, 117, 123]).reshape(3, 1, 1)", (104, 117, 123)),
        ("mean = [0.5]", (0.5,)),
        ("mean = 'mean 2.npy'", Path("mean 2.npy")),
    ],
)
def test_numbers_in_other_forms(line: str, mean: object, tmp_path: Path) -> None:
    _file(tmp_path / "settings_local.py", line)
    expected = tmp_path / mean if isinstance(mean, Path) else mean
    assert load_settings().mean == expected


def test_words_of_other_programs_are_explained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "model = 'net'\ncaffemodel = 'a.caffemodel'\nprototxt = model + '.prototxt'\n"
    load_settings(_file(tmp_path / "s.py", text))
    (warning,) = caplog.messages
    assert warning.endswith("are ignored: model, caffemodel; did you mean weights (by caffemodel)?")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", '{"prototxt": "net.prototxt"}\n'])
def test_a_file_that_sets_nothing(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_settings(_file(tmp_path / "s.py", text))
    (warning,) = caplog.messages
    assert 's.py sets nothing; write lines such as: prototxt = "path' in warning


def test_a_path_as_windows_writes_it_is_found_on_any_system(tmp_path: Path) -> None:
    _file(tmp_path / "models/net.prototxt", "")
    _file(tmp_path / "settings_local.py", r"prototxt = r'models\net.prototxt'")
    assert load_settings().prototxt == tmp_path / "models/net.prototxt"


# -- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "first", "guess"),
    [
        ("utf-8-sig", "", None),
        ("utf-16", "", None),
        ("gbk", "", "gb18030"),
        ("gbk", "# -*- coding: gbk -*-\n", None),
        ("gbk", "# a file\n# vim: set fileencoding=gbk :\n", None),
        ("latin-1", "# coding: latin-1\n", None),
        ("gbk", "# coding: nothing\n", "gb18030"),
    ],
)
def test_a_file_in_another_encoding(
    encoding: str, first: str, guess: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "modèle" if encoding == "latin-1" else "模型"
    text = f"{first}prototxt = '{name}.prototxt'\n"
    (tmp_path / "settings_local.py").write_bytes(text.encode(encoding))
    assert load_settings().prototxt == tmp_path / f"{name}.prototxt"
    warnings = [one for one in caplog.messages if "is not UTF-8 and is read" in one]
    assert [f"is read as {guess}; save it as UTF-8" in one for one in warnings] == [True] * bool(
        guess
    )


def test_a_line_of_a_file_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "settings_local.py").write_bytes("seeds = 1\nprototext = 'a'\n".encode("utf-16"))
    with pytest.raises(SettingsError, match=r"settings_local\.py:2: no setting named 'prototext'"):
        load_settings()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "settings_local.py").write_bytes(b"\x0a\x07AlexNet\xa2\x06\0\1\2")
    with pytest.raises(SettingsError, match=r"settings_local\.py is not a text file"):
        load_settings()


# -- a file written for the Deep Visualization Toolbox ---------------------------------------------

DVT = """
import os
from os.path import join
base_folder = '%DVT_ROOT%/'
caffevis_caffe_root = '/opt/caffe'
caffevis_deploy_prototxt = base_folder + 'models/a.prototxt'
caffevis_network_weights = join(base_folder, 'models', 'a.caffemodel')
caffevis_data_mean = (104, 117, 123)
caffevis_labels = '%DVT_ROOT%/models/labels.txt'
caffevis_unit_jpg_dir = '%DVT_ROOT%/models/unit_jpg_vis'
caffevis_label_layers = ('fc8', 'prob')
def caffevis_layer_pretty_name_fn(name):
    return name.replace('pool', 'p')
caffevis_mode_gpu = False
window_panes = (('input', (0, 0, 300, 300)),)
"""


def test_a_dvt_file_loads_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _file(tmp_path / "settings_local.py", DVT)
    with caplog.at_level(logging.WARNING):
        settings = load_settings()
    assert settings == Settings(
        prototxt=tmp_path / "models/a.prototxt",
        weights=tmp_path / "models/a.caffemodel",
        mean=(104, 117, 123),
        labels=tmp_path / "models/labels.txt",
        results=tmp_path / "models/unit_jpg_vis",
        presets_file=tmp_path / "presets.json",
        device="cpu",
    )
    (warning,) = caplog.messages
    assert warning.endswith(
        "not used here: base_folder, caffevis_caffe_root, caffevis_label_layers, window_panes"
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("caffevis_mode_gpu = True", {"device": "auto"}),
        ("caffevis_mode_gpu = True\ncaffevis_gpu_id = 2", {"device": "cuda:2"}),
        ("caffevis_data_mean = 'mean.npy'", {"mean": "HERE/mean.npy"}),
        ("caffevis_data_mean = None", {"mean": None}),
        (
            "caffevis_labels = ''\nstatic_file_stretch_mode = True",
            {"labels": None, "resize": "stretch"},
        ),
        ("caffevis_labels = 'a'\nlabels = 'b'", {"labels": "HERE/b"}),  # ours wins
        (
            "caffevis_labels = ''\ninput_updater_capture_device = 1\n"
            "static_files_dir = '%DVT_ROOT%/images'",
            {"source": "1,HERE/images"},
        ),
        (
            "caffevis_jpgvis_remap = {'pool1': 'conv1', 'prob': 'fc8'}",
            {"pictures_from": {"pool1": "conv1", "prob": "fc8"}},
        ),
        ("caffevis_labels = ''", {"source": None}),  # there is no folder input_images
    ],
)
def test_dvt_names(tmp_path: Path, lines: str, expected: dict[str, object]) -> None:
    _file(tmp_path / "settings_local.py", lines)
    settings = load_settings()
    for name, value in expected.items():
        if isinstance(value, str) and value.startswith("HERE"):
            value = Path(value.replace("HERE", str(tmp_path)))
        elif isinstance(value, str):
            value = value.replace("HERE", str(tmp_path))
        assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", "0,HERE/input_images"),  # the toolbox's defaults for both
        ("input_updater_capture_device = None", "HERE/input_images"),
        ("static_files_dir = '%DVT_ROOT%/mine'", "HERE/mine"),
        ("source = 'coffee'", "coffee"),
    ],
)
def test_dvt_s_default_folder_of_images(tmp_path: Path, lines: str, expected: str) -> None:
    (tmp_path / "input_images").mkdir()
    _file(tmp_path / "settings_local.py", f"caffevis_labels = ''\n{lines}")
    assert load_settings().source == expected.replace("HERE", str(tmp_path))


def test_dvt_s_pretty_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        'layer { name: "pool1/3x3" top: "pool1/3x3" } layer { name:\'norm\' top: "n" }\n'
        'layers { bottom: "x" name: "bad" top: "odd" }'
    )
    _file(
        tmp_path / "settings_local.py",
        f"caffevis_deploy_prototxt = {str(prototxt)!r}\n"
        "def caffevis_layer_pretty_name_fn(name):\n"
        "    if name == 'odd': return 3\n"
        "    if name == 'bad': return {}[name]\n"
        "    return name.replace('pool', 'p').replace('norm', '')\n",
    )
    with caplog.at_level(logging.WARNING):
        settings = load_settings()
    assert settings.layer_names == {"pool1/3x3": "p1/3x3"}  # no name is empty, or no text
    (warning,) = caplog.messages
    assert "caffevis_layer_pretty_name_fn fails for layer 'bad'" in warning
    assert pickle.loads(pickle.dumps(settings)) == settings  # as workers get it


# -- what the viewer looks at --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("source = 0", "0"),
        ("source = [1, 'shots', 'http://cam/mjpeg']", "1,HERE/shots,http://cam/mjpeg"),
        ("source = 'clip.mp4'", "clip.mp4"),  # there is no such file
        ("source = None", None),
    ],
)
def test_sources_are_numbers_paths_and_lists_and_paths_start_at_the_file(
    tmp_path: Path, line: str, expected: str | None
) -> None:
    (tmp_path / "shots").mkdir()
    _file(tmp_path / "settings_local.py", line)
    assert load_settings().source == (expected and expected.replace("HERE", str(tmp_path)))


@pytest.mark.parametrize("value", ["800", "800,0", "1,2,3"])
def test_a_window_is_a_width_and_a_height(value: str) -> None:
    with pytest.raises(SettingsError, match="as in 1280,800"):
        load_settings(None, {"window": value})


# -- the template --------------------------------------------------------------------------------


def test_the_template_shows_every_setting_with_a_comment_and_its_default() -> None:
    template = ROOT / "settings_local.py.template"
    names = {k: v for k, v in runpy.run_path(str(template)).items() if not k.startswith("_")}
    assert set(names) == set(Settings.model_fields)
    shown = Settings(**names)
    examples = {"prototxt", "weights"}  # not of a mean: a train_val file has its own
    for name in set(names) - examples:
        assert getattr(shown, name) == getattr(Settings(), name), name
    lines = template.read_text().splitlines()
    for name in names:
        (index,) = [i for i, line in enumerate(lines) if line.startswith(f"{name} =")]
        assert lines[index - 1].startswith("# "), name


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("written", "size"), [("256,320", (256, 320)), ("256", (256, 256)), (256, (256, 256))]
)
def test_a_size_is_height_and_width_or_one_number_for_both(written: object, size: object) -> None:
    assert Settings(resize_to=written).resize_to == size  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="at most 2 items"):
        Settings(resize_to="1,2,3")  # type: ignore[arg-type]


def test_pythons_own_words_are_passed_on_as_they_are() -> None:
    with pytest.raises(RuntimeError) as python:
        Path("~Nobody_of_that_name/x").expanduser()
    with pytest.raises(SettingsError, match=re.escape(str(python.value))):
        Settings(results="~Nobody_of_that_name/x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('results = "~nobody_of_that_name/x"', "the home folder of an unknown user"),
        ("mean = range(10**9)", "at most 65,536 values, but has 1,000,000,000"),
        ("stages = [range(10**9)]", "at most 65,536 values, but has 1,000,000,000"),
        ('labels = "x" * 10**7', "at most 1,048,576 characters long"),
        ("stages = iter(int, 1)", ", not an iterator"),
        (
            "seeds = type('T', (), {'__repr__': lambda self: 1 / 0})()",
            "seeds cannot be <T instance",
        ),
        ("caffevis_data_mean = type('T', (), {'ravel': 1})()", "settings_local.py"),
    ],
)
def test_values_of_any_type_and_length_are_a_clear_error(
    line: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "settings_local.py"
    path.write_text(line)
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        load_settings(path)
    assert len(str(caught.value)) < 2000


def test_an_impossible_path_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings named by --settings"):
        load_settings(tmp_path / ("x" * 5000))
