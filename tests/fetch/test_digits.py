"""The net that ships with its weights, on digits that it was not trained on.

Oracles: the digits' true classes, and the layers of PyTorch, which it was trained with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from deepvis_caffe.cli.main import app
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.fetch import fetch, known_models
from deepvis_caffe.model.caffemodel import read_caffemodel
from deepvis_caffe.settings.file import load_settings

DIGITS = Path(__file__).with_name("held_out_digits.npz")  # of scikit-learn's; three of each class


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return fetch("lenet-digits", tmp_path)


@pytest.fixture
def net(weights: Path, engine: str) -> Net:
    row = known_models()["lenet-digits"]
    return load_net(
        row.prototxt, weights, engine, mean=row.mean, raw_scale=row.raw_scale, device="cpu"
    )


def test_it_reads_held_out_digits(net: Net) -> None:
    labels = known_models()["lenet-digits"].labels.read_text(encoding="utf-8").splitlines()
    digits = np.load(DIGITS)
    x = np.stack([net.preprocessor(image) for image in digits["images"]])
    found = [labels[k] for k in net.forward(x)["prob"].reshape(len(x), -1).argmax(1)]
    assert sorted({str(k) for k in digits["classes"]}) == labels
    right = sum(name == str(k) for name, k in zip(found, digits["classes"], strict=True))
    assert right >= len(x) - 1  # 99.4 % of all that were held out


def test_it_computes_what_was_trained(net: Net, weights: Path) -> None:
    blobs = {
        name: [torch.from_numpy(np.array(blob)) for blob in held]
        for name, held in read_caffemodel(weights).items()
    }
    x = torch.from_numpy(np.load(DIGITS)["images"][:, None].astype(np.float32) / 255)
    y = functional.max_pool2d(functional.conv2d(x, *blobs["conv1"]), 2)
    y = functional.max_pool2d(functional.conv2d(y, *blobs["conv2"]), 2)
    y = functional.relu(functional.linear(y.flatten(1), *blobs["ip1"]))
    expected = functional.linear(y, *blobs["ip2"])
    got = net.forward(x.numpy(), blobs=["ip2"])["ip2"]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_is_optimized_without_a_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail("there is nothing to download")

    for name in ("urllib.request.urlopen", "deepvis_caffe.fetch.wheel.pip_download"):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setenv("DEEPVIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    few = ("--units", "3", "--seeds", "1", "--iterations", "40", "--engine", "torch")
    for command in (("fetch", "lenet-digits", "--write-settings"), ("optimize", "ip2", *few)):
        result = CliRunner().invoke(app, list(command))
        assert result.exit_code == 0, result.output
    assert "highest of its layer for 1 of 1 seeds" in result.stdout
    settings = load_settings("settings_local.py")
    assert (settings.raw_scale, settings.mean) == (1.0, (0.0,))
