"""One call from a path to images: ``open_source(path) -> Source``."""

from __future__ import annotations

from pathlib import Path

from deepvis_caffe.dataset.databases import Hdf5, Lmdb, is_hdf5, read_hdf5_list
from deepvis_caffe.dataset.image_files import VIDEO_SUFFIXES, Video, read_folder, read_list
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError


def open_source(path: Path, class_folders: bool = False) -> Source:
    """The images at a path, whatever it is.

    Parameters
    ----------
    path
        A folder of images, at any depth; a folder that is an LMDB; an HDF5 file; a video; or a
        text file that lists images, with the numbers of their classes or without, or HDF5 files.
    class_folders
        Whether the folders in a folder of images are its classes.

    Raises
    ------
    ImageError
        There is nothing, or no images in it.
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
    """The lines of a list of HDF5 files; of any other list its first line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().strip()
            return [first, *(line.strip() for line in file)] if is_hdf5(first) else [first]
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(
            f"{path} is not a list of images, an HDF5 file (.h5) or a video: {error}"
        ) from error
