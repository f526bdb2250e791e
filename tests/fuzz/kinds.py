"""The kinds of files that are read: valid seeds, and their readers.

``KINDS[name]`` holds a function that makes seeds in a folder, and one that reads a file as the
commands do and uses the whole result.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import lmdb
import numpy as np
import tifffile
from fuzz.mutations import WORDS, mutated
from hypothesis import strategies as st
from PIL import Image

from deepvis_caffe.dataset.databases import picture_from_datum
from deepvis_caffe.dataset.layer_scan import LayerScan
from deepvis_caffe.dataset.lmdb_file import read_entries
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_moments, read_scan, write_scan
from deepvis_caffe.dataset.statistics import unit_statistics
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import read_image
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.model.caffemodel import read_caffemodel, write_caffemodel
from deepvis_caffe.model.held import held_inputs
from deepvis_caffe.model.labels import read_labels
from deepvis_caffe.model.mean import load_mean
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.schema_pb2 import BlobProto, Datum
from deepvis_caffe.optimizer.presets import PRESETS, read_presets
from deepvis_caffe.optimizer.targets import read_directions
from deepvis_caffe.resources import resource
from deepvis_caffe.results.index import read_results
from deepvis_caffe.results.recipes import folder_within, recipe_folders
from deepvis_caffe.results.records import read_run_record, read_top_record
from deepvis_caffe.results.scan_folder import ScanFolder
from deepvis_caffe.settings import load_settings

Seeds = Callable[[Path], Sequence[bytes]]
Read = Callable[[Path], Any]

MOST_READ = 20  # images of a source
CLAIMED = {"layers": ["conv"]}  # the recipe of a scan


class Kind(NamedTuple):
    """A kind of file: its name, seeds in a folder, and what reads it."""

    file: str
    seeds: Seeds
    read: Read
    words: tuple[bytes, ...] = WORDS

    def inputs(self, folder: Path) -> st.SearchStrategy[bytes]:
        """Files that are nearly of this kind."""
        return mutated(self.seeds(folder), self.words)


# -- nets and weights ----------------------------------------------------------------------------

V1 = b"""name: "old"  # with a comment
input: "data" input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "norm" type: LRN bottom: "conv" top: "norm" lrn_param { local_size: 3 } }
layers { name: "join" type: CONCAT bottom: "conv" bottom: "norm" top: "join" }
"""
V0 = b"""input: "data" input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 } bottom: "data" top: "c" }
layers { layer { name: "p" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "c" top: "p" }
"""
V2 = b"""layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 12 mean_value: 104 } data_param { batch_size: 2 } }
layer { name: "c" type: "Deconvolution" bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: [3, 4] stride: 2 dilation: 1 } }
layer { name: "s" type: "Slice" bottom: "c" top: "a" top: "b"
  slice_param { axis: 1 slice_point: 1 } }
layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "e"
  eltwise_param { coeff: 0.5 coeff: -1 } }
layer { name: "r" type: "Reshape" bottom: "e" top: "r" reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "r" top: "fc"
  inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def _prototxts(folder: Path) -> list[bytes]:
    return [V0, V1, V2, resource("prototxt", "lenet.prototxt").read_bytes()]


def _read_net(path: Path) -> None:
    model = load_model(path, None, need_weights=False)
    model.receptive_fields, model.opaque  # noqa: B018 (they are computed)


def _weights() -> dict[str, list[np.ndarray]]:
    values = np.arange(24, dtype=np.float32)
    return {"conv/1": [values.reshape(2, 3, 2, 2), values[:2]], "fc": [values[:6].reshape(2, 3)]}


def _caffemodels(folder: Path) -> list[bytes]:
    path = folder / "seed.caffemodel"
    write_caffemodel(path, "net", {name: ("X", blobs) for name, blobs in _weights().items()})
    values = np.arange(6, dtype=np.float32)
    old = BlobProto(num=1, channels=1, height=2, width=3, data=values)
    double = BlobProto(double_data=values)
    double.shape.dim[:] = (2, 3)
    parts = [path.read_bytes()]
    for blob in (old, double):
        content = blob.SerializeToString()
        layer = b"\x22\x01a\x32" + bytes([len(content)]) + content  # of V1: name, blobs
        parts.append(b"\x0a\x01n\x12" + bytes([len(layer)]) + layer)
    return parts


def _hdf5_weights(folder: Path) -> list[bytes]:
    path = folder / "seed.h5"
    with h5py.File(path, "w") as file:
        for name, blobs in _weights().items():
            for number, blob in enumerate(blobs):
                file[f"data/{name}/{number}"] = blob
        file["learned_net"] = b"x.caffemodel.h5"
    return [path.read_bytes()]


# -- arrays --------------------------------------------------------------------------------------


def _npy(*arrays: np.ndarray) -> list[bytes]:
    files = []
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        files.append(file.getvalue())
    return files


def _arrays(folder: Path) -> list[bytes]:
    mean = np.arange(48, dtype=np.float32).reshape(3, 4, 4)
    return _npy(mean, np.asfortranarray(mean.astype(np.float64)), np.arange(3))


def _means(folder: Path) -> list[bytes]:
    values = np.arange(12, dtype=np.float32)
    return [BlobProto(num=1, channels=3, height=2, width=2, data=values).SerializeToString()]


def _read_array(path: Path) -> None:
    for read in (
        lambda: load_mean(path, 3),
        lambda: read_directions(path),
        lambda: held_inputs({"data": (1, 3, 4, 4), "m": (1, 3)}, "data", {"m": path}),
        lambda: read_channels(path, 3),
    ):
        with suppress(DeepVisError):
            read()


# -- images --------------------------------------------------------------------------------------


def _pixels(height: int = 9, width: int = 11) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _encoded(*endings: str) -> list[bytes]:
    return [cv2.imencode(ending, _pixels())[1].tobytes() for ending in endings]


def _pictures(folder: Path) -> list[bytes]:
    found = _encoded(".jpg", ".png", ".bmp", ".ppm", ".webp", ".tiff")
    for kind, options in (
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
        ("PNG", {}),
    ):
        file = io.BytesIO()
        array = _pixels()[..., 0].astype(np.uint16) if kind == "PNG" else _pixels()
        Image.fromarray(array).save(file, kind, **options)
        found.append(file.getvalue())
    for options in ({"ome": True}, {"imagej": True}, {"bigtiff": True, "compression": "zlib"}):
        file = io.BytesIO()
        tifffile.imwrite(file, np.stack([_pixels()[..., 0]] * 4), **options)
        found.append(file.getvalue())
    archive = io.BytesIO()
    np.savez_compressed(archive, image=_pixels())
    return [*found, archive.getvalue()]


def _read_picture(path: Path) -> None:
    for channels in (3, 4):
        with suppress(DeepVisError):
            read_channels(path, channels)
    with suppress(DeepVisError):
        read_image(path, 4)
    source = open_source(path)
    for side in (2, 100):
        source.read_small(0, side)


def _read_source(path: Path) -> None:
    source = open_source(path)
    source.signature()
    for index in range(min(len(source), MOST_READ)):
        for read in (source.read, source.label, source.content):
            with suppress(DeepVisError):
                read(index)


def _lists(folder: Path) -> list[bytes]:
    for name in ("a.png", "b c.png"):
        (folder / name).write_bytes(_encoded(".png")[0])
    return [
        b"a.png 1\nb c.png 2\n",
        b'# path, class\n"a.png", 3\n"b c.png", 4\n',
        b"C:\\x\\a.png\t1 0 1\r\n",
        f"{folder / 'a.png'} 0.5\n".encode(),
    ]


def _datum(**fields: Any) -> bytes:
    return Datum(**fields).SerializeToString()


DATUMS = (
    _datum(channels=3, height=4, width=5, data=bytes(60), label=3),
    _datum(channels=1, height=2, width=2, float_data=[0, 1, 2, 255]),
    _datum(encoded=True, data=cv2.imencode(".jpg", _pixels())[1].tobytes()),
)


def _lmdbs(folder: Path) -> list[bytes]:
    found = []
    for name, records in (
        ("small", {b"%04d" % k: datum for k, datum in enumerate(DATUMS)}),
        ("large", {b"%04d" % k: DATUMS[k % 3] + b"\x22\0" * 1500 * (k % 2) for k in range(60)}),
    ):
        path = folder / f"{name}.mdb"
        with (
            lmdb.open(str(path), subdir=False, map_size=2**20) as environment,
            environment.begin(write=True) as transaction,
        ):
            for key, value in records.items():
                transaction.put(key, value)
        found.append(path.read_bytes())
    assert read_entries(path)
    return found


def _read_datum(path: Path) -> None:
    datum = Datum()
    with suppress(Exception):  # what is no message is another kind's
        datum.ParseFromString(path.read_bytes())
    for channels in (3, 4):
        with suppress(DeepVisError):
            picture_from_datum(datum, channels)


def _hdf5_images(folder: Path) -> list[bytes]:
    found = []
    for options in ({}, {"chunks": (1, 3, 4, 4), "compression": "gzip"}):
        path = folder / "seed.h5"
        with h5py.File(path, "w") as file:
            data = np.arange(5 * 48, dtype=np.float32).reshape(5, 3, 4, 4)
            file.create_dataset("data", data=data, **options)
            file["label"] = np.arange(5)
        found.append(path.read_bytes())
    return found


# -- what we write ourselves ---------------------------------------------------------------------


def _scans(folder: Path) -> list[bytes]:
    layer = LayerScan.empty((2, 3, 3), 2, correlation=True)
    scan = Scan({"conv": layer}, ("a.png",), np.zeros(1, np.int64), 1, (("b.png", "damaged"),))
    recipe = {"layers": ["conv"], "own_output": ["conv"], "net": "x"}
    path = write_scan(folder / "scan.npz", scan, recipe)
    stored = io.BytesIO()  # without compression, so that numbers in it can be changed
    with np.load(path) as file:
        np.savez(stored, **dict(file))
    return [path.read_bytes(), stored.getvalue()]


def _read_scan(path: Path) -> None:
    read_moments(path, ["conv"], 2)
    scan, recipe = read_scan(path)
    for name in scan.layers:
        unit_statistics(scan, name, 0)
    ScanFolder(path.parent).finished({"layers": ["conv"], "net": "x"})
    ScanFolder(path.parent).has_shard(0, recipe)


def _claims(folder: Path) -> list[bytes]:
    other = CLAIMED | {"own_output": ["conv"], "net": "x", "images": "y"}
    return [json.dumps({"recipe": one, "shard_size": 8}).encode() for one in (CLAIMED, other)]


def _presets(folder: Path) -> list[bytes]:
    return [
        json.dumps({str(name): params.record() for name, params in PRESETS.items()}).encode(),
        b'{"a": {"rate": {"type": "GrayLevels", "levels": 5.0}, "iterations": 300}}',
        b'{"a": {"transforms": [{"type": "jitter", "fraction": 0.1}], "regularizers": []}}',
    ]


def _records(folder: Path) -> list[bytes]:
    run = {
        "layer": "fc",
        "unit": 7,
        "seed": 0,
        "objective": [0.5, None, 1.5],
        "best_iteration": 2,
        "best_value": 1.5,
        "met_top_iteration": None,
        "stop": "done",
        "params": PRESETS[1].record(),
        "recipe": {"net": "x"},
        "window": [0, 0, 4, 4],
    }
    top = {"layer": "fc", "unit": 7, "images": [{"name": "a", "value": 1.0}], "columns": 3}
    return [json.dumps(run).encode(), json.dumps(top).encode()]


def _read_record(path: Path) -> None:
    folder = path.parent / "regularized_opt" / "fc"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fc_0007_0.json").write_bytes(path.read_bytes())
    (folder / "fc_0007_0_best_X.png").write_bytes(b"")
    read_results(path.parent)
    read_top_record(path)
    read_run_record(path).facts()


def _marks(folder: Path) -> list[bytes]:
    recipes = [{"params": PRESETS[which].record(), "position": "center"} for which in (1, "best")]
    return [json.dumps({"recipes": recipes}).encode()]


def _read_mark(path: Path) -> None:
    recipe_folders(path.parent)
    folder_within(path.parent, {"params": PRESETS[1].record(), "position": "center"})


def _labels(folder: Path) -> list[bytes]:
    return [b"n01440764 tench, Tinca tinca\ncat\n\n", "Stra\xdfe\ncaf\xe9\n".encode("utf-16")]


KINDS = {
    "prototxt": Kind("net.prototxt", _prototxts, _read_net),
    "caffemodel": Kind("net.caffemodel", _caffemodels, read_caffemodel),
    "hdf5-weights": Kind("net.caffemodel.h5", _hdf5_weights, read_caffemodel),
    "npy": Kind("mean.npy", _arrays, _read_array),
    "binaryproto": Kind("mean.binaryproto", _means, lambda path: load_mean(path, 3)),
    "image": Kind("image.jpg", _pictures, _read_picture),
    "list": Kind("list.txt", _lists, _read_source),
    "lmdb": Kind("data.mdb", _lmdbs, _read_source),
    "datum": Kind("datum", lambda folder: DATUMS, _read_datum),
    "hdf5-images": Kind("images.h5", _hdf5_images, _read_source),
    "scan": Kind("scan.npz", _scans, _read_scan),
    "scan-claim": Kind(
        "recipe.json",
        _claims,
        lambda path: ScanFolder(path.parent).claim(CLAIMED, 8, overwrite=False),
    ),
    "presets": Kind("presets.json", _presets, read_presets),
    "recipe-mark": Kind("recipe.json", _marks, _read_mark),
    "record": Kind("fc_0007.json", _records, _read_record),
    "labels": Kind("labels.txt", _labels, read_labels),
}


# -- settings ------------------------------------------------------------------------------------
# They are Python, so what is changed is values, and not bytes, which might run as anything.

VALUES = (
    *("None", "True", "0", "-1", "10**400", "float('nan')", "1e308", "b'x'", "''", "' '", "1.5"),
    *("'~nobody/x'", "'a\\0b'", "'x' * 5000", "'x' * 10**7", "'\\ud800'", "'a:b;c'", "print"),
    *("'1' * 5000", "(1, 2, 3)", "['a', 5]", "'1,' * 10**6", "object()", "{1, 2}", "'/dev/zero'"),
    *("range(10**9)", "range(3)", "[[]] * 9", "{'data': 5}", "{5: 'image'}", "{'data': 'image'}"),
    *("{'data': range(10**9)}", "[range(10**9)]", "(x for x in [1])", "iter(int, 1)", "'1 2 3'"),
    *("type('T', (), {'ravel': 1})()", "type('T', (), {'__repr__': lambda self: 1 / 0})()"),
    *("__import__('math')", "__import__('pathlib').Path('x')", "(104, 117, 123)"),
    *("__import__('numpy').broadcast_to(0.0, (10**5, 10**4))", "__import__('numpy').zeros(3)"),
)
LINES = ("\0", "raise KeyError(5)", "(" * 300, "x" * 5000, "1 / 0", "\x0c", "del prototxt", "\xa0")
THEIRS = (
    *("caffevis_deploy_prototxt", "caffevis_network_weights", "caffevis_data_mean"),
    *("caffevis_labels", "caffevis_unit_jpg_dir", "caffevis_mode_gpu", "caffevis_gpu_id"),
    *("static_file_stretch_mode", "static_files_dir", "input_updater_capture_device"),
)


@st.composite
def settings_files(draw: st.DrawFn) -> bytes:
    """Settings files of ours and of the Deep Visualization Toolbox, with values of any type."""
    from deepvis_caffe.settings import Settings

    names = draw(st.sampled_from((tuple(Settings.model_fields), THEIRS)))
    lines = [
        f"{name} = {draw(st.sampled_from(VALUES))}"
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    ]
    if draw(st.integers(0, 4)) == 0:
        lines.append(draw(st.sampled_from(LINES)))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


class _Settings(Kind):
    def inputs(self, folder: Path) -> st.SearchStrategy[bytes]:
        return settings_files()


KINDS["settings"] = _Settings("settings_local.py", lambda folder: (), load_settings)
