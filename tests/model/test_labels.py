"""Label files as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.labels import label_of, read_labels


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
