"""Nets whose input is not gray or RGB, in every command that takes images.

The nets' only layer copies each channel, so a unit's highest activation is the highest value of its
channel.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.commands import deepvis, read_rgb
from PIL import Image

from deepvis_caffe.model.caffemodel import write_caffemodel

SIZE = 6


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)


def net(channels: int, *more: str) -> list[str]:
    """The flags of a net that passes so many channels on."""
    Path("net.prototxt").write_text(
        f'input: "data" input_shape {{ dim: 1 dim: {channels} dim: {SIZE} dim: {SIZE} }}\n'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        f"convolution_param {{ num_output: {channels} kernel_size: 1 bias_term: false }} }}\n"
    )
    weights = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
    write_caffemodel(Path("net.caffemodel"), "net", {"c": ("Convolution", (weights,))})
    return ["--prototxt", "net.prototxt", "--weights", "net.caffemodel", "--engine", "torch", *more]


def bands(channels: int, seed: int = 0) -> np.ndarray:
    shape = (SIZE, SIZE, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(name: str, image: np.ndarray) -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, image.transpose(2, 0, 1), photometric="minisblack")
    elif path.suffix == ".npz":
        np.savez(path, image)
    else:
        np.save(path, image)
    return path


CASES = [
    *((channels, ending) for channels in (2, 4) for ending in (".png", ".tif", ".npy", ".npz")),
    *((5, ending) for ending in (".tif", ".npy", ".npz")),
]


def activation(said: str) -> float:
    found = re.search(r"activation (\S+)", said)
    assert found
    return float(found[1])


@pytest.mark.parametrize(("channels", "ending"), CASES)
def test_backward(channels: int, ending: str) -> None:
    image = bands(channels)
    path, flags = save(f"a{ending}", image), net(channels)
    for unit in range(channels):
        said = deepvis("backward", str(path), "--layer", "c", "--unit", str(unit), *flags).output
        assert activation(said) == image[..., unit].max()


TOP = float(bands(5)[..., 4].max())


@pytest.mark.parametrize(
    ("image", "flags", "highest"),
    [
        (np.float32(bands(5)) * 40 - 99, [], TOP * 40 - 99),  # as they are
        (np.float32(bands(5)) / 255, [], TOP),  # as Caffe's load_image: times raw_scale
        (np.uint16(bands(5)) * 257, [], TOP),  # 65535 is white
        (bands(5), ["--raw-scale", "1"], TOP / 255),
        (bands(5), ["--mean", "1,2,3,4,5"], TOP - 5),
    ],
)
def test_values(image: np.ndarray, flags: list[str], highest: float) -> None:
    path = str(save("a.npy", image))
    said = deepvis("backward", path, "--layer", "c", "--unit", "4", *net(5, *flags)).output
    assert activation(said) == pytest.approx(highest, rel=1e-4)


@pytest.mark.parametrize(("channels", "ending"), [(4, ".png"), (2, ".tif"), (5, ".npy")])
@pytest.mark.parametrize("as_list", [False, True])
def test_top_images(channels: int, ending: str, as_list: bool) -> None:
    images = {f"{seed}{ending}": bands(channels, seed) for seed in range(3)}
    for name, image in images.items():
        save(f"d/{name}", image)
    source = "d"
    if as_list:
        source = "d/list.txt"
        Path(source).write_text("".join(f"{name} 1\n" for name in images))
    chosen = ["--picture-channels", "1,0,1"]
    said = deepvis(
        *(
            "top-images",
            "--images",
            source,
            "--units",
            "1",
            "--top",
            "1",
            "--modes",
            "none",
            "--crops",
        ),
        *("--layers", "c", *chosen),
        *net(channels),
    ).output
    assert "3 images" in said
    record = json.loads(Path("results/max_im/c/c_0001.json").read_text())
    best = max(images, key=lambda name: images[name][..., 1].max())
    (top,) = record["images"]
    assert (top["name"], top["value"]) == (best, images[best][..., 1].max())
    # The crop is the pixel itself, in the channels that were chosen.
    y, x = top["place"]
    crop = read_rgb("results/max_im/c/c_0001_0.png")
    assert crop[0, 0].tolist() == images[best][y, x, [1, 0, 1]].tolist()


def test_results_of_other_picture_channels_are_not_mixed_up() -> None:
    save("d/a.npy", bands(5))
    command = ("top-images", "--images", "d", "--layers", "c", "--modes", "none", *net(5))
    deepvis(*command, "--picture-channels", "0,1,2")
    assert "already finished" in deepvis(*command, "--picture-channels", "0,1,2").output
    assert "0 new" in deepvis(*command, "--picture-channels", "0,1,2").output
    refused = deepvis(*command, "--picture-channels", "3", code=2).output
    assert "was made from other images" in refused
    optimize = ("optimize", "c", "--units", "0", "--seeds", "1", "--iterations", "1", *net(5))
    deepvis(*optimize, "--picture-channels", "0,1,2")
    said = deepvis(*optimize, "--picture-channels", "4", code=2).output
    assert "picture_channels [0, 1, 2], now [4]" in said


def test_a_start_from_a_file_is_shown_in_the_channels_that_were_chosen() -> None:
    image = bands(5)
    start = ("--start", str(save("a.npy", image)), "--picture-channels", "4,2,0")
    run = ("--units", "0", "--seeds", "1", "--iterations", "1", "--crop", "off", "--rate", "1e-9")
    deepvis("optimize", "c", *run, *start, *net(5))
    found = read_rgb("results/regularized_opt/c/c_0000_0_best_Xpm.png")
    np.testing.assert_allclose(found, image[..., [4, 2, 0]], atol=1)


def test_filters_and_sensitivity_take_the_same_files() -> None:
    for seed in range(2):
        save(f"d/{seed}.npy", bands(5, seed))
    said = deepvis("sensitivity", "d", "--noise", "1", "--layers", "c", "--no-plots", *net(5))
    assert "2 images" in said.output
    assert "picture has" not in deepvis("sensitivity", "d/0.npy", "--noise", "1", *net(5)).output


def test_a_picture_without_the_channels_gets_a_hint_at_formats_with_them() -> None:
    backward = ("backward", "chelsea", "--layer", "c", "--unit", "0")
    said = " ".join(deepvis(*backward, *net(4), code=2).output.split())
    assert "input has 4 channels, but the picture has 3; give an RGBA picture (PNG), a TIFF" in said
    assert "or an array (.npy or .npz) of shape (height, width, 4)" in said


def test_what_is_left_out_is_counted_by_reason() -> None:
    for name, channels in (("a.png", 4), ("b.png", 3), ("c.png", 3), ("d.npy", 5)):
        save(f"d/{name}", bands(channels))
    Path("d/e.png").write_bytes(b"")
    Path("d/notes.txt").write_text("no image")
    said = deepvis(
        "top-images", "--images", "d", "--layers", "c", "--pictures", "none", *net(4)
    ).output
    assert "left out 1 files that are not images: 1 .txt" in said
    assert (
        "4 images could not be used: 2 the net's input has 4 channels, but the picture has 3"
        in said
    )
    assert "1 cannot read the image" in said


@pytest.mark.parametrize(
    ("channels", "flags", "words"),
    [
        (10, [], "none is subtracted; pixels range from 0 to 255"),
        (5, ["--mean", "1,2,3,4,5"], "1, 2, 3, 4 ... of 5 channels on average"),
        (2, ["--mean", "1.5,2"], "1.5, 2 on average"),
        (3, [], "no mean is set, but most nets for color images were trained with one"),
    ],
)
def test_doctors_line_on_the_mean(channels: int, flags: list[str], words: str) -> None:
    said = deepvis("doctor", *net(channels), *flags).output
    (line,) = [one for one in said.splitlines() if " mean " in f" {one[5:]} "[:7]]
    assert words in line


ROWS = """
input: "data" input_shape { dim: 1 dim: 6 dim: 20 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 2 kernel_size: 3 } }
"""


def test_an_input_of_three_axes_for_a_convolution_gets_a_hint_at_the_axes_of_images() -> None:
    Path("net.prototxt").write_text(ROWS)
    weights = (np.ones((2, 6, 3), np.float32), np.zeros(2, np.float32))
    write_caffemodel(Path("net.caffemodel"), "net", {"c": ("Convolution", weights)})
    files = ("--prototxt", "net.prototxt", "--weights", "net.caffemodel", "--engine", "torch")
    said = " ".join(deepvis("optimize", "c", "--units", "0", *files, code=2).output.split())
    assert "the image input, 'data', has shape (1, 6, 20); images need 4 axes" in said
    assert not Path("results").exists()


@pytest.mark.process
def test_a_damaged_tiff_is_one_line() -> None:
    """OpenCV prints one for each tag that it does not like."""
    content = save("a.tif", bands(3)).read_bytes()
    Path("bad.tif").write_bytes(content.replace(b"\x11\x01", b"\xe8\xfd"))  # where the pixels are
    arguments = ["backward", "bad.tif", "--layer", "c", "--unit", "0", *net(3, "--mean", "0")]
    ended = subprocess.run(
        [sys.executable, "-m", "deepvis_caffe", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("deepvis: cannot read the image bad.tif")
