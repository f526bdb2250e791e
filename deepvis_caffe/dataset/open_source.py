"""``open_source(path) -> Source``: images from a path of any kind."""

from __future__ import annotations

from pathlib import Path

from deepvis_caffe.dataset.databases import Hdf5, Lmdb, is_hdf5, read_hdf5_list
from deepvis_caffe.dataset.image_files import VIDEO_SUFFIXES, Files, Video, read_folder, read_list
from deepvis_caffe.dataset.image_lists import list_lines
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import IMAGE_SUFFIXES


def open_source(path: Path, class_folders: bool = False, root: Path | None = None) -> Source:
    """Open the images at a path.

    Parameters
    ----------
    path
        A folder of images, searched recursively; an LMDB folder; an HDF5 file; a video; an image;
        a text file that lists images, optionally with class numbers; or one that lists HDF5 files.
    class_folders
        Whether the subfolders of a folder of images are its classes.
    root
        Where the paths in a list of images start; by default its folder.

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
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Files(path.parent, {path.name: None})
    lines = list_lines(path)
    if lines and is_hdf5(lines[0][1]):
        return read_hdf5_list(path, [line for _, line in lines], root)
    return read_list(path, root)
