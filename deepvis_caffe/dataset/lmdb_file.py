"""A reader for LMDB's file format: ``path -> [(key, offset, size), ...]``.

The lmdb library maps the file into memory and trusts every number in it: a truncated file crashes
the process with a bus error, a damaged one with an assertion. So this module parses the format
itself, with bounds checks against the file's length. Pages are copies, not mapped memory.

An LMDB is a B+ tree of pages. The first two hold one meta record each, of which the one with the
higher transaction number counts; see ``struct MDB_meta``, ``MDB_page`` and ``MDB_node`` in its
source.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from deepvis_caffe.errors import ImageError, boundary
from deepvis_caffe.files import open_file

MAGIC, VERSION = 0xBEEFC0DE, 1
PAGE_SIZES = frozenset(1 << power for power in range(8, 17))
MOST_LEVELS = 32  # maximum depth of the tree
NO_PAGE = 2**64 - 1

_PAGE = struct.Struct("<QHHHH")  # number, -, flags, end of the node offsets, start of the nodes
_NODE = struct.Struct("<HHHH")  # low and high half of the size, flags, size of the key
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, pages of 3 kinds, entries, root
_END = struct.Struct("<QQ")  # the last page, the transaction
_BRANCH, _LEAF, _META_PAGE = 1, 2, 8  # flags of a page
_BIG, _SUBTREE, _DUPLICATES = 1, 2, 4  # flags of a node


class Entry(NamedTuple):
    """The location of a key's value."""

    key: bytes
    offset: int
    size: int


def lmdb_file(path: Path) -> Path:
    """The file of an LMDB, given its folder or its file."""
    return path / "data.mdb" if path.is_dir() else path


def read_entries(path: Path) -> list[Entry]:
    """The keys of an LMDB in order, and the locations of their values in the file.

    Parameters
    ----------
    path
        The file, ``data.mdb``.

    Raises
    ------
    ImageError
        It cannot be read, is truncated, or is damaged.
    """
    with boundary(ImageError, f"cannot read the LMDB {path}"), open_file(path) as file:
        return list(_Tree(file).entries())


def read_value(file: BinaryIO, offset: int, size: int) -> bytes:
    """A value from an open file; raises `ImageError` if the file has become shorter."""
    file.seek(offset)
    value = file.read(size)
    if len(value) < size:
        raise ImageError("the record is missing: the LMDB is shorter than it was")
    return value


class _Damage(ValueError):
    pass


class _Tree:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._length = file, os.fstat(file.fileno()).st_size
        head = file.read(_PAGE.size + _META.size + 4)
        if len(head) < _PAGE.size + _META.size + 4:
            raise _Damage(f"it has only {self._length} bytes, too few for an LMDB")
        # The page size is at the start of the first tree in the first meta record.
        (self._page_size,) = struct.unpack_from("<I", head, _PAGE.size + _META.size)
        metas = [meta for number in (0, 1) if (meta := self._meta(number))]
        if not metas:
            raise _Damage("it is not an LMDB, or its first pages are damaged")
        self._root, self._last, self._entries, _ = max(metas, key=lambda meta: meta[3])
        needed = (self._last + 1) * self._page_size
        if needed > self._length:
            raise _Damage(
                f"it is truncated: its {self._last + 1:,} pages of {self._page_size:,} bytes need "
                f"{needed:,} bytes, but it has {self._length:,}"
            )

    def _meta(self, number: int) -> tuple[int, int, int, int] | None:
        """Root, last page, number of entries and transaction; None if the record is damaged."""
        if self._page_size not in PAGE_SIZES:
            return None
        self._file.seek(number * self._page_size)
        page = self._file.read(self._page_size)
        if len(page) < _PAGE.size + _META.size + 2 * _TREE.size + _END.size:
            return None
        magic, version, *_ = _META.unpack_from(page, _PAGE.size)
        if magic != MAGIC or not _PAGE.unpack_from(page)[2] & _META_PAGE:
            return None
        if version != VERSION:
            raise _Damage(f"it has version {version} of LMDB's format; expected {VERSION}")
        at = _PAGE.size + _META.size + _TREE.size  # the first tree holds free pages
        *_, entries, root = _TREE.unpack_from(page, at)
        last, transaction = _END.unpack_from(page, at + _TREE.size)
        return root, last, entries, transaction

    def entries(self) -> Iterator[Entry]:
        """All entries, in order of their keys."""
        if self._root == NO_PAGE:
            return
        seen: set[int] = set()
        waiting = [(self._root, 0)]
        while waiting:
            number, level = waiting.pop()
            if number in seen or level > MOST_LEVELS:
                raise _Damage(f"its page {number} is damaged: the tree loops back to it")
            seen.add(number)
            page = self._page(number)
            if _PAGE.unpack_from(page)[2] & _BRANCH:
                children = [
                    (low | high << 16 | flags << 32, level + 1)
                    for _, low, high, flags, _ in self._nodes(number, page)
                ]
                waiting += reversed(children)
                continue
            for at, low, high, flags, length in self._nodes(number, page):
                yield self._entry(number, page, at, low | high << 16, flags, length)

    def _page(self, number: int) -> bytes:
        if not 2 <= number <= self._last:
            raise _Damage(f"it refers to page {number}, but has only {self._last + 1}")
        self._file.seek(number * self._page_size)
        page = self._file.read(self._page_size)
        kind = _PAGE.unpack_from(page)[2] & (_BRANCH | _LEAF)
        if kind not in (_BRANCH, _LEAF):
            raise _Damage(f"its page {number} is damaged")
        return page

    def _nodes(self, number: int, page: bytes) -> Iterator[tuple[int, int, int, int, int]]:
        end = _PAGE.unpack_from(page)[3]
        if not _PAGE.size <= end <= self._page_size:
            raise _Damage(f"its page {number} is damaged")
        for (at,) in struct.iter_unpack("<H", page[_PAGE.size : end - end % 2]):
            if at + _NODE.size > self._page_size:
                raise _Damage(f"its page {number} is damaged")
            yield at, *_NODE.unpack_from(page, at)

    def _entry(
        self, number: int, page: bytes, at: int, size: int, flags: int, length: int
    ) -> Entry:
        if flags & (_SUBTREE | _DUPLICATES):
            raise _Damage("it holds several databases, or several values of a key; Caffe's do not")
        start = at + _NODE.size + length
        key = page[at + _NODE.size : start]
        if flags & _BIG:
            if start + 8 > self._page_size:
                raise _Damage(f"its page {number} is damaged")
            (first,) = struct.unpack_from("<Q", page, start)
            offset, end = first * self._page_size + _PAGE.size, self._length
        else:
            offset = number * self._page_size + start
            end = (number + 1) * self._page_size
        if not length or offset + size > end:
            raise _Damage(f"the record {key[:40]!r} claims {size:,} bytes, more than there are")
        return Entry(key, offset, size)
