"""`deepvis top-images` and `deepvis stats` end to end on a small model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers import small_model
from helpers.commands import deepvis
from helpers.image_sets import slow_pass, slow_top, write_folder

import deepvis_caffe as dv
from deepvis_caffe.image import read_image

IMAGES = 12


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its settings and images, as the current one."""
    small_model.write_model(tmp_path)
    write_folder(tmp_path / "images", IMAGES)
    (tmp_path / "images" / "a" / "damaged.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    return tmp_path


@pytest.mark.slow
def test_top_images_and_stats(folder: Path) -> None:
    result = deepvis(
        *("top-images", "--images", "images", "--pictures", "conv/1,fc", "--units", "1-2"),
        *("--modes", "deconv,gradient", "--class-folders", "--top", "4"),
    )
    assert "12 images, 9 units of 2 layers" in result.output
    assert "a/damaged.png: cannot read the image" in result.output
    net = dv.load_net("small.prototxt", "small.caffemodel", engine="torch", mean=small_model.MEAN)
    (folder / "images" / "a" / "damaged.png").unlink()
    tops = {}
    for layer in ("conv/1", "fc"):
        names, values = slow_pass(net, folder / "images", layer)
        tops[layer] = slow_top(names, values, 4)
        stem = layer.replace("/", "_")
        for unit in (1, 2):
            for tree in ("max_im", "max_deconv", "max_gradient"):
                path = folder / "out" / tree / stem / f"{stem}_{unit:04d}.json"
                images = json.loads(path.read_text())["images"]
                expected = [(one[1]) for one in tops[layer][unit]]
                assert [one["name"] for one in images] == expected[: len(images)]
        assert not list((folder / "out" / "max_im" / stem).glob("*_0003.jpg"))

    again = deepvis("stats")
    assert "1 images could not be used" in again.output
    for layer in ("conv/1", "fc"):
        stem = layer.replace("/", "_")
        names, values = slow_pass(net, folder / "images", layer)
        with (folder / "out" / "dataset" / f"{stem}.csv").open() as file:
            rows = list(csv.DictReader(file))
        flat = values.transpose(1, 0, 2).reshape(values.shape[1], -1).astype(float)
        for unit, row in enumerate(rows):
            assert float(row["mean"]) == pytest.approx(flat[unit].mean(), rel=1e-4, abs=1e-4)
            assert float(row["deviation"]) == pytest.approx(flat[unit].std(), rel=1e-4)
            assert float(row["zeros"]) == pytest.approx((flat[unit] == 0).mean(), rel=1e-5)
            assert row["image"] == tops[layer][unit][0][1]
        picture = read_image(folder / "out" / "dataset" / f"{stem}.png")
        assert picture.std() > 10
    assert [row["label"] for row in rows] == list(small_model.LABELS)
    skipped = (folder / "out" / "dataset" / "skipped.csv").read_text()
    assert skipped.splitlines()[1].startswith('a/damaged.png,"cannot read')


def test_the_same_command_resumes_and_another_is_refused(folder: Path) -> None:
    command = ("top-images", "--images", "images", "--layers", "conv/1", "--units", "0", "--top")
    first = deepvis(*command, "3", "--modes", "none")
    assert "pictures of 1 units, 1 new" in first.output
    assert not (folder / "out" / "max_deconv").exists()
    second = deepvis(*command, "3", "--modes", "none")
    assert "already finished" in second.output
    assert "pictures of 1 units, 0 new" in second.output
    assert not list((folder / "out" / "max_im").rglob("*.png"))
    assert (
        "pictures of 1 units, 1 new" in deepvis(*command, "3", "--modes", "none", "--crops").output
    )
    assert len(list((folder / "out" / "max_im").rglob("*.png"))) == 3
    refused = deepvis(*command, "4", code=2)
    assert "count 3, now 4" in " ".join(refused.output.split())
    deepvis(*command, "4", "--overwrite")


def test_duplicates_and_every_second_image(folder: Path) -> None:
    content = (folder / "images" / "b" / "001.png").read_bytes()
    (folder / "images" / "zz.png").write_bytes(content)
    result = deepvis("top-images", "--images", "images", "--unique", "--pictures", "none")
    assert "left out 1 exact duplicates" in result.output
    assert "12 images, 9 units" in result.output
    half = deepvis(
        *("top-images", "--images", "images", "--every", "2", "--pictures", "none", "-o", "half")
    )
    assert "6 images, 9 units" in half.output  # and the damaged one


def test_a_list_of_another_machine_below_the_image_root(folder: Path) -> None:
    names = sorted(path.relative_to(folder / "images") for path in folder.rglob("images/?/0*.png"))
    (folder / "lists").mkdir()
    lines = [f"D:\\sets\\{name} 1".replace("/", "\\") for name in names]
    (folder / "lists" / "val.txt").write_bytes("\r\n".join(lines).encode("utf-16"))
    images = ("top-images", "--images", "lists/val.txt", "--pictures", "none")
    assert f"tried {folder}/lists/D:/sets/{names[0]}" in deepvis(*images, code=2).output
    said = deepvis(*images, "--image-root", "images").output
    assert f"{len(names)} images, 9 units" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["top-images"], "no images are named"),
        (["top-images", "--images", "nowhere"], "no images at nowhere"),
        (["top-images", "--images", "images", "--layers", "conv"], "did you mean"),
        (["top-images", "--images", "images", "--modes", "deconf"], "deconv"),
        (
            ["top-images", "--images", "images", "--layers", "fc", "--pictures", "conv/1"],
            "not among the scanned layers",
        ),
        (["stats"], "run `deepvis top-images` to make it"),
    ],
)
def test_mistakes_give_clear_errors(arguments: list[str], words: str) -> None:
    result = deepvis(*arguments, code=2)
    assert words in " ".join(result.output.split())
