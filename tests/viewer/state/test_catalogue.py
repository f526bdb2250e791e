"""The list of layers: which blobs are in it, and how their values become maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, relu

from deepvis_caffe.errors import EngineError
from deepvis_caffe.viewer.state.catalogue import (
    as_maps,
    catalogue,
    layout_of,
    unit_label,
)

MIXED = net_text(
    conv("conv1", "data", 3),
    relu("relu1", "conv1"),
    layer("norm1", "LRN", "conv1", "normed"),
    layer("parts", "Slice", "normed", "first rest", "slice_param { slice_point: 1 }"),
    layer("fc", "InnerProduct", "rest", "", "inner_product_param { num_output: 4 }"),
    layer("drop", "Dropout", "fc", "fc"),
    layer("prob", "Softmax", "fc"),
    data=(1, 2, 4, 6),
)


def test_every_blob_is_one_entry_in_the_net_s_order(engine: str, tmp_path: Path) -> None:
    entries = catalogue(load_text(engine, tmp_path, MIXED))
    assert [(e.name, e.layer, e.type, e.shape) for e in entries] == [
        ("conv1", "conv1", "Convolution", (1, 3, 4, 6)),
        ("normed", "norm1", "LRN", (1, 3, 4, 6)),
        ("first", "first", "Slice", (1, 1, 4, 6)),  # its layer has two tops
        ("rest", "rest", "Slice", (1, 2, 4, 6)),
        ("fc", "fc", "InnerProduct", (1, 4)),
        ("prob", "prob", "Softmax", (1, 4)),
    ]
    assert [(e.units, e.map_size, e.is_vector) for e in entries][-2:] == [(4, (1, 1), True)] * 2
    assert [e.scores for e in entries] == ["", "", "", "", "", "fc"]


def test_the_batch_of_the_prototxt_does_not_count(engine: str, tmp_path: Path) -> None:
    text = net_text(conv("conv1", "data", 3), data=(10, 2, 4, 6))
    assert catalogue(load_text(engine, tmp_path, text))[0].shape == (1, 3, 4, 6)


def test_a_net_without_layers_is_refused(engine: str, tmp_path: Path) -> None:
    only_split = net_text(layer("split", "Split", "data", "a b"), data=(1, 2, 4, 6))
    with pytest.raises(EngineError, match="no layers"):
        catalogue(load_text(engine, tmp_path, only_split))


@pytest.mark.parametrize(
    ("values", "maps"),
    [
        ([1, 2, 3], [[[1]], [[2]], [[3]]]),  # one axis: its numbers are units
        ([[1, 2]], [[[1]], [[2]]]),
        ([[[1, 2], [3, 4]]], [[[1, 2]], [[3, 4]]]),  # (1, C, L): a line a unit
        ([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        # (1, 1, 2, 2, 2): the two slices side by side
        ([[[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]], [[[1, 2, 5, 6], [3, 4, 7, 8]]]),
    ],
)
def test_blobs_of_one_to_five_axes(values: list, maps: list) -> None:
    array = np.array(values, np.float32)
    np.testing.assert_array_equal(as_maps(array), np.array(maps, np.float32))
    units, size = layout_of(array.shape)
    assert (units, *size) == np.array(maps).shape


def test_labels_belong_to_outputs_that_have_as_many_units(engine: str, tmp_path: Path) -> None:
    conv1, *_, fc, _ = catalogue(load_text(engine, tmp_path, MIXED))
    assert unit_label(("ant", "bee", "cat", "dog"), fc, 2) == "cat"
    assert unit_label(("ant", "bee", "cat"), conv1, 2) is None  # it has three units
