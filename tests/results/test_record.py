"""Records are JSON, written atomically, and read only if complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.results.records import read_record, write_record


def test_records_are_plain_json(tmp_path: Path) -> None:
    path = write_record(tmp_path / "a" / "r.json", {"x": (1, float("nan")), "y": float("inf")})
    assert json.loads(path.read_text(), parse_constant=_refuse) == {"x": [1, None], "y": None}


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot write .*r\.json"):
        write_record(tmp_path / "file" / "r.json", {})


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"a": 1'])
def test_an_incomplete_record_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    assert read_record(path) is None
    path.write_text(content)
    assert read_record(path) is None
    path.write_text('{"a": [1, null]}')
    assert read_record(path) == {"a": [1, None]}
