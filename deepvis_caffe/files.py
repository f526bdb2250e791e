"""Atomic writes, reads within size limits, lock files, and text in any encoding."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from deepvis_caffe.errors import ResultsError

_PART = re.compile(r"\..*\.[0-9a-f]{8}\.part", re.DOTALL)
_SWEPT: set[str] = set()  # folders where this process has already deleted abandoned files


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file atomically: a temporary file beside `path` replaces it if the block succeeds.

    The content is synced to disk before the rename, so a power cut leaves the old file or the new
    one, never an empty one. The first write to a folder also deletes what killed processes left
    there; see `remove_abandoned`.

    Yields
    ------
    Path
        The temporary file, empty. If the block raises, it is deleted and `path` stays as it was.

    Raises
    ------
    OSError
        The folder does not exist, or cannot be written to.
    """
    folder = str(path.parent.absolute())
    if folder not in _SWEPT:  # once: listing a large folder for each of its files takes minutes
        _SWEPT.add(folder)
        remove_abandoned(path.parent)
    part = _new_part(path)
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _new_part(path: Path) -> Path:
    """A new, empty temporary file beside `path`."""
    # Not by tempfile, whose files only their owner can read: a plain open follows the umask.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.open("xb").close()
    return part


ABANDONED = 600  # seconds since the last write to a temporary file, which takes moments to write


def remove_abandoned(folder: Path) -> int:
    """Delete the temporary files that killed processes left in a folder, and count them.

    Files written to within the last ten minutes stay: another process, perhaps on another machine,
    may still be writing them.
    """
    if not folder.is_dir():
        return 0
    count, now = 0, time.time()
    for path in folder.glob(".*.part"):
        with suppress(OSError):  # another process may have deleted it
            if _PART.fullmatch(path.name) and now - path.stat().st_mtime > ABANDONED:
                path.unlink()
                count += 1
    return count


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold a lock within the block; it is released even if the process is killed.

    Parameters
    ----------
    path
        The lock file, which is not deleted. Missing parent folders are created.
    what
        What is locked, for the error: "the scan in results/dataset".

    Raises
    ------
    ResultsError
        Another process holds the lock; the message names it.
    OSError
        The file cannot be created.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(f"{path.name}.json")
    file_lock = FileLock(path)
    try:
        file_lock.acquire(timeout=0)
    except Timeout as error:
        who = ""
        with suppress(OSError, ValueError, KeyError, TypeError):
            owner = json.loads(holder.read_text(encoding="utf-8"))
            who = f": process {owner['pid']} on {owner['host']}, since {owner['since']}"
        raise ResultsError(
            f"another process is working on {what}{who}; wait for it, end it, or choose another "
            "folder"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        own = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_text(holder, json.dumps(own) + "\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        file_lock.release()


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically; missing parent folders are created.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def new_text(path: Path, text: str) -> Path:
    """Like `write_text`, but never replaces a file: of several processes, only one succeeds.

    On a file system without hard links, a hidden lock file beside it ensures this, and stays.

    Raises
    ------
    FileExistsError
        There is a file of that name.
    OSError
        The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _new_part(path)
    try:
        part.write_text(text, encoding="utf-8")
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            from filelock import FileLock

            own = FileLock(path.with_name(f".{path.name}.lock"))
            with own.acquire(poll_interval=0.01):
                if path.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
                part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


CHUNK = 2**20  # bytes
_KINDS = (
    (stat.S_ISDIR, os.strerror(errno.EISDIR)),
    (stat.S_ISFIFO, "it is a pipe, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading. Pipes, which may block, and devices are refused.

    Raises
    ------
    OSError
        It cannot be opened, or is not a regular file.
    """
    try:
        _check_regular(Path(path).stat())
        # Nonblocking, in case it has become a pipe since.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except ValueError as error:  # the path contains a NUL
        raise OSError(errno.EINVAL, f"not a valid path: {error}") from error
    try:
        _check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(status: os.stat_result) -> None:
    for is_kind, what in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, what)


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises
    ------
    OSError
        It cannot be read, is not a regular file, or is longer.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        parts = [file.read(size + 1)] if size <= most else []  # read(n) allocates n bytes
        while parts and parts[-1] and size <= most:  # it is longer than fstat said
            parts.append(file.read(CHUNK))
            size = max(size, sum(map(len, parts)))
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, but at most {most:,} are read")
    return b"".join(parts)


def read_head(path: str | os.PathLike[str], size: int) -> bytes:
    """The first bytes of a regular file; `OSError` as in `open_file`."""
    with open_file(path) as file:
        return file.read(size)


def read_json(path: str | os.PathLike[str], most: int) -> Any:
    """The content of a JSON file of at most `most` bytes.

    Raises
    ------
    OSError
        As `read_file`.
    ValueError
        It is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(read_file(path, most).decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether a path exists; False for one that is too long or contains a NUL."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def decode_text(data: bytes) -> str:
    """Decode the content of a text file; see `encoding_of`."""
    return data.decode(encoding_of(data), errors="replace")


def encoding_of(data: bytes) -> str:
    """The encoding of a text file, detected or guessed.

    UTF-8 or UTF-16 (PowerShell's ``>``, Windows Notepad), each with or without a byte-order mark;
    otherwise, as a guess, GB 18030, which includes GBK; otherwise Latin-1, which fits any bytes.
    """
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8-sig"), *_UTF16_MARKS):
        if data.startswith(mark):
            return encoding
    odd, even = data[1::2], data[0::2]
    if len(data) >= 4 and len(data) % 2 == 0:  # ASCII in UTF-16 has a zero in every other byte
        if odd.count(0) > len(odd) * 0.9 and even.count(0) == 0:
            return "utf-16-le"
        if even.count(0) > len(even) * 0.9 and odd.count(0) == 0:
            return "utf-16-be"
    for encoding in ("utf-8", "gb18030"):
        with suppress(UnicodeDecodeError):
            data.decode(encoding)
            if encoding == "utf-8" or _in_pairs(data):
                return encoding
    return "latin-1"


GUESSES = ("gb18030", "latin-1")


def _in_pairs(data: bytes) -> bool:
    """Whether non-ASCII bytes are mostly adjacent, as in GBK; in Latin-1 most stand alone."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", data)]
    return sum(run for run in runs if run > 1) > runs.count(1)


def decode_names(names: Iterable[bytes]) -> list[str]:
    """Decode the names in one file, which share one encoding; see `encoding_of`."""
    names = list(names)
    encoding = encoding_of(b"\n".join(names))
    return [name.decode(encoding, errors="replace") for name in names]


def text_lines(text: str) -> list[str]:
    """The lines of a text; `str.splitlines` also splits at characters that a name may contain."""
    return re.split(r"\r*\n|\r", text)


def is_text(text: str) -> bool:
    """Whether decoded text is really text, and not a binary file."""
    return not _CONTROL.search(text)


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1c-\x1f]")  # \x1a is the end of a DOS file
_UTF16_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def bytes_in_words(count: int) -> str:
    """A size in bytes, for people: ``512 bytes``, ``2.4 MB``, ``13 GB``."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"
