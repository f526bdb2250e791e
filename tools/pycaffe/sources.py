"""Fetches and unpacks Caffe's sources: ``(cache, path or None) -> sdist``, ``sdist -> folder``.

The sdist ``brocolli-caffe`` is Caffe 1.0 with some layers added. Its own ``setup.py`` wants conda
and is not used; pip runs it once, to read the name and version, after checking the hash.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from common import BuildError, say

__all__ = ["SDIST", "SDIST_SHA256", "fetch", "unpack"]

SDIST = "brocolli-caffe==9.0.2"
SDIST_SHA256 = "c6410cc60bdd6db685d441b66be7df05410f8850ac88d6b75d48ef9b2315c08a"
# What a build reads, and what it must not find: files of an older protoc, and the tests.
KEEP = ("LICENSE", "include/caffe/", "python/caffe/", "src/caffe/", "src/gtest/")
LEAVE = ("include/caffe/proto/", "src/caffe/test/", "python/caffe/test/")
STALE = ("src/caffe/proto/caffe.pb.cc", "python/caffe/proto/caffe_pb2.py")


def fetch(folder: Path, local: Path | None) -> Path:
    """Get the sdist, checked.

    Parameters
    ----------
    folder : Path
        Where a downloaded sdist is kept for the next build.
    local : Path or None
        A copy to use instead, for machines without a network.

    Returns
    -------
    Path
        The sdist.

    Raises
    ------
    BuildError
        If it cannot be had, or is another file than the one we know.
    """
    if local is not None:
        if not local.is_file():
            raise BuildError(f"--sdist {local}: no such file.")
        verify(local)
        return local
    kept = folder / "brocolli-caffe-9.0.2.tar.gz"
    if not (kept.is_file() and sha256_of(kept) == SDIST_SHA256):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            download(Path(temporary)).replace(kept)
    verify(kept)
    return kept


def download(folder: Path) -> Path:
    """Download the sdist with pip.

    Parameters
    ----------
    folder : Path
        An empty folder.

    Returns
    -------
    Path
        The file in it.
    """
    say(f"Downloading {SDIST} with pip")
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    command += ["--disable-pip-version-check", "--quiet", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(wanted), "-d", str(folder)], check=False)
    found = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not found:
        raise BuildError(
            f"pip could not download {SDIST} (see above). On a machine without a network, fetch "
            f"it elsewhere (pip download --no-deps --no-binary :all: {SDIST}) and name the file: "
            "--sdist PATH."
        )
    return found[0]


def verify(sdist: Path) -> None:
    """Check that a file is the sdist that this build was made for.

    Parameters
    ----------
    sdist : Path
        The file.
    """
    got = sha256_of(sdist)
    if got != SDIST_SHA256:
        raise BuildError(
            f"{sdist} is not {SDIST}: its sha256 is\n  {got}, and should be\n  {SDIST_SHA256}."
        )


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack(sdist: Path, folder: Path) -> None:
    """Unpack the files that a build needs; the folder appears whole or not at all.

    Parameters
    ----------
    sdist : Path
        A checked sdist.
    folder : Path
        Where to; kept as it is if it is there already.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix="unpack-"))
    try:
        with tarfile.open(sdist) as archive:
            for member in archive:
                name = inner_name(member)
                source = archive.extractfile(member) if name else None
                if name and source:
                    target = temporary / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read())
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def inner_name(member: tarfile.TarInfo) -> str | None:
    """Return a member's path below the sdist's top folder, if a build needs that file.

    Parameters
    ----------
    member : TarInfo
        A member of the archive.

    Returns
    -------
    str or None
        A relative path without ``..``; None for links, folders and files that are left out.
    """
    path = PurePosixPath(member.name)
    name = "/".join(path.parts[1:])
    if not member.isfile() or path.is_absolute() or ".." in path.parts or "\\" in name:
        return None
    if not name.startswith(KEEP) or name.startswith(LEAVE) or name in STALE:
        return None
    return name
