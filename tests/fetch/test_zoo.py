"""`dv.zoo`: the model in the table, the same as loaded by hand with `load_net`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage import data

import deepvis_caffe as dv
from deepvis_caffe.fetch import fetch, known_models, zoo


def test_a_shipped_model_is_ready(tmp_path: Path) -> None:
    net = dv.zoo("lenet-digits", "torch", folder=tmp_path)
    row = known_models()["lenet-digits"]
    weights = fetch("lenet-digits", tmp_path)
    by_hand = dv.load_net(
        row.prototxt, weights, "torch", raw_scale=row.raw_scale, input_scale=row.input_scale
    )
    assert net.fingerprint == by_hand.fingerprint  # weights and preprocessing
    assert net.labels == tuple("0123456789")


def test_squeezenet_knows_a_cat(squeezenet_weights: Path) -> None:
    net = dv.zoo("squeezenet", "torch")
    x = net.preprocessor(data.chelsea())[np.newaxis]
    best = int(net.forward(x)["prob"].argmax())
    assert "cat" in str(net.label("prob", best))
    assert net.label("pool10", 281) == "tabby, tabby cat"
    assert net.unit("pool10", "Flamingo") == 130


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(dv.UnknownNameError, match=r"did you mean 'squeezenet'.*bvlc-googlenet"):
        dv.zoo("squeeznet")


def test_without_a_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(known_models()["bvlc-alexnet"], url="http://127.0.0.1:9/net.caffemodel")
    monkeypatch.setattr(zoo, "known_model", lambda name: row)
    with pytest.raises(dv.FetchError, match=r"cannot download http.*By hand: download http.*save"):
        dv.zoo("bvlc-alexnet", folder=tmp_path)
