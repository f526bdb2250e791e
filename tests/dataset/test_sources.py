"""Images of every kind of source: names in order, pixels, labels; and what is wrong with some."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image

from deepvis_caffe.dataset.image_files import decode
from deepvis_caffe.dataset.loader import load_batches, ordered_map
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.source import every, unique
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import write_image
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.schema_pb2 import Datum


def picture(number: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def jpeg(number: int = 0, size: int = 64, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(number, size, size)).save(file, "JPEG", **options)
    return file.getvalue()


# -- folders and lists ---------------------------------------------------------------------------


def test_a_folder_is_read_at_any_depth_in_the_order_of_names(tmp_path: Path) -> None:
    names = ["b/2.png", "a/z/1.PNG", "b/10.png", "c.png"]
    for number, name in enumerate(names):
        file = tmp_path / name.lower()
        write_image(file, picture(number))
        file.rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(tmp_path)
    assert list(source.names) == ["a/z/1.PNG", "b/10.png", "b/2.png", "c.png"]
    np.testing.assert_array_equal(source.read(0), picture(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(3), picture(3))
    assert [source.label(k) for k in range(4)] == [None] * 4
    classes = open_source(tmp_path, class_folders=True)
    assert [classes.label(k) for k in range(4)] == [0, 1, 1, None]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write_image(tmp_path / "real" / "1.png", picture(1))
    (tmp_path / "real" / "back").symlink_to(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "real")
    assert list(open_source(tmp_path / "set").names) == ["link/1.png"]


def test_a_list_names_images_with_their_classes_or_without(tmp_path: Path) -> None:
    for name in ("a b.png", "c.png", "d.png"):
        write_image(tmp_path / name, picture(len(name)))
    path = tmp_path / "train.txt"
    path.write_text("d.png 7\na b.png -1\n\nc.png\nd.png 7\n")
    source = open_source(path)
    assert list(source.names) == ["a b.png", "c.png", "d.png"]
    assert [source.label(k) for k in range(3)] == [-1, None, 7]
    path.write_text("d.png 7\nd.png 8\n")
    with pytest.raises(ImageError, match=r"train.txt:2: d.png has class 8 here, and 7"):
        open_source(path)


def test_what_is_no_source_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        open_source(tmp_path / "none")
    with pytest.raises(ImageError, match="holds no images"):
        open_source(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"\x00\x01\x02\x81")
    with pytest.raises(ImageError, match="not a list of images"):
        open_source(tmp_path / "x.bin")


# -- Caffe's databases ---------------------------------------------------------------------------


def write_lmdb(path: Path, records: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as t:
        for key, record in records.items():
            t.put(key, record)
    return path


def datum(image: np.ndarray, label: int, message: type = Datum) -> Any:
    """As Caffe's convert_imageset makes it: BGR, channels first."""
    channels = image[..., ::-1].transpose(2, 0, 1)
    count, height, width = channels.shape
    return message(channels=count, height=height, width=width, data=channels.tobytes(), label=label)


def test_an_lmdb_of_caffes_own_records(tmp_path: Path, caffe: Any) -> None:
    from caffe.proto import caffe_pb2

    raw = datum(picture(1), 5, caffe_pb2.Datum)
    png = cv2.imencode(".png", picture(2)[..., ::-1])[1].tobytes()
    encoded = caffe_pb2.Datum(encoded=True, data=png, label=6)
    gray = datum(picture(3)[..., :1], 7, caffe_pb2.Datum)
    floats = caffe.io.array_to_datum(picture(4).transpose(2, 0, 1)[::-1].astype(float), 8)
    records = [raw, encoded, gray, floats]
    path = write_lmdb(
        tmp_path / "db", {b"%08d" % k: r.SerializeToString() for k, r in enumerate(records)}
    )
    source = pickle.loads(pickle.dumps(open_source(path)))
    assert list(source.names) == ["00000000", "00000001", "00000002", "00000003"]
    assert [source.label(k) for k in range(4)] == [5, 6, 7, 8]
    np.testing.assert_array_equal(source.read(0), picture(1))
    np.testing.assert_array_equal(source.read(1), picture(2))
    np.testing.assert_array_equal(source.read(2), picture(3)[..., :1])
    np.testing.assert_allclose(source.read(3) * 255, picture(4), rtol=1e-6)


def test_damaged_records_are_told_one_by_one(tmp_path: Path) -> None:
    short = datum(picture(1), 1)
    short.data = short.data[:-1]
    odd = Datum(channels=1, height=1, width=1, float_data=[-3.0])
    good = datum(picture(2), 2)
    path = write_lmdb(
        tmp_path / "db",
        {
            b"a": short.SerializeToString(),
            b"b": odd.SerializeToString(),
            b"c": b"\xff\xff\xff",
            b"\xff": good.SerializeToString(),
        },
    )
    source = open_source(path)
    assert list(source.names) == ["\\xff", "a", "b", "c"]
    for index, why in enumerate(["holds 143 values", "not pixels", "not a Datum"], 1):
        with pytest.raises(ImageError, match=why):
            source.read(index)
    np.testing.assert_array_equal(source.read(0), picture(2))


def test_hdf5_rows_are_the_nets_own_input(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["data"], file["label"] = data, np.array([[4], [5], [6]], np.float32)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["data"] = data + 1
    (tmp_path / "list.txt").write_text("two.h5\none.h5\n")
    source = pickle.loads(pickle.dumps(open_source(tmp_path / "list.txt")))
    assert source.prepared
    assert source.names[0] == "one.h5/00000000"
    assert len(source) == 6
    np.testing.assert_array_equal(source.read(4), data[1] + 1)
    assert [source.label(k) for k in (0, 2, 3)] == [4, 6, None]
    np.testing.assert_array_equal(open_source(tmp_path / "one.h5").read(2), data[2])
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["data"] = data[0]
    with pytest.raises(ImageError, match=r"shape \(N, C, H, W\); got \(2, 4, 5\)"):
        open_source(tmp_path / "bad.h5")


def test_a_videos_frames_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    levels = [20, 90, 160, 230, 40]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
    for level in levels:
        writer.write(np.full((32, 32, 3), level, np.uint8))
    writer.release()
    source = pickle.loads(pickle.dumps(open_source(path)))
    assert len(source) == 5
    assert list(source.names) == sorted(source.names)
    for index in (3, 0, 4, 2, 2, 1):
        assert abs(source.read(index).mean() - levels[index]) < 4


# -- selections ----------------------------------------------------------------------------------


def test_every_nth_image_and_no_duplicates(tmp_path: Path) -> None:
    for number, name in enumerate("abcdefg"):
        write_image(tmp_path / f"{name}.png", picture(number % 4))
    (tmp_path / "broken.png").write_bytes(b"")
    (tmp_path / "empty too.png").write_bytes(b"")
    source = open_source(tmp_path)
    assert list(every(source, 4).names) == ["a.png", "d.png", "g.png"]
    kept, dropped = unique(source)
    assert dropped == (
        ("e.png", "a.png"),
        ("empty too.png", "broken.png"),
        ("f.png", "b.png"),
        ("g.png", "c.png"),
    )
    assert list(kept.names) == ["a.png", "b.png", "broken.png", "c.png", "d.png"]
    np.testing.assert_array_equal(kept.read(4), picture(3))
    assert kept.signature() != source.signature()
    assert unique(kept)[0] is kept


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}])
def test_a_jpeg_is_whole_or_refused(options: dict[str, Any]) -> None:
    content = jpeg(**options)
    assert decode(content).shape == (64, 64, 3)
    assert decode(content + b"\xff\xda trailing \xff").shape == (64, 64, 3)
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(ImageError):
            decode(content[: int(len(content) * share)])


def test_a_thumbnails_end_is_not_the_images() -> None:
    thumbnail = jpeg(1, 16)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    content = b"\xff\xd8" + segment + jpeg()[2:]
    assert decode(content).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode(content[: len(segment) + 900])


def test_a_png_is_whole_or_refused() -> None:
    content = cv2.imencode(".png", picture(0, 64, 64))[1].tobytes()
    np.testing.assert_array_equal(decode(content)[..., ::-1], picture(0, 64, 64))
    with pytest.raises(ImageError, match="truncated"):
        decode(content[:-20])


@pytest.mark.parametrize(("side", "shrink"), [(100, 1), (51, 1), (50, 2), (26, 2), (25, 4), (1, 4)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_decoded_as_small_as_it_may_be(side: int, shrink: int, progressive: bool) -> None:
    rows, columns = np.mgrid[:100, :160]
    smooth = np.stack([rows * 2, columns, 255 - rows - columns // 2], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=95, progressive=progressive)
    blocks = smooth.reshape(100 // shrink, shrink, 160 // shrink, shrink, 3).mean(axis=(1, 3))
    found = decode(file.getvalue(), side)
    np.testing.assert_allclose(found, blocks, atol=4)
    png = io.BytesIO()
    Image.fromarray(smooth).save(png, "PNG")
    np.testing.assert_array_equal(decode(png.getvalue(), side), smooth)


@pytest.mark.parametrize(("threads", "size"), [(1, 4), (3, 4), (3, 5), (2, 100)])
def test_batches_are_in_order_and_damaged_images_in_none(
    tmp_path: Path, threads: int, size: int
) -> None:
    for number in range(11):
        write_image(tmp_path / f"{number:02d}.png", picture(number))
    (tmp_path / "03.png").write_bytes(b"no image")
    (tmp_path / "07.png").write_bytes((tmp_path / "07.png").read_bytes()[:-30])
    source, preprocessor = open_source(tmp_path), Preprocessor((3, 6, 8), 100)
    batches = list(load_batches(source, preprocessor, range(11), size, threads))
    good = [k for k in range(11) if k not in (3, 7)]
    assert [k for batch in batches for k in batch.indices] == good
    assert [k for batch in batches for k, _ in batch.skipped] == [3, 7]
    assert [len(b.indices) for b in batches] == [size] * (9 // size) + [9 % size] * (9 % size > 0)
    x = np.stack([image for batch in batches for image in batch.images])
    np.testing.assert_array_equal(x, preprocessor([picture(k) for k in good]))


def test_other_errors_end_the_work() -> None:
    def work(index: int) -> int:
        return 1 // (2 - index)

    with pytest.raises(ZeroDivisionError), ThreadPoolExecutor(2) as pool:
        list(ordered_map(work, range(4), pool, 2))
