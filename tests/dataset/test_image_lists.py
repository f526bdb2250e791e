"""Lists of images in common formats, against what each line means, written by hand."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepvis_caffe.dataset.image_lists import parse_list, split_line
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import write_image


@pytest.mark.parametrize(
    ("line", "path", "values"),
    [
        ("n01440764/a_1.JPEG 7", "n01440764/a_1.JPEG", ["7"]),
        ("my photos/a b 3.png 12", "my photos/a b 3.png", ["12"]),
        ("a.jpg", "a.jpg", []),
        ("a.jpg\t7", "a.jpg", ["7"]),
        ("a.jpg,7", "a.jpg", ["7"]),
        ("a.jpg; 7", "a.jpg", ["7"]),
        ("a,b.jpg,7", "a,b.jpg", ["7"]),
        ('"my photos/a.jpg" 7', "my photos/a.jpg", ["7"]),
        ("'a.jpg',7", "a.jpg", ["7"]),
        ('"no ending" 7', "no ending", ["7"]),
        ("a.png.jpg 7", "a.png.jpg", ["7"]),
        ("a.jpg 0 1 1 0", "a.jpg", ["0", "1", "1", "0"]),
        ("a.jpg 0.25,-3e-2", "a.jpg", ["0.25", "-3e-2"]),
        ("/JPEGImages/a.jpg /Labels/a.png", "/JPEGImages/a.jpg", ["/Labels/a.png"]),
        ("a.jpg cat", "a.jpg", ["cat"]),
        ("C:\\data\\a b.bmp 7", "C:\\data\\a b.bmp", ["7"]),
        ("frames/000123 7", "frames/000123", ["7"]),
        ("frames/000123 0.5 0.25", "frames/000123", ["0.5", "0.25"]),
        ("no ending 7", "no ending", ["7"]),  # as Caffe: up to the last space
        ("no ending", "no ending", []),
        ("no ending,7", "no ending", ["7"]),
        ("no ending\t0.5\t1", "no ending", ["0.5", "1"]),
    ],
)
def test_a_line_is_a_path_and_values(line: str, path: str, values: list[str]) -> None:
    assert split_line(line) == (path, tuple(values))


def images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_image(folder / name, np.full((4, 5, 3), number, np.uint8))
    return folder


def listed(source: Path, root: Path | None = None) -> list[tuple[str, int | None]]:
    return [(one.name, one.label) for one in parse_list(source, root)]


def test_tables_comments_and_empty_lines(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    path = tmp_path / "list.csv"
    for text in (
        "image,label\na.png,3\nb.png,4\n",
        "# made by hand\n\na.png 3\n  \n# b.png 9\nb.png 4\n",
        "filename\tclass\r\na.png\t3\r\nb.png\t4\r\n",
        'path;class\n"a.png";3\n"b.png";4',
        "a.png 3.0\nb.png 4.000\n",
    ):
        path.write_text(text)
        assert listed(path) == [("a.png", 3), ("b.png", 4)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a.png 0 1\nb.png 1 0\n", "2 values follow the path in line 1"),
        ("a.png 3\nb.png 0.5\n", "what follows the path in line 2 is not a whole number, 0.5"),
        ("a.png labels/a.png\n", "what follows the path in line 1 is not a number, 'labels/a.png'"),
        ("# x\na.png 1\nb.png cat\n", "what follows the path in line 3 is not a number, 'cat'"),
    ],
)
def test_values_that_are_no_class_are_left_out_with_a_word(
    text: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images(tmp_path, "a.png", "b.png")
    path = tmp_path / "list.txt"
    path.write_text(text)
    assert {label for _, label in listed(path)} == {None}
    (said,) = caplog.messages
    assert said == f"{path}: {why}, so its images have no classes"


@pytest.mark.parametrize("encoding", ["utf-16", "gbk", "utf-8-sig"])
def test_lists_as_windows_saves_them(encoding: str, tmp_path: Path) -> None:
    images(tmp_path, "d/猫.png", "d/狗.png")
    path = tmp_path / "list.txt"
    path.write_bytes("d\\猫.png 1\r\nd\\狗.png 0\r\n".encode(encoding))
    source = open_source(path)
    assert list(source.names) == ["d/狗.png", "d/猫.png"]
    assert [source.label(k) for k in range(2)] == [0, 1]
    assert source.read(1)[0, 0].tolist() == [0, 0, 0]


# -- where paths start ---------------------------------------------------------------------------


def read_all(path: Path, root: Path | None = None) -> dict[str, int]:
    """The gray level of each image, by its name."""
    source = pickle.loads(pickle.dumps(open_source(path, root=root)))
    return {name: int(source.read(k)[0, 0, 0]) for k, name in enumerate(source.names)}


def test_a_root_is_where_paths_start(tmp_path: Path) -> None:
    images(tmp_path / "data", "x/a.png", "x/b.png")
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "val.txt"
    path.write_text("x/a.png 1\nx/b.png 2\n")
    assert read_all(path, tmp_path / "data") == {"x/a.png": 0, "x/b.png": 1}
    with pytest.raises(
        ImageError, match=r"none of the 2 files in the list .*val\.txt exists"
    ) as told:
        open_source(path)
    assert f"tried {tmp_path}/lists/x/a.png; give the folder" in str(told.value)
    assert "--image-root FOLDER" in str(told.value)


def test_paths_start_at_the_current_folder_where_they_do_not_at_the_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path / "examples", "a.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.txt").write_text("examples/a.png 1\n")
    monkeypatch.chdir(tmp_path)  # as Caffe's are
    assert read_all(Path("lists/val.txt")) == {"examples/a.png": 0}


@pytest.mark.parametrize(
    "begin",
    ["/home/her/data/", "C:\\data\\", "D:/sets/one/two/", "\\\\server\\share\\", "/", "train/"],
)
def test_paths_of_another_machine_are_found_below_the_root(
    begin: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images(tmp_path / "data", "x/a.png", "y/a.png")
    (tmp_path / "val.txt").write_text("".join(f"{begin}{one}/a.png 1\n" for one in "xy"))
    found = read_all(tmp_path / "val.txt", tmp_path / "data")
    assert sorted(found.values()) == [0, 1]
    assert found[f"{begin}y/a.png".replace("\\", "/")] == 1
    said = caplog.messages[0]
    assert said.endswith(f"{begin}x/a.png is {tmp_path}/data/x/a.png".replace("\\", "/"))


def test_two_images_are_never_taken_for_one(tmp_path: Path) -> None:
    images(tmp_path / "data", "a.png")
    (tmp_path / "val.txt").write_text("/home/x/a.png 1\n/home/y/a.png 1\n")
    with pytest.raises(ImageError, match="none of the"):
        open_source(tmp_path / "val.txt", root=tmp_path / "data")


def test_a_missing_image_is_named_with_the_path_that_was_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images(tmp_path, "a.png")
    (tmp_path / "val.txt").write_text("a.png\ngone.png\n")
    source = open_source(tmp_path / "val.txt")
    with pytest.raises(ImageError, match=rf"No such file or directory: {tmp_path}/gone\.png"):
        source.read(1)
    assert caplog.record_tuples == []


def test_lists_of_hdf5_files_start_where_lists_of_images_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data" / "one.h5", "w") as file:
        file["data"] = np.ones((2, 1, 3, 3))
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "train.txt"
    path.write_bytes("data\\one.h5\r\n".encode("utf-16"))
    monkeypatch.chdir(tmp_path)
    assert len(open_source(path)) == 2
    monkeypatch.chdir(tmp_path / "lists")
    with pytest.raises(ImageError, match="of the 1 files"):
        open_source(path)
    with caplog.at_level(logging.WARNING):
        assert len(open_source(path, root=tmp_path / "data")) == 2
    assert "are taken relative to" in caplog.text


def test_one_image_is_a_set_of_one(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    assert list(open_source(tmp_path / "a.png").names) == ["a.png"]
