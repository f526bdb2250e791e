"""Images of every kind of source: names in order, pixels, labels; and errors."""

from __future__ import annotations

import io
import os
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

from deepvis_caffe.dataset.image_files import decode, read_folder
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
    with pytest.raises(ImageError, match=r"train.txt:2: d.png has class 8 here, but 7"):
        open_source(path)


def test_what_is_not_a_source_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        open_source(tmp_path / "none")
    with pytest.raises(ImageError, match="holds no images"):
        open_source(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"\x00\x01\x02\x81")
    with pytest.raises(ImageError, match="not a list of images"):
        open_source(tmp_path / "x.bin")


def test_files_without_an_ending_go_by_content_and_others_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, picture(len(name)))
    (tmp_path / "b.png").rename(tmp_path / "n01440764_1")
    (tmp_path / "c.png").rename(tmp_path / "c.gif")  # its content counts when it is read
    for name in ("a.xml", "b.XML", "notes.txt", "README", ".hidden", "Thumbs.db"):
        (tmp_path / name).write_text("no image")
    np.save(tmp_path / "d.npy", picture(9))
    source = read_folder(tmp_path)
    assert list(source.names) == ["a.png", "c.gif", "d.npy", "n01440764_1"]
    assert source.left_out == {".xml": 2, ".txt": 1, "": 1}
    np.testing.assert_array_equal(source.read(2), picture(9))
    np.testing.assert_array_equal(source.read(3), picture(len("b.png")))


def test_the_contents_of_a_folder_without_images_are_reported(tmp_path: Path) -> None:
    for name in ("a.xml", "b.xml", "README"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(ImageError, match=r"; there are 2 \.xml, 1 without an ending$"):
        open_source(tmp_path)


@pytest.mark.parametrize("channels", [3, 4])
def test_files_are_read_for_the_net(channels: int, tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (6, 7, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", rgba)
    data = cv2.imencode(".png", rgba[..., [2, 1, 0, 3]])[1].tobytes()
    record = Datum(encoded=True, data=data, label=1).SerializeToString()
    write_lmdb(tmp_path / "db", {b"0": record})
    (tmp_path / "list.txt").write_text("a.png 1\n")
    kept = rgba[..., :channels]
    for path in (tmp_path, tmp_path / "list.txt", tmp_path / "a.png", tmp_path / "db"):
        source = pickle.loads(pickle.dumps(open_source(path, channels=channels)))
        np.testing.assert_array_equal(source.read(0), kept)
        np.testing.assert_array_equal(source.read_small(0, 2), kept)


def test_the_error_for_a_leveldb_says_how_to_convert_it(tmp_path: Path) -> None:
    for name in ("CURRENT", "MANIFEST-000002", "000003.log", "LOCK"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImageError, match=r"is a LevelDB, .*convert it to an LMDB"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "noun"), [(b"PK\x03\x04" + bytes(60), "a zip archive"), (b"\x1f\x8b", "a gzip")]
)
def test_files_of_other_kinds_are_named(content: bytes, noun: str, tmp_path: Path) -> None:
    (tmp_path / "images.dat").write_bytes(content)
    with pytest.raises(ImageError, match=f"not a list of images.*: it is {noun}"):
        open_source(tmp_path / "images.dat")


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


def test_damaged_records_are_reported_one_by_one(tmp_path: Path) -> None:
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


def test_an_lmdb_is_known_by_its_file_too(tmp_path: Path) -> None:
    image = picture(3)
    write_lmdb(tmp_path / "db", {b"0": datum(image, 4).SerializeToString()})
    with (
        lmdb.open(str(tmp_path / "one"), subdir=False) as environment,
        environment.begin(write=True) as change,
    ):
        change.put(b"0", datum(image, 4).SerializeToString())
    for path in (tmp_path / "db" / "data.mdb", tmp_path / "one"):
        source = pickle.loads(pickle.dumps(open_source(path)))
        np.testing.assert_array_equal(source.read(0), image)
        assert source.label(0) == 4
        assert source.signature()


def write_hdf5(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def test_hdf5_datasets_of_other_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x, z = np.random.default_rng(0).random((2, 2, 3, 4, 5)).astype(np.float32)
    path = write_hdf5(
        tmp_path / "set.h5", **{"train/z": z, "train/x": x, "train/y": [7, 8], "a": np.zeros(9)}
    )
    source = pickle.loads(pickle.dumps(open_source(path)))
    np.testing.assert_array_equal(source.read(1), x[1])  # the first one by name
    assert [source.label(k) for k in range(2)] == [7, 8]
    assert "has no dataset `data`: the images are 'train/x'; --hdf5-dataset" in caplog.text
    caplog.clear()
    other = open_source(path, dataset="train/z")
    np.testing.assert_array_equal(other.read(1), z[1])
    assert other.signature() != source.signature()
    assert not caplog.text
    with pytest.raises(ImageError, match=r"needs a dataset `w` .*; it has a \(9,\), train/x"):
        open_source(path, dataset="w")


def test_hdf5_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "train.dat", data=np.ones((1, 1, 2, 2)))
    assert len(open_source(path)) == 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.float32([0, 3]), [0, 3]),
        (np.float64([[1.0], [2.0]]), [1, 2]),
        (np.float32([0.5, 3]), [None, None]),  # 0.5 is no class 0
        (np.float32([np.nan, 3]), [None, None]),
        (np.int64([[0, 1], [1, 0]]), [None, None]),
        (np.int64([[[[4]]], [[[5]]]]), [4, 5]),
    ],
)
def test_hdf5_labels(labels: np.ndarray, expected: list[int | None], tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "set.h5", data=np.ones((2, 1, 2, 2)), label=labels)
    source = open_source(path)
    assert [source.label(k) for k in range(2)] == expected


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
    with pytest.raises(ImageError, match=r"shape \(N, C, H, W\); it has data \(2, 4, 5\)"):
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


# -- what cannot be read, or should not be -------------------------------------------------------


def bomb(height: int = 20_000, width: int = 20_000) -> bytes:
    """A small JPEG that says it has 400 million pixels."""
    content = jpeg()
    at = content.index(b"\xff\xc0")
    sizes = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return content[: at + 5] + sizes + content[at + 9 :]


def test_images_over_the_limit_are_left_out_of_a_scan_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "b.jpg").write_bytes(bomb())
    (tmp_path / "c.png").write_bytes(cv2.imencode(".png", picture(0, 40, 50))[1].tobytes())
    preprocessor = Preprocessor((3, 8, 8))
    (batch,) = load_batches(open_source(tmp_path), preprocessor, range(3), 8, 1)
    assert batch.indices == [0, 2]
    said = "too large: 20,000 x 20,000 pixels, but at most 100 million are read"
    assert batch.skipped == [(1, f"{said} (setting max_megapixels)")]
    smaller = open_source(tmp_path, megapixels=0.003)
    (batch,) = load_batches(smaller, preprocessor, range(3), 8, 1)
    assert batch.indices == [2]  # 2,000 pixels, and a JPEG of 4,096


def test_a_record_of_an_lmdb_over_the_limit_is_left_out(tmp_path: Path) -> None:
    encoded = Datum(encoded=True, data=bomb()).SerializeToString()
    negative = Datum(channels=-1, height=-1, width=12, data=bytes(12)).SerializeToString()
    path = write_lmdb(tmp_path / "db", {b"0": encoded, b"1": negative, b"2": b"\xff"})
    source = open_source(path)
    for index, said in enumerate(("too large", r"shape is \(-1, -1, 12\)", "not a Datum")):
        with pytest.raises(ImageError, match=said):
            source.read(index)


def test_pipes_and_devices_among_the_images_are_left_out(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(1))
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "without_an_ending")
    source = open_source(tmp_path)
    assert list(source.names) == ["a.png", "b.png"]
    with pytest.raises(ImageError, match="it is a pipe, not a file"):
        source.read(1)
    (tmp_path / "list.txt").write_text("a.png 1\n/dev/zero 2\n")
    source = open_source(tmp_path / "list.txt")
    with pytest.raises(ImageError, match="it is a device, not a file"):
        source.read(source.names.index("/dev/zero"))
    os.mkfifo(tmp_path / "video.mp4")
    with pytest.raises(ImageError, match="it is a pipe, not a file"):
        open_source(tmp_path / "video.mp4")


def test_names_that_are_not_utf8_are_written_with_escapes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(1))
    folder = os.fsencode(tmp_path)
    os.rename(folder + b"/a.png", folder + b"/caf\xe9.png")  # noqa: PTH104
    source = open_source(tmp_path)
    assert list(source.names) == [r"caf\xe9.png"]
    np.testing.assert_array_equal(source.read(0), picture(1))
    source.signature().encode()


def test_a_path_that_is_too_long_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot read images at .*: File name too long"):
        open_source(tmp_path / ("x" * 5000))
    write_image(tmp_path / "a.png", picture(1))
    (tmp_path / "list.txt").write_text(f"a.png 1\n{'x' * 5000}.png 2\n")
    source = open_source(tmp_path / "list.txt")
    with pytest.raises(ImageError, match="File name too long"):
        source.read(1)


def test_hdf5_images_that_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (10**6, 3, 100, 100), np.float32)  # takes no space
    with pytest.raises(ImageError, match="120,000,000,000 bytes, and 0 are in the file"):
        open_source(tmp_path / "a.h5")


def test_a_class_of_a_list_is_a_number_that_caffe_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "a.png", picture(1))
    for number in ("1" * 5000, "99999999999"):
        (tmp_path / "list.txt").write_text(f"a.png {number}\n")
        assert open_source(tmp_path / "list.txt").label(0) is None
    assert "what follows the path in line 1 is too large, 99999999999" in caplog.text
