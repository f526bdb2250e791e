"""Check a folder: which files are damaged, and which differ from those of another folder."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

# Names of temporary files: see `deepvis_caffe.files.whole_file` and `viewer.disk.recorder`.
UNFINISHED = re.compile(r"\..*\.([0-9a-f]{8}\.part|part\.mp4)", re.DOTALL)
LOCKS = re.compile(r".*\.lock(\.json)?")


def finished(folder: Path) -> dict[str, Path]:
    """The files of a folder by relative path, without temporary files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path
        for path in paths
        if not UNFINISHED.fullmatch(path.name) and not LOCKS.fullmatch(path.name)
    }


def unfinished(folder: Path) -> list[Path]:
    """The temporary files of a folder."""
    return [path for path in folder.rglob("*") if UNFINISHED.fullmatch(path.name)]


def damaged(folder: Path) -> list[str]:
    """The finished files that are damaged, with the reason."""
    found = []
    for name, path in finished(folder).items():
        check = CHECKS.get(path.suffix)
        if check is None:
            continue
        try:
            whole = check(path)
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {error}")
        else:
            if not whole:
                found.append(f"{name}: not whole")
    return found


def differences(folder: Path, expected: Path, varies: tuple[str, ...] = ()) -> list[str]:
    """The files that are in only one of two folders, or not equal to the last byte.

    Files with a suffix in `varies` are not compared.
    """
    ours, theirs = (
        {name: path for name, path in finished(one).items() if not name.endswith(varies)}
        for one in (folder, expected)
    )
    found = [f"{name}: missing" for name in theirs.keys() - ours.keys()]
    found += [f"{name}: not in an undisturbed run" for name in ours.keys() - theirs.keys()]
    found += [
        f"{name}: differs"
        for name in ours.keys() & theirs.keys()
        if ours[name].read_bytes() != theirs[name].read_bytes()
    ]
    return sorted(found)


def _png(path: Path) -> bool:
    return path.read_bytes().endswith(b"IEND\xaeB`\x82") and cv2.imread(str(path)) is not None


def _jpeg(path: Path) -> bool:
    return path.read_bytes().endswith(b"\xff\xd9") and cv2.imread(str(path)) is not None


def _json(path: Path) -> bool:
    json.loads(path.read_text())
    return True


def _npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as file:
        return file.testzip() is None


def _npy(path: Path) -> bool:
    return np.load(path).size > 0


def _csv(path: Path) -> bool:
    text = path.read_text()
    rows = list(csv.reader(text.splitlines()))
    return text.endswith("\n") and len({len(row) for row in rows}) == 1


def _html(path: Path) -> bool:
    return path.read_text().rstrip().endswith("</html>")


def _video(path: Path) -> bool:
    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    read = sum(video.read()[0] for _ in range(count))
    return read == count > 0


CHECKS: dict[str, Callable[[Path], bool]] = {
    ".csv": _csv,
    ".html": _html,
    ".jpg": _jpeg,
    ".json": _json,
    ".mp4": _video,
    ".npy": _npy,
    ".npz": _npz,
    ".png": _png,
}
