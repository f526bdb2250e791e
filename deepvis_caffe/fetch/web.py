"""Verified, atomic downloads: ``(url, path, digest) -> path``."""

from __future__ import annotations

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from deepvis_caffe.errors import FetchError
from deepvis_caffe.files import whole_file
from deepvis_caffe.progress import ProgressCallback

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without any data, not for the whole file


def download(
    url: str,
    path: Path,
    digest: str,
    progress: ProgressCallback | None = None,
) -> Path:
    """Download one file; `path` appears only once it is complete and verified.

    Parameters
    ----------
    url, path
        Where to download from and to; the folder must exist.
    digest
        Expected checksum, ``"sha1:..."`` or ``"sha256:..."``.
    progress
        Called with the bytes so far and the total, which is None if the server does not state it.

    Raises
    ------
    FetchError
        There is no connection, the server refuses, or the file is incomplete or has another
        checksum.
    """
    with whole_file(path) as partial:
        _copy(url, partial, progress)
        verify(partial, digest, f"the download from {url}")
    return path


def verify(path: Path, digest: str, what: str) -> None:
    """Verify a file's checksum; raises `FetchError` if it differs."""
    got = digest_of(path, digest.partition(":")[0])
    if got != digest:
        raise FetchError(
            f"{what} is not the published file: its checksum is {got}, expected {digest}"
        )


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Checksum of a file, ``"algorithm:hexadecimal"``."""
    sum_ = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sum_.update(chunk)
    return f"{algorithm}:{sum_.hexdigest()}"


def _copy(url: str, path: Path, progress: ProgressCallback | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "deepvis_caffe"})
    done, total = 0, None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response, path.open("wb") as file:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
    except HTTPError as error:
        raise FetchError(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"cannot download {url}: {reason}") from error
    if total is not None and done != total:
        raise FetchError(
            f"the download from {url} stopped after {done} of {total} bytes; try again"
        )
