"""``open_source(path) -> Source``: images from a path of any kind."""

from __future__ import annotations

from pathlib import Path

from deepvis_caffe.dataset.databases import Hdf5, Lmdb, is_hdf5, read_hdf5_list
from deepvis_caffe.dataset.image_files import VIDEO_SUFFIXES, Video, read_folder, read_list
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError


def open_source(path: Path, class_folders: bool = False) -> Source:
    """Open the images at a path.

    Parameters
    ----------
    path
        A folder of images, searched recursively; an LMDB folder; an HDF5 file; a video; a text
        file that lists images, optionally with class numbers; or one that lists HDF5 files.
    class_folders
        Whether the subfolders of a folder of images are its classes.

    Raises
    ------
    ImageError
        There is nothing at the path, or it holds no images.
    """
    if path.is_dir():
        if (path / "data.mdb").is_file():
            return Lmdb(path)
        return read_folder(path, class_folders)
    if not path.exists():
        raise ImageError(
            f"no images at {path}: there is no such file or folder; expected a folder of images, "
            "an LMDB, a list of images, an HDF5 file or a video"
        )
    if is_hdf5(path.name):
        return Hdf5([path])
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Video(path)
    names = _first_names(path)
    return read_hdf5_list(path, names) if names and is_hdf5(names[0]) else read_list(path)


def _first_names(path: Path) -> list[str]:
    """All lines of a list of HDF5 files; only the first line of any other list."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().strip()
            return [first, *(line.strip() for line in file)] if is_hdf5(first) else [first]
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(
            f"{path} is not a list of images, an HDF5 file (.h5) or a video: {error}"
        ) from error
