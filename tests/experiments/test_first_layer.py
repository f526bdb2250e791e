"""First layers' activations against a convolution in plain numpy; the table and the plot."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import ImageError, SettingsError, UnknownNameError
from deepvis_caffe.experiments.first_layer import (
    FilterSpectrum,
    filter_spectra,
    filters_of,
    first_convolution,
    mean_activations,
    plot,
    write_table,
)

SPECTRA = [
    FilterSpectrum(0, "edge", 0.4, 10.0, 0.0, 1.0),
    FilterSpectrum(1, "blob", 0.0, 0.0, 1.0, 0.5),
    FilterSpectrum(2, "edge", 0.1, 0.0, 0.25, 1.0),
]


def test_means_after_the_rectifier_are_those_of_a_slow_convolution(net: Net) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8)
    kernels, bias = small_model.weights()["conv/1"]
    expected = np.zeros(5)
    for image in images:
        x = image[..., ::-1].transpose(2, 0, 1) - np.array(small_model.MEAN)[:, None, None]
        for row in range(0, 10, 2):
            for column in range(0, 14, 2):
                seen = x[:, row : row + 3, column : column + 3]
                answer = (kernels * seen).sum(axis=(1, 2, 3)) + bias
                expected += np.maximum(answer, 0) / (3 * 5 * 7)
    done: list[int] = []
    found = mean_activations(net, "conv/1", images, done.append)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert done == [1, 2, 3]


def test_which_layer_and_what_cannot_be(net: Net) -> None:
    assert first_convolution(net) == "conv/1"
    np.testing.assert_array_equal(filters_of(net, "conv/1"), small_model.weights()["conv/1"][0])
    with pytest.raises(UnknownNameError, match="no convolution named 'fc'"):
        filters_of(net, "fc")
    with pytest.raises(ImageError, match="no images"):
        mean_activations(net, "conv/1", [])


def test_the_table_in_the_order_of_the_channels(tmp_path: Path) -> None:
    path = write_table(tmp_path / "new" / "t.csv", SPECTRA, np.array([5.5, 0.25, 90]))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["unit"] for row in rows] == ["0", "1", "2"]
    assert [row["kind"] for row in rows] == ["edge", "blob", "edge"]
    assert [float(row["mean_activation"]) for row in rows] == [5.5, 0.25, 90]
    assert [float(row["frequency"]) for row in rows] == [0.4, 0, 0.1]


@pytest.mark.slow
def test_the_plot_puts_each_filter_at_its_place(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    red, blue = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    pictures = [red, np.full((8, 8, 3), 128, np.uint8), blue]
    path = plot(tmp_path / "p.png", "conv/1", SPECTRA, np.array([5.5, 20, 90]), pictures, 1)
    made = cv2.imread(str(path))[..., ::-1].astype(int)
    where = {
        name: np.argwhere(np.abs(made - colour).max(axis=2) < 30).mean(axis=0)
        for name, colour in (("red", [255, 0, 0]), ("blue", [0, 0, 255]))
    }
    # red: high frequency, low activation; blue: the other way round
    assert where["red"][1] > where["blue"][1]
    assert where["red"][0] > where["blue"][0]


def test_a_missing_matplotlib_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(SettingsError, match=r"pip install .*\[plots\].*--no-plot"):
        plot(tmp_path / "p.png", "c", SPECTRA, np.ones(3), [], 1)


def test_squeezenets_low_frequency_edges_answer_more(squeezenet_weights: Path) -> None:
    """The paper's finding, on real weights and the photographs that are at hand."""
    from deepvis_caffe.experiments.first_layer import first_and_last
    from deepvis_caffe.fetch import known_models
    from deepvis_caffe.image import sample_image, sample_images

    row = known_models()["squeezenet"]
    real = load_net(row.prototxt, squeezenet_weights, engine="torch", mean=row.mean)  # type: ignore[arg-type]
    means = mean_activations(real, "conv1", map(sample_image, sample_images()))
    low, high = first_and_last(filter_spectra(filters_of(real, "conv1")))
    ratio = np.mean([means[one.unit] for one in low]) / np.mean([means[o.unit] for o in high])
    assert ratio > 2
