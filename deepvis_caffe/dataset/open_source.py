"""``open_source(path) -> Source``: images from any kind of path, or in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepvis_caffe.dataset.databases import Hdf5, Lmdb, is_hdf5, read_hdf5_list
from deepvis_caffe.dataset.image_files import VIDEO_SUFFIXES, Files, Video, read_folder, read_list
from deepvis_caffe.dataset.image_lists import list_lines
from deepvis_caffe.dataset.pictures import Name, Picture, Pictures
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError, boundary, shortened
from deepvis_caffe.files import read_head
from deepvis_caffe.image import is_image
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.model.sniff import HDF5, LMDB, TEXTS, sniff

Images = Name | Source | Sequence[Picture | Name] | Mapping[str, Picture | Name]


def as_source(images: Images, channels: int = 3) -> Source:
    """A source of images given in any form.

    Parameters
    ----------
    images
        A path, as for `open_source`; a source; or a list of pictures and image files, or a mapping
        from names to these.
    channels
        Channels of the net's input.

    Raises
    ------
    ImageError
        They are none of these, or there are none.
    """
    if isinstance(images, Source):
        return images
    if isinstance(images, (str, os.PathLike)):
        return open_source(images, channels=channels)
    return Pictures(images, channels)


def open_source(
    path: str | os.PathLike[str],
    class_folders: bool = False,
    root: Path | None = None,
    channels: int = 3,
    dataset: str | None = None,
    megapixels: float = MEGAPIXELS,
) -> Source:
    """Open the images at a path.

    Parameters
    ----------
    path
        A folder of images, searched recursively; an LMDB; an HDF5 file; a video; an image; a text
        file that lists images, optionally with class numbers; or one that lists HDF5 files.
    class_folders
        Whether the subfolders of a folder of images are its classes.
    root
        Base of the paths in a list of images; by default its folder.
    channels
        Channels of the net's input, which determine how an image file is read; see `read_channels`.
    dataset
        The name of the images' dataset in an HDF5 file; see
        `deepvis_caffe.dataset.databases.Hdf5`.
    megapixels
        Maximum image size, in millions of pixels; a scan skips larger ones.

    Raises
    ------
    ImageError
        There is nothing at the path, or it holds no images.
    """
    path = Path(path)
    with boundary(ImageError, f"cannot read images at {shortened(str(path))}"):
        return _open(path, class_folders, root, channels, dataset, megapixels)


def _open(
    path: Path,
    class_folders: bool,
    root: Path | None,
    channels: int,
    dataset: str | None,
    megapixels: float,
) -> Source:
    if path.is_dir():
        if (path / "data.mdb").is_file():
            return Lmdb(path, channels, megapixels)
        if (path / "CURRENT").is_file() and any(path.glob("MANIFEST-*")):
            raise ImageError(
                f"{path} is a LevelDB, which is not supported; convert it to an LMDB, make one of "
                "the images (Caffe's convert_imageset --backend lmdb), or give the images' folder"
            )
        return read_folder(path, class_folders, channels, megapixels)
    if not path.exists():
        raise ImageError(
            f"no images at {path}: there is no such file or folder; expected a folder of images, "
            "an LMDB, a list of images, an HDF5 file or a video"
        )
    found = _sniff(path)
    if path.name == "data.mdb" or found == LMDB:
        return Lmdb(path.parent if path.name == "data.mdb" else path, channels, megapixels)
    if is_hdf5(path.name) or found == HDF5:
        return Hdf5([path], dataset, megapixels)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Video(path)
    if is_image(path):
        return Files(path.parent, {path.name: None}, channels=channels, megapixels=megapixels)
    if found is not None and found not in TEXTS:
        raise ImageError(
            f"{path} is not a list of images, an LMDB, an HDF5 file (.h5) or a video: it is {found}"
        )
    lines = list_lines(path)
    if lines and is_hdf5(lines[0][1]):
        return read_hdf5_list(path, [line for _, line in lines], root, dataset, megapixels)
    return read_list(path, root, channels, megapixels)


def _sniff(path: Path) -> str | None:
    with boundary(ImageError, f"cannot read {path}"):
        return sniff(read_head(path, 4096))
