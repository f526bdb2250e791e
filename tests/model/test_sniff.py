"""Files given in place of weights, as other programs write them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
import scipy.io

from deepvis_caffe.errors import ModelError, WeightsError
from deepvis_caffe.model.caffemodel import read_caffemodel
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.schema_pb2 import BlobProto
from deepvis_caffe.model.sniff import sniff

CONTENT = b"\x0a\x01n" + bytes(range(256)) * 4


def field(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def zipped(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return data.getvalue()


def tarred() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("models/net.caffemodel")
        info.size = len(CONTENT)
        archive.addfile(info, io.BytesIO(CONTENT))
    return data.getvalue()


def npz() -> bytes:
    data = io.BytesIO()
    np.savez_compressed(data, conv1=np.zeros((3, 3)))
    return data.getvalue()


def mat() -> bytes:
    data = io.BytesIO()
    scipy.io.savemat(data, {"conv1": np.zeros((3, 3))})
    return data.getvalue()


def mean() -> bytes:
    blob = BlobProto(num=1, channels=3, height=256, width=256, data=[104.0] * 40)
    return blob.SerializeToString()


# By the schemas of the programs: message ModelProto of ONNX, GraphDef and SavedModel of TensorFlow,
# Model of Core ML, NetDef of Caffe2.
ONNX = b"\x08\x06" + field(2, b"pytorch") + field(3, b"1.6") + field(7, field(1, bytes(60)))
ONNX_WITHOUT_VERSION = b"\x08\x03" + field(2, b"CNTK") + field(7, field(1, bytes(60)))
NODE = field(1, b"input") + field(2, b"Placeholder") + field(5, bytes(20))
GRAPH = field(1, NODE) + field(1, field(1, b"conv1/weights") + field(2, b"Const"))
SAVED_MODEL = b"\x08\x01" + field(2, field(1, field(2, bytes(30))))
CORE_ML = b"\x08\x01" + field(2, field(1, field(1, b"data") + bytes(2)))
CAFFE2 = field(1, b"init") + field(2, field(2, b"conv1_w") + field(4, b"GivenTensorFill"))
OTHER = r"a file of another program than Caffe \(ONNX, TensorFlow or Core ML\)"


@pytest.mark.parametrize(
    ("content", "noun"),
    [
        (zipped("net.caffemodel"), r"a zip archive that holds 'net\.caffemodel'; unpack it first"),
        (zipped("archive/data.pkl", "archive/version"), r"a PyTorch file \(\.pth, \.pt\)"),
        (tarred(), r"a tar archive that holds 'models/net\.caffemodel'; unpack it first"),
        (gzip.compress(CONTENT), "a gzip archive; unpack it first"),
        (bz2.compress(CONTENT), "a bzip2 archive; unpack it first"),
        (lzma.compress(CONTENT), "an xz archive; unpack it first"),
        (npz(), r"several numpy arrays \(\.npz\)"),
        (mat(), r"a MATLAB file \(\.mat\)"),
        (pickle.dumps({"conv1": np.zeros(3)}), "a Python pickle"),
        (mean(), r"a mean \(\.binaryproto\); set `mean` to it"),
        (ONNX, OTHER),
        (ONNX_WITHOUT_VERSION, OTHER),
        (SAVED_MODEL, OTHER),
        (CORE_ML, OTHER),
        (GRAPH, r"a TensorFlow graph \(\.pb\)"),
        (CAFFE2 + bytes(9), r"weights of Caffe2 \(init_net\.pb\)"),
        (np.array([0, 2, 0, 64, 0], "<i4").tobytes(), r"Darknet weights \(\.weights\)"),
        (b"\x1c\0\0\0TFL3" + bytes(20), "a TensorFlow Lite file"),
        (b"\x40\0\0\0\0\0\0\0" + b'{"conv1.weight":{}}', "a safetensors file"),
        (b"7767517\n3 3\nInput data 0 1 data\n", "an ncnn parameter file"),
    ],
)
def test_files_of_other_programs_are_named(content: bytes, noun: str, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"net.caffemodel is not a caffemodel: it is {noun}$"):
        read_caffemodel(path)
    with pytest.raises(ModelError, match=noun):
        read_prototxt(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_saves(zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pth"
    weights = torch.nn.Conv2d(3, 2, 1).state_dict()
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"it is a PyTorch file \(\.pth, \.pt\)"):
        read_caffemodel(path)


def test_a_database_is_named(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "db")) as database, database.begin(write=True) as change:
        change.put(b"0", CONTENT)
    with pytest.raises(WeightsError, match="it is an LMDB database"):
        read_caffemodel(tmp_path / "db" / "data.mdb")


SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 momentum: 0.9
snapshot_prefix: "snap" solver_mode: CPU
"""
NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 1 dim: 2 } shape { dim: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }
"""


@pytest.mark.pycaffe
@pytest.mark.parametrize(("form", "ending"), [("BINARYPROTO", ""), ("HDF5", ".h5")])
def test_the_state_that_caffes_solver_saves(
    form: str, ending: str, caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(f"{SOLVER} snapshot_format: {form}")
    solver = caffe.SGDSolver("solver.prototxt")
    solver.step(1)
    solver.snapshot()
    path = Path(f"snap_iter_1.solverstate{ending}")
    with pytest.raises(WeightsError, match=r"a solver's state.*: snap_iter_1\.caffemodel") as error:
        read_caffemodel(path)
    assert str(error.value).endswith(f"snap_iter_1.caffemodel{ending}")
    found = read_caffemodel(f"snap_iter_1.caffemodel{ending}")  # the file that it names
    np.testing.assert_array_equal(found["fc"][0], solver.net.params["fc"][0].data)


@pytest.mark.parametrize("name", ["", "AlexNet", "x" * 200, "GoogleNet 08"])
def test_a_net_is_taken_for_nothing_else(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["data/fc/0"] = np.zeros(2)
    assert read_caffemodel(tmp_path / "net.h5")["fc"][0].tolist() == [0, 0]
    head = bytes([10, *([200, 1] if len(name) == 200 else [len(name)])]) + name.encode()
    assert sniff((head if name else b"") + b"\x12\x08\x22\x02fc" + bytes(8)) is None
    assert sniff((head if name else b"") + b"\xa2\x06\x08\x0a\x02fc" + bytes(8)) is None
