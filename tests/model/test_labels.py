"""Label files in common formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.labels import (
    class_blob,
    class_values,
    fit_labels,
    label_of,
    read_labels,
    top_classes,
)
from deepvis_caffe.model.prototxt import read_prototxt


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (
            b"\xef\xbb\xbfn01440764 tench, fish\r\nn2 goldfish \ncaf\xc3\xa9\n",
            ["tench, fish", "n2 goldfish", "café"],
        ),
        # Class 1 has no name. The empty lines at the end are no classes.
        (b"cat\n\ndog\n\n\n", ["cat", "", "dog"]),
        (b"\n \ncat\r\n\t\r\ndog", ["", "", "cat", "", "dog"]),
        (b"cat\r\r\ndog\r\r\n", ["cat", "dog"]),  # converted to DOS twice
        (b"cat\rdog\r", ["cat", "dog"]),
        ("a\x85b\u2028c\nd\x0ce\n".encode(), ["a\x85b\u2028c", "d\x0ce"]),  # no breaks
        ("猫\n\n狗\n".encode("gbk"), ["猫", "", "狗"]),
        ("猫\n\n狗\n".encode("utf-16"), ["猫", "", "狗"]),
        ("cat\n\ndog\n".encode("utf-16-be"), ["cat", "", "dog"]),
    ],
)
def test_line_k_is_class_k(content: bytes, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt") == tuple(names)


def test_labels_belong_to_layers_with_as_many_units() -> None:
    assert label_of(("a", "b"), 1, 2) == "b"
    assert label_of(("a", ""), 1, 2) is None
    assert label_of(("a", "b"), 1, 3) is None
    assert label_of((), 0, 5) is None


def test_what_is_not_a_label_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the labels .*: No such file"):
        read_labels(tmp_path / "gone.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(SettingsError, match="hold no names"):
        read_labels(tmp_path / "empty.txt")
    np.save(tmp_path / "binary.npy", np.zeros(3))
    with pytest.raises(SettingsError, match="are not text; set `labels` to"):
        read_labels(tmp_path / "binary.npy")


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        ({"aux": (1, 4), "prob": (1, 4), "late": (1, 4)}, "abcd", "prob"),
        ({"fc": (1, 3), "logits": (1, 4, 1, 1), "boxes": (1, 8)}, "abcd", "logits"),
        ({"fc": (1, 3), "boxes": (1, 8)}, "", "boxes"),
        ({"maps": (1, 3, 2, 2), "prob": (1,), "rows": (2, 3)}, "abc", None),
        ({}, "", None),
    ],
)
def test_which_output_holds_the_classes(
    outputs: dict[str, tuple[int, ...]], labels: str, expected: str | None
) -> None:
    assert class_blob(outputs, tuple(labels)) == expected


def test_the_highest_scores_come_first_with_their_names() -> None:
    scores = np.array([[[0.5]], [[0.75]], [[0.25]]], np.float32)[None]
    assert top_classes(scores, ("a", "b", "c"), 2) == [(0.75, "b"), (0.5, "a")]
    assert top_classes(scores, ("a",), 1) == [(0.75, "unit 1")]


def test_labels_fit_where_a_layer_has_as_many_units() -> None:
    assert fit_labels(("a", "b"), [None, (2,), (1, 3), (1, 2, 5, 5)]) == ("a", "b")
    assert fit_labels(("a", "b"), [None, (2,), (1, 3, 2)]) is None


def test_empty_lines_between_names_are_no_classes_where_the_net_has_none_for_them() -> None:
    assert fit_labels(("a", "", "b"), [(1, 3)]) == ("a", "", "b")
    assert fit_labels(("a", "", "b"), [(1, 2)]) == ("a", "b")
    assert fit_labels(("a", "", "b"), [(1, 2), (1, 3)]) == ("a", "", "b")
    assert fit_labels(("a", "", "b"), [(1, 4)]) is None


@pytest.mark.parametrize(
    ("layers", "values"),
    [
        (  # a hidden layer with as many units as there are classes
            """
            layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" }
            layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
            layer { name: "fc" type: "InnerProduct" bottom: "c1" top: "fc" }
            layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
            """,
            ["fc.0", "prob.0"],
        ),
        (  # as SqueezeNet ends: before and after the layer in place
            """
            layer { name: "c9" type: "Convolution" bottom: "data" top: "c9" }
            layer { name: "c10" type: "Convolution" bottom: "c9" top: "c10" }
            layer { name: "r10" type: "ReLU" bottom: "c10" top: "c10" }
            layer { name: "pool10" type: "Pooling" bottom: "c10" top: "pool10" }
            layer { name: "flat" type: "Flatten" bottom: "pool10" top: "flat" }
            layer { name: "fits" type: "ReLU6" bottom: "flat" top: "fits" }
            layer { name: "prob" type: "Sigmoid" bottom: "fits" top: "prob" }
            """,
            ["c10.0", "c10.1", "pool10.0", "flat.0", "fits.0", "prob.0"],
        ),
        (  # something else reads the first head's scores, too
            """
            layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" }
            layer { name: "pa" type: "Softmax" bottom: "a" top: "pa" }
            layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" }
            layer { name: "top" type: "ArgMax" bottom: "b" top: "top" }
            """,
            ["pa.0", "b.0", "top.0"],
        ),
        (  # two towers are added, and a third joined: its units get other numbers
            """
            layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" }
            layer { name: "b" type: "InnerProduct" bottom: "data" top: "b" }
            layer { name: "c" type: "InnerProduct" bottom: "data" top: "c" }
            layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
            layer { name: "all" type: "Concat" bottom: "c" bottom: "sum" top: "all" }
            layer { name: "quiet" type: "Silence" bottom: "all" }
            """,
            ["all.0"],
        ),
        (
            """
            layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" }
            layer { name: "b" type: "InnerProduct" bottom: "data" top: "b" }
            layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
            """,
            ["a.0", "b.0", "sum.0"],
        ),
    ],
)
def test_classes_are_units_of_outputs_and_of_what_only_leads_to_them(
    layers: str, values: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('layer { name: "data" type: "Input" top: "data" }' + layers)
    found = class_values(Graph.from_layers("net", read_prototxt(path).layer))
    assert {f"{value.blob}.{value.version}" for value in found} == set(values)
