"""Label files as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.labels import class_blob, label_of, labels_fit, read_labels, top_classes


def test_one_name_a_line_synset_ids_and_empty_lines_dropped(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfn01440764 tench, fish\r\n\r\nn2 goldfish \ncaf\xc3\xa9\n")
    assert read_labels(path) == ("tench, fish", "n2 goldfish", "café")


def test_labels_belong_to_layers_with_as_many_units() -> None:
    assert label_of(("a", "b"), 1, 2) == "b"
    assert label_of(("a", "b"), 1, 3) is None
    assert label_of((), 0, 5) is None


def test_what_is_no_label_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the labels .*: No such file"):
        read_labels(tmp_path / "gone.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(SettingsError, match="hold no names"):
        read_labels(tmp_path / "empty.txt")
    (tmp_path / "binary.npy").write_bytes(b"\x93NUMPY\xff")
    with pytest.raises(SettingsError, match="are not UTF-8 text"):
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
    assert labels_fit(("a", "b"), [None, (2,), (1, 3), (1, 2, 5, 5)])
    assert not labels_fit(("a", "b"), [None, (2,), (1, 3, 2)])
