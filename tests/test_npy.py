"""numpy's files: the same arrays as numpy reads, and none that only a header claims."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepvis_caffe.npy import ArrayFileError, Npz, read_npy, read_npy_file

ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)),
    np.array(5, np.int16),
    np.zeros((0, 4)),
    np.array([True, False]),
    np.array(["a", "bc"]),
]


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_is_what_numpy_reads(array: np.ndarray, tmp_path: Path) -> None:
    found = read_npy(saved(array))
    np.testing.assert_array_equal(found, np.load(io.BytesIO(saved(array))))
    assert found.dtype == array.dtype
    assert found.flags.writeable
    (tmp_path / "a.npy").write_bytes(saved(array))
    np.testing.assert_array_equal(read_npy_file(tmp_path / "a.npy"), array)


def with_header(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}}}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_header(HEADER.format("<f4", "(1000000000000,)")), "4,000,000,000,000 bytes, and 0"),
        (with_header(HEADER.format("<f4", "(-1, 5)")), r"claims \(-1, 5\) values"),
        (with_header(HEADER.format("|O", "(1,)")), "Python objects"),
        (with_header("{'descr': '<f4', (("), "its header is damaged"),  # a TokenError
        (with_header("(" * 100), "its header is damaged"),  # a MemoryError of Python's parser
        (b"\x93NUMPY\x09\x09", r"version \(9, 9\)"),
        (b"\x93NUM", "its header is damaged"),
        (saved(ARRAYS[0])[:-1], "96 bytes, and 95 follow"),
    ],
)
def test_the_error_states_what_a_header_claims(content: bytes, said: str) -> None:
    with pytest.raises(ArrayFileError, match=said):
        read_npy(content)


def test_an_archives_arrays_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, one=ARRAYS[0], two=ARRAYS[1])
    with Npz(path) as file:
        assert list(file) == ["one", "two"]
        np.testing.assert_array_equal(file["two"], ARRAYS[1])
    with pytest.raises(ArrayFileError, match=r"claim 400 bytes; .*at most 300 are read"):
        Npz(path, most=300)
    path.write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ArrayFileError, match=r"is not a \.npz file, or is damaged"):
        Npz(path)


def test_an_archive_that_claims_more_than_its_length_allows_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", saved(ARRAYS[0]))
    content = bytearray(file.getvalue())
    at = content.rindex(b"PK\x01\x02") + 24  # the size in the archive's directory
    content[at : at + 4] = (2**31).to_bytes(4, "little")
    with pytest.raises(ArrayFileError, match=r"its arrays claim 2,147,483,648 bytes"):
        Npz(bytes(content), most=2**40)
