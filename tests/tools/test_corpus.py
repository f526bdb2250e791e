"""`python -m tools.corpus`: nets for which it is known how far they get, and why."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.corpus_work import abort, hang, hog
from helpers.engine_nets import conv, layer, net_text, relu
from helpers.markdown import ROOT
from helpers.waiting import LONG, eventually

from deepvis_caffe.engines.pycaffe import PycaffeNet
from deepvis_caffe.engines.torch import TorchNet
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.prototxt import read_prototxt
from tools.corpus import reference, trial
from tools.corpus.__main__ import main
from tools.corpus.children import Limits, how_it_ended
from tools.corpus.paths import find_files
from tools.corpus.record import Record, Table
from tools.corpus.reference import compare, relative_error, verdict
from tools.corpus.run import run_files
from tools.corpus.summary import kind, summary
from tools.corpus.trial import Options, try_net

GOOD = net_text(conv("c", "data", 4, 3), relu("r", "c"), data=(1, 3, 8, 8))
BROKEN = 'layer { name: "c" type: "Convolution"'
NO_SHAPE = 'layer { name: "data" type: "Input" top: "data" }' + conv("c", "data", 4, 3)
# Hours of arithmetic in little memory.
ENDLESS = net_text(
    conv("first", "data", 64),
    *(conv(f"c{i}", f"c{i - 1}" if i else "first", 64, 15, "pad: 7") for i in range(200)),
    data=(1, 1, 1000, 1000),
)
HUGE = net_text(conv("c", "data", 60), data=(1, 1, 5000, 5000))  # 6 GB

PLAIN = Options()
ROOMY = Limits(seconds=600, memory=4 * 2**30)


def write(folder: Path, **texts: str) -> list[Path]:
    """Prototxts by their names."""
    paths = [folder / f"{name}.prototxt" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def tried(folder: Path, text: str, options: Options = PLAIN, keep: bool = False) -> Record:
    """What a trial in this very process finds out about a net."""
    (path,) = write(folder, net=text)
    found: dict[str, Any] = {}
    try_net(path, options, folder if keep else None, found.update)
    return Record(str(path), **found)


# -- stages ----------------------------------------------------------------------------------------


def test_a_good_net_comes_through(tmp_path: Path) -> None:
    record = tried(tmp_path, GOOD)
    assert (record.stage, record.reason) == ("ok", "")
    assert (record.layers, record.running, record.opaque) == (3, 3, ())
    assert record.warnings == record.notes == ()


def test_each_stage_says_why_a_net_stops_there(tmp_path: Path, monkeypatch: Any) -> None:
    parse = tried(tmp_path, BROKEN)
    assert parse.stage == "parse"
    assert parse.reason.startswith("net.prototxt, line 1: ")
    info = tried(tmp_path, NO_SHAPE)
    assert info.stage == "info"
    assert "does not give the shape of input data" in info.reason

    def fail(*args: Any, **options: Any) -> None:
        raise EngineError("no engine\n today")

    monkeypatch.setattr(trial, "load_net", fail)
    build = tried(tmp_path, GOOD)
    assert (build.stage, build.reason, build.layers) == ("build", "no engine today", 3)


@pytest.mark.parametrize("stage", ["forward", "backward"])
def test_an_exception_that_users_must_not_see_is_a_traceback(
    tmp_path: Path, monkeypatch: Any, stage: str
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        {}["absent"]

    monkeypatch.setattr(TorchNet, f"_{stage}", fail)
    record = tried(tmp_path, GOOD)
    assert record.stage == stage
    # Its place is the innermost of our own code, which calls what was put there.
    assert re.fullmatch(r"TRACEBACK KeyError at base\.py:\d+ in \w+: 'absent'", record.reason)


def test_it_goes_no_further_than_asked(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delattr(trial, "load_net")
    assert tried(tmp_path, GOOD, Options(until="info")).stage == "ok"


def test_layers_that_cannot_run_are_listed(tmp_path: Path) -> None:
    text = net_text(
        conv("a", "data", 4),
        layer("mine", "OfMyOwn", "a"),
        conv("behind", "mine", 2),
        data=(1, 3, 8, 8),
    )
    record = tried(tmp_path, text)
    assert (record.stage, record.layers, record.running) == ("ok", 4, 2)
    assert record.opaque == ("mine (OfMyOwn)",)
    assert any("OfMyOwn" in warning for warning in record.warnings)


def test_a_value_below_an_in_place_layer_that_cannot_run_is_an_end(tmp_path: Path) -> None:
    text = net_text(conv("a", "data", 4), layer("mine", "OfMyOwn", "a", "a"), data=(1, 3, 8, 8))
    record = tried(tmp_path, text, keep=True)
    assert (record.stage, record.reason, record.running) == ("ok", "", 2)
    assert json.loads((tmp_path / "values.json").read_text()) == [["data", 0], ["a", 0]]


def test_a_value_that_no_name_means_is_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    name_of = Graph.value_name

    def value_name(graph: Graph, value: Value) -> str | None:
        return None if value == Value("c") else name_of(graph, value)

    monkeypatch.setattr(Graph, "value_name", value_name)
    record = tried(tmp_path, GOOD, keep=True)
    assert (record.stage, record.reason) == ("ok", "")
    assert json.loads((tmp_path / "values.json").read_text()) == [["data", 0], ["c", 1]]


def test_input_shapes_are_given_where_the_file_does_not_tell(tmp_path: Path) -> None:
    shapes = {"": (1, 3, 6, 6), "other": (1, 2)}
    record = tried(tmp_path, NO_SHAPE, Options(input_shapes=shapes), keep=True)
    assert record.stage == "ok"
    assert record.notes == ("by default, inputs have shapes {'data': (1, 3, 6, 6)}",)
    assert np.load(tmp_path / "inputs.npz")["data"].shape == (1, 3, 6, 6)
    assert tried(tmp_path, GOOD, Options(input_shapes=shapes)).notes == ()
    others = {"other": (1, 2)}
    assert tried(tmp_path, NO_SHAPE, Options(input_shapes=others)).stage == "info"


def test_an_input_that_needs_a_shape_may_have_any_name(tmp_path: Path) -> None:
    name = "left, right; both"
    record = tried(
        tmp_path,
        NO_SHAPE.replace("data", name),
        Options(input_shapes={name: (1, 3, 6, 6), "": (1, 1, 2, 2)}),
        keep=True,
    )
    assert record.stage == "ok"
    assert np.load(tmp_path / "inputs.npz")[name].shape == (1, 3, 6, 6)


def test_one_image_runs_unless_the_net_needs_its_batch(tmp_path: Path) -> None:
    free = tried(tmp_path, net_text(conv("c", "data", 4), data=(7, 3, 4, 4)), keep=True)
    assert (free.stage, free.notes) == ("ok", ())
    assert np.load(tmp_path / "inputs.npz")["data"].shape == (1, 3, 4, 4)
    shape = layer("r", "Reshape", "data", "r", "reshape_param { shape { dim: 2 dim: 48 } }")
    for others in ((), (conv("c", "data", 2),)):  # where nothing is left of one image, and else
        bound = tried(tmp_path, net_text(shape, *others, data=(2, 3, 4, 4)), keep=True)
        assert bound.stage == "ok"
        assert bound.notes[0].startswith("runs only with the batch that it declares: layer 'r'")
        assert np.load(tmp_path / "inputs.npz")["data"].shape == (2, 3, 4, 4)


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    text = net_text(layer("log", "Log", "data"), layer("e", "Exp", "log"), data=(1, 3, 4, 5))
    record = tried(tmp_path, text, keep=True)
    negative = int((np.load(tmp_path / "inputs.npz")["data"] < 0).sum())
    assert 0 < negative < 60
    assert record.notes[0] == (
        f"2 values have numbers that are not finite, first log (Log): {negative}"
    )


def test_gradients_that_are_not_finite_are_named(tmp_path: Path) -> None:
    root = layer("root", "Power", "data", "root", "power_param { power: 0.5 }")  # of pixels below 0
    record = tried(tmp_path, net_text(root, data=(1, 3, 4, 4)))
    assert record.notes[-1] == "a gradient that is not finite from root (Power)"
    steady = layer("steady", "Power", "data", "steady", "power_param { scale: 0.5 }")
    assert tried(tmp_path, net_text(steady, data=(1, 3, 4, 4))).notes == ()


def test_ends_from_which_no_gradient_comes_are_named(tmp_path: Path) -> None:
    constant = layer("flat", "Power", "data", "flat", "power_param { scale: 0 shift: 1 }")
    choice = layer("choice", "ArgMax", "c")  # has no gradient, and nobody expects one
    record = tried(tmp_path, net_text(constant, conv("c", "data", 2), choice, data=(1, 3, 4, 4)))
    assert record.notes == ("no gradient at the image from flat (Power)",)


def test_a_trial_leaves_every_value(tmp_path: Path) -> None:
    double = layer("double", "Power", "data", "double", "power_param { scale: 2 shift: 1 }")
    text = net_text(double, relu("r", "double"), data=(1, 3, 4, 4))
    tried(tmp_path, text, keep=True)
    names = json.loads((tmp_path / "values.json").read_text())
    assert names == [["data", 0], ["double", 0], ["double", 1]]
    data, double, rectified = (np.load(tmp_path / f"{i}.npy") for i in range(3))
    np.testing.assert_array_equal(data, np.load(tmp_path / "inputs.npz")["data"])
    np.testing.assert_allclose(double, 2 * data + 1, rtol=1e-6)
    assert (double < 0).any()
    np.testing.assert_array_equal(rectified, np.maximum(double, 0))


def test_inputs_beside_the_image_make_sense(tmp_path: Path) -> None:
    text = net_text(
        conv("c", "data", 2),
        layer("l", "Flatten", "rois"),
        layer("f", "Flatten", "im_info"),
        layer("g", "Flatten", "cont"),
        data=(1, 3, 20, 30), rois=(50, 5), im_info=(1, 3), cont=(9, 4),
    )  # fmt: skip
    tried(tmp_path, text, keep=True)
    inputs = np.load(tmp_path / "inputs.npz")
    index, left, top, right, bottom = inputs["rois"].T
    assert inputs["rois"].shape == (50, 5)
    assert not index.any()
    assert ((left >= 0) & (left <= right) & (right <= 29)).all()
    assert ((top >= 0) & (top <= bottom) & (bottom <= 19)).all()
    assert inputs["im_info"].tolist() == [[20, 30, 1]]
    assert set(inputs["cont"].flat) == {0, 1}


# -- beside real Caffe -----------------------------------------------------------------------------


def compared(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    compare(folder / "net.prototxt", PLAIN, folder, found.update)
    return found


@pytest.mark.pycaffe
def test_caffe_computes_the_same(tmp_path: Path, caffe: Any) -> None:
    text = net_text(
        conv("c", "data", 4, 3), relu("r", "c"), layer("s", "Softmax", "c"), data=(5, 3, 8, 8)
    )
    assert tried(tmp_path, text, keep=True).stage == "ok"
    found = compared(tmp_path)
    assert (found["caffe"], found["caffe_values"], found["caffe_reason"]) == ("equal", 3, "")
    assert 0 <= found["caffe_error"] < 1e-5


@pytest.mark.pycaffe
def test_the_first_value_that_differs_is_named(tmp_path: Path, caffe: Any) -> None:
    assert tried(tmp_path, GOOD, keep=True).stage == "ok"
    values = np.load(tmp_path / "1.npy")
    place = np.unravel_index(np.abs(values).argmin(), values.shape)
    values[place] += 0.25 * np.abs(values).max()
    np.save(tmp_path / "1.npy", values)
    found = compared(tmp_path)
    assert found["caffe"] == "differs"
    assert found["caffe_reason"] == "first at c (Convolution): 0.25"
    np.testing.assert_allclose(found["caffe_error"], 0.25, rtol=1e-3)


@pytest.mark.pycaffe
def test_what_did_not_run_here_does_not_run_there(
    tmp_path: Path, caffe: Any, monkeypatch: Any
) -> None:
    made = []

    def make(model: Model, *more: Any) -> PycaffeNet:
        made.append(PycaffeNet(model, *more))
        return made[0]

    monkeypatch.setattr(reference, "PycaffeNet", make)
    assert tried(tmp_path, GOOD, keep=True).stage == "ok"
    (tmp_path / "values.json").write_text('[["data", 0], ["c", 0]]')
    found = compared(tmp_path)
    assert (found["caffe"], found["caffe_values"], found["caffe_reason"]) == ("equal", 1, "")
    assert list(made[0].opaque) == ["r"]


def test_errors_are_relative_to_the_value() -> None:
    assert relative_error(np.array([1.0, 9.0]), np.array([2.0, -8.0])) == 17 / 8
    assert relative_error(np.array([0.5]), np.array([0.0])) == 0.5
    strange = np.array([np.nan, np.inf, 4.0])
    assert relative_error(strange, strange) == 0
    assert relative_error(np.array([np.nan, 1.0, 4.0]), strange) == np.inf
    assert relative_error(np.array([1.0]), np.array([np.nan])) == np.inf
    assert relative_error(np.array([1.0]), np.array([[1.0]])) == np.inf


@pytest.mark.pycaffe
def test_a_net_that_caffe_cannot_run_is_not_its_failure(
    tmp_path: Path, caffe: Any, monkeypatch: Any
) -> None:
    assert tried(tmp_path, GOOD, keep=True).stage == "ok"
    monkeypatch.setattr(caffe, "layer_type_list", lambda: ["Input", "Bias"])
    found = compared(tmp_path)
    assert found["caffe"] == "n/a"
    assert "Convolution" in found["caffe_reason"]


@pytest.mark.pycaffe
def test_what_is_drawn_at_random_is_not_compared(tmp_path: Path, caffe: Any) -> None:
    drawn = "shape { dim: 1 dim: 4 dim: 6 dim: 6 } data_filler { type: 'gaussian' }"
    text = net_text(
        conv("c", "data", 4, 3),
        layer("d", "DummyData", "", "d", f"dummy_data_param {{ {drawn} }}"),
        layer("sum", "Eltwise", "c d"),
        relu("r", "sum"),
        data=(1, 3, 8, 8),
    )
    assert tried(tmp_path, text, keep=True).stage == "ok"
    found = compared(tmp_path)
    assert (found["caffe"], found["caffe_values"], found["caffe_reason"]) == ("equal", 1, "")


@pytest.mark.pycaffe
def test_of_indices_those_count_that_differ(tmp_path: Path, caffe: Any) -> None:
    pool = layer("p", "Pooling", "data", "p mask", "pooling_param { kernel_size: 2 stride: 2 }")
    assert tried(tmp_path, net_text(pool, data=(1, 5, 20, 20)), keep=True).stage == "ok"
    assert compared(tmp_path)["caffe_error"] == 0
    mask = np.load(tmp_path / "2.npy")
    mask[0, 0, 0, 0] += 300  # one of 500
    np.save(tmp_path / "2.npy", mask)
    found = compared(tmp_path)
    assert found["caffe_error"] == 1 / 500
    assert found["caffe_reason"] == "first at p (Pooling): 0.002"


def test_a_layer_that_caffe_lacks_leaves_the_verdict_open(tmp_path: Path) -> None:
    (path,) = write(tmp_path, net=GOOD)
    net = read_prototxt(path)
    graph = Graph.from_layers(net.name, net.layer)
    fine, bad = {Value("c"): 1e-6, Value("c", 1): 5e-4}, {Value("c"): 1e-6, Value("c", 1): 2e-3}
    assert verdict(fine, graph, [])["caffe"] == "equal"
    open_one = verdict(fine, graph, ["x (X)"])
    assert (open_one["caffe"], open_one["caffe_reason"]) == ("n/a", "Caffe lacks x (X)")
    differs = verdict(bad, graph, ["x (X)"])
    assert differs["caffe"] == "differs"
    assert differs["caffe_reason"] == "first at r (ReLU): 0.002; Caffe lacks x (X)"
    nothing = verdict({}, graph, ["x (X)"])
    assert (nothing["caffe"], nothing["caffe_error"]) == ("n/a", None)


# -- processes -------------------------------------------------------------------------------------


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its exit status."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.process
@pytest.mark.slow
def test_each_file_has_a_process_with_limits(tmp_path: Path) -> None:
    paths = write(tmp_path, good=GOOD, broken=BROKEN, huge=HUGE)
    records = {Path(r.file).stem: r for r in run_files(paths, PLAIN, ROOMY, jobs=2)}
    assert {name: record.stage for name, record in records.items()} == {
        "good": "ok",
        "broken": "parse",
        "huge": "forward",
    }
    assert "not enough memory" in records["huge"].reason
    for record in records.values():
        assert record.seconds > 0
        assert 50 < record.memory < 4096  # MiB


@pytest.mark.process
@pytest.mark.slow
def test_a_failing_child_has_reported_how_far_it_got(tmp_path: Path) -> None:
    paths = [tmp_path / "net.prototxt"]
    (hung,) = run_files(paths, PLAIN, replace(ROOMY, seconds=3), trial=hang)
    assert (hung.stage, hung.reason) == ("forward", "no end after 3 s")
    assert hung.layers is not None
    eventually(lambda: not runs(hung.layers))  # what it started ends with it
    (aborted,) = run_files(paths, PLAIN, ROOMY, trial=abort)
    assert aborted.stage == "build"
    assert aborted.reason == "the process died of SIGABRT: Check failed: 2 == 3 (2 vs. 3)"
    (full,) = run_files(paths, PLAIN, ROOMY, trial=hog)
    assert full.stage == "forward"
    assert full.reason == "the process died of exit status 1: MemoryError"


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.pycaffe
def test_caffe_has_a_process_of_its_own(tmp_path: Path, caffe: Any) -> None:
    (record,) = run_files(write(tmp_path, net=GOOD), PLAIN, ROOMY, caffe=True)
    assert (record.stage, record.caffe, record.caffe_values) == ("ok", "equal", 2)


@pytest.mark.process
@pytest.mark.slow
def test_ctrl_c_leaves_what_was_written(tmp_path: Path) -> None:
    write(tmp_path, a_good=GOOD, b_endless=ENDLESS)
    output = tmp_path / "out.tsv"
    command = [sys.executable, "-m", "tools.corpus", str(tmp_path), "-o", str(output)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: output.exists() and len(output.read_text().splitlines()) == 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert "1/2  ok" in out
    assert "--resume" in err
    (record,) = Table(output, resume=True).records
    assert (Path(record.file).stem, record.stage) == ("a_good", "ok")


@pytest.mark.process
@pytest.mark.slow
def test_the_command_writes_a_table_and_resumes(tmp_path: Path, capsys: Any) -> None:
    good, broken, other = write(tmp_path, good=GOOD, broken=BROKEN, other=GOOD)
    files = tmp_path / "list.txt"
    files.write_text(f"good.prototxt\n\n# a comment\n{broken}\nother.prototxt\n")
    output = tmp_path / "out" / "table.tsv"
    kept = Record(str(other), stage="forward", reason="of an earlier run", seconds=1.5, memory=2.0)
    Table(output).add(kept)
    assert main([str(files), "-o", str(output), "--resume"]) == 0
    records = {record.file: record for record in Table(output, resume=True).records}
    assert records[str(other)] == kept
    assert [records[str(path)].stage for path in (good, broken)] == ["ok", "parse"]
    shown = capsys.readouterr().out
    assert "load and run                   1 of 3   33.3 %" in shown
    assert f"1  forward: of an earlier run\n        {other}" in shown


def test_the_last_words_of_a_log_are_those_of_a_fatal_check() -> None:
    log = (
        "I1 a\nF20240102 03:04:05.678 42 blob.cpp:12] Check failed: data_\n*** trace: ***\n  @ 1\n"
    )
    assert how_it_ended(-6, log) == "the process died of SIGABRT: Check failed: data_"
    assert how_it_ended(3, "one\n  two \n\n") == "the process died of exit status 3: two"
    assert how_it_ended(-9, "") == "the process died of SIGKILL"


# -- lists and tables ------------------------------------------------------------------------------


def test_files_are_named_in_many_ways(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    a, b = write(tmp_path, a="", b="")
    (c,) = write(tmp_path / "deep" / "er", c="")
    listed, table = tmp_path / "list.txt", tmp_path / "table.tsv"
    listed.write_text("# all\nb.prototxt\n\n  a.prototxt\n")
    table.write_text("folder\tpath\tstage\ndeep\ter/c.prototxt\tok\n")
    assert find_files([str(listed)]) == [b, a]
    assert find_files([str(table)]) == [c]
    table.write_text("deep\ter/c.prototxt\tok\n")
    assert find_files([str(table)]) == [c]
    assert find_files([str(table)], tmp_path / "else") == []
    assert find_files([str(listed)], Path("/else")) == [
        Path("/else/b.prototxt"),
        Path("/else/a.prototxt"),
    ]
    assert find_files([str(c), str(tmp_path)]) == [c, a, b]
    assert find_files([f"{tmp_path}/deep/*/*.prototxt"]) == [c]
    with pytest.raises(FileNotFoundError, match="no file, folder or pattern"):
        find_files([str(tmp_path / "absent.txt")])


@pytest.mark.parametrize("name", ["table.tsv", "table.jsonl"])
def test_a_table_reads_what_it_wrote(tmp_path: Path, name: str) -> None:
    empty = Record("a")
    full = Record(
        "b c", "forward", "it\tdid not", 9, 8, ("x (X)", "y (Y)"), ("w",), ("n", "m"), 1.5, 200.0,
        "differs", 3, 0.125, "first at x",
    )  # fmt: skip
    table = Table(tmp_path / name)
    table.add(empty)
    table.add(full)
    expected = [empty, full if name.endswith("jsonl") else replace(full, reason="it did not")]
    assert Table(tmp_path / name, resume=True).records == expected
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text[:-5])  # the last line was cut short
    assert Table(tmp_path / name, resume=True).records == [empty]
    assert Table(tmp_path / name).records == []


def test_the_tsv_is_for_people(tmp_path: Path) -> None:
    Table(tmp_path / "t.tsv").add(Record("a", opaque=("x (X)", "y (Y)"), seconds=12.3456))
    head, row = (tmp_path / "t.tsv").read_text().splitlines()
    cells = dict(zip(head.split("\t"), row.split("\t"), strict=True))
    assert cells["opaque"] == "x (X) | y (Y)"
    assert cells["seconds"] == "12.35"
    assert cells["layers"] == ""


def test_reasons_of_one_kind_are_one_group() -> None:
    one = kind(
        "layer 'conv1' (Reshape): its bottom has 12 values, but its top (1, 2, 64) would have 128"
    )
    other = kind("layer 'x/y' (Reshape): its bottom has 3 values, but its top (9,) would have 9.5")
    assert one == other
    assert one != kind("layer 'x' (Slice): its bottom has 3 values, but its top (9,) would have 9")
    many = kind("cannot run 'a' (X), 'b' (X), 'c' (Y); known: A, B")
    assert many == kind("cannot run 'd' (X), 'e' (Y)")


def test_the_summary_counts() -> None:
    records = [
        Record("a", "ok", caffe="equal"),
        Record("b", "ok", opaque=("p (P)", "q (P)"), caffe="differs", caffe_reason="first at c: 1"),
        Record("c", "info", "no blob 'x'"),
        Record("d", "info", "no blob 'y'", opaque=("p (P)", "z (Z)")),
        Record("e", "build", "TRACEBACK ValueError at x.py:3 in f: no"),
    ]
    text = summary(records)
    for line in (
        "5 files",
        "  stop at info                   2 of 5   40.0 %",
        "  load and run                   2 of 5   40.0 %",
        "  ... with opaque layers         1 of 5   20.0 %",
        "  TRACEBACK                      1 of 5   20.0 %",
        "  Caffe: equal                   1 of 2   50.0 %",
        "opaque layers, by type and number of files: P 2, Z 1",
        "     2  info: no blob 'x'\n        c\n        d",
        "     1  differs: first at c: 1\n        b",
    ):
        assert line in text
    assert summary([]) == "0 files"
