"""The LMDB format: the same records as LMDB reads, and an error message for damaged files."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest

from deepvis_caffe.dataset.lmdb_file import read_entries, read_value
from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.errors import ImageError
from deepvis_caffe.model.schema_pb2 import Datum


def write(path: Path, records: dict[bytes, bytes], *, deleted: int = 0) -> Path:
    """A database of one file, the first records of which are deleted again."""
    with lmdb.open(str(path), subdir=False, map_size=2**26) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in records.items():
                transaction.put(key, value)
        with environment.begin(write=True) as transaction:
            for key in list(records)[:deleted]:
                transaction.delete(key)
    return path


def by_lmdb(path: Path) -> list[tuple[bytes, bytes]]:
    with (
        lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        return list(cursor)


@pytest.mark.parametrize(
    ("count", "longest", "deleted"), [(1, 10, 0), (3, 20_000, 1), (500, 100, 200), (4000, 3000, 77)]
)
def test_the_records_are_those_of_lmdb(
    count: int, longest: int, deleted: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(count)
    records = {
        rng.bytes(int(rng.integers(1, 40))) + b"%d" % k: rng.bytes(int(rng.integers(0, longest)))
        for k in range(count)
    }
    path = write(tmp_path / "data.mdb", records, deleted=deleted)
    with path.open("rb") as file:
        found = [(one.key, read_value(file, one.offset, one.size)) for one in read_entries(path)]
    assert found == by_lmdb(path)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    datum = Datum(channels=3, height=40, width=50, data=bytes(6000), label=1)
    return write(tmp_path / "data.mdb", {b"%04d" % k: datum.SerializeToString() for k in range(20)})


def test_a_truncated_file_is_an_error(small: Path) -> None:
    whole = small.read_bytes()
    small.write_bytes(whole[: len(whole) // 2])  # which ends a process that maps it into memory
    with pytest.raises(ImageError, match=r"it is truncated: its .* pages of 4,096"):
        open_source(small.parent)
    small.write_bytes(whole[:40])
    with pytest.raises(ImageError, match="it has only 40 bytes, too few"):
        open_source(small.parent)


def test_a_file_that_gets_shorter_later_skips_what_is_gone(small: Path) -> None:
    source = open_source(small.parent)
    assert source.read(0).shape == (40, 50, 3)
    with small.open("r+b") as file:
        file.truncate(4096 * 3)
    with pytest.raises(ImageError, match="the record is missing"):
        source.read(19)


def test_damaged_pages_are_errors(small: Path) -> None:
    whole = small.read_bytes()
    said = set()
    for page in range(2, len(whole) // 4096):
        damaged = bytearray(whole)
        damaged[page * 4096 + 8 : page * 4096 + 16] = b"\xff" * 8
        small.write_bytes(damaged)
        try:
            read_entries(small)
        except ImageError as error:
            said.add(str(error).partition("its page ")[2].partition(" ")[2])
    assert "is damaged" in said


def test_another_kind_of_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(bytes(range(256)) * 64)
    with pytest.raises(ImageError, match="it is not an LMDB, or its first pages are damaged"):
        open_source(tmp_path)


def test_several_databases_in_one_file_are_not_caffes(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "data.mdb"), subdir=False, max_dbs=2) as environment:
        environment.open_db(b"one")
    with pytest.raises(ImageError, match="it holds several databases"):
        open_source(tmp_path)
