"""The folder of a scan: its recipe, its shards until it is finished, and then the whole scan.

Every file is written atomically, so a scan can be interrupted at any time and later resumes with
the missing shards. `deepvis_caffe.results.layout` names the files.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import Recipe, read_scan, write_scan
from deepvis_caffe.errors import ResultsError, SettingsError, boundary
from deepvis_caffe.files import exists, lock, read_json, remove_abandoned, write_text
from deepvis_caffe.limits import RECORD
from deepvis_caffe.results.layout import SCAN, SCAN_RECIPE, ShardFile
from deepvis_caffe.results.records import differences

log = logging.getLogger(__name__)

OWN_OUTPUT = "own_output"  # in a recipe, see `deepvis_caffe.jobs.scan.scan_recipe`


class _Claim(BaseModel):
    model_config = ConfigDict(strict=True)

    recipe: dict[str, Any]
    shard_size: int = Field(ge=1, lt=2**31)


class ScanFolder:
    """A scan on disk.

    Parameters
    ----------
    folder
        Its path, usually `layout.scan_folder` of a results folder; created on the first write.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def finished(self, recipe: Recipe) -> Scan | None:
        """The finished scan, if its recipe is the same apart from additional layers.

        A scan that cannot be read counts as unfinished.
        """
        path = self.folder / SCAN
        if not path.is_file():
            return None
        try:
            scan, old = read_scan(path)
            wanted, own = set(recipe["layers"]), old.get(OWN_OUTPUT, [])
            if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
                raise ResultsError(
                    f"{path} is damaged: its recipe's {OWN_OUTPUT} is not a list of names"
                )
        except ResultsError as error:
            log.warning("%s; scanning again", error)
            return None
        same = _without_layers(old) == _without_layers(recipe) and wanted <= set(scan.layers)
        same_values = wanted & set(own) == set(recipe.get(OWN_OUTPUT, ()))
        return scan if same and same_values else None

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from scanning into this folder.

        Raises
        ------
        ResultsError
            Another process is scanning into it, or it cannot be written to.
        """
        try:
            return lock(self.folder / "scan.lock", f"the scan in {self.folder}")
        except OSError as error:
            raise ResultsError(f"cannot write to {self.folder}: {error.strerror}") from error

    def claim(self, recipe: Recipe, shard_size: int, overwrite: bool) -> int:
        """Claim the folder for this recipe.

        Parameters
        ----------
        shard_size
            Images per shard of a new scan.
        overwrite
            Whether a scan made with other parameters may be replaced.

        Returns
        -------
        int
            Images per shard: `shard_size`, or that of the existing shards.

        Raises
        ------
        SettingsError
            The folder has a scan made with other parameters, and `overwrite` is not set.
        ResultsError
            The folder is damaged, or cannot be written.
        """
        path = self.folder / SCAN_RECIPE
        try:
            old, size = self._claimed(path) if exists(path) else (None, shard_size)
        except ResultsError:
            if not overwrite:
                raise
            old, size = None, shard_size
        remove_abandoned(self.folder)
        if old == recipe:
            return size
        if old is not None and not overwrite:
            raise SettingsError(
                f"{self.folder} holds a scan made with other parameters "
                f"({_differences(old, recipe)}); choose another results folder (--results), or "
                "give --overwrite to replace it"
            )
        (self.folder / SCAN).unlink(missing_ok=True)
        self._remove_shards()
        text = json.dumps({"recipe": recipe, "shard_size": shard_size}, indent=1) + "\n"
        try:
            write_text(path, text)
        except OSError as error:
            raise ResultsError(f"cannot write {path}: {error.strerror}") from error
        return shard_size

    def _claimed(self, path: Path) -> tuple[Recipe, int]:
        """The recipe that has claimed the folder, and the images per shard."""
        with boundary(ResultsError, f"{path} is damaged; give --overwrite to start over"):
            claim = _Claim.model_validate(read_json(path, RECORD))
        return claim.recipe, claim.shard_size

    def has_shard(self, number: int, recipe: Recipe) -> bool:
        """Whether a shard by this recipe exists."""
        try:
            return read_scan(self._shard(number))[1] == recipe
        except ResultsError:
            return False

    def read_shard(self, number: int, recipe: Recipe) -> Scan:
        """A shard, which must exist.

        Raises
        ------
        ResultsError
            It is missing, cannot be read, or was made by another recipe.
        """
        path = self._shard(number)
        scan, own = read_scan(path)
        if own != recipe:
            raise ResultsError(
                f"{path} was made by another scan ({_differences(recipe, own)}) while this one "
                "ran; run the command again"
            )
        return scan

    def write_shard(self, number: int, scan: Scan, recipe: Recipe) -> None:
        """Write a shard."""
        write_scan(self._shard(number), scan, recipe)

    def finish(self, scan: Scan, recipe: Recipe) -> None:
        """Write the scan merged from all shards, and then delete these."""
        write_scan(self.folder / SCAN, scan, recipe)
        self._remove_shards()

    def remove_merged_shards(self) -> None:
        """Delete leftover shards of a finished scan, if a process was killed before it did so.

        They do no harm, so they stay if another process holds the lock or the folder is read-only.
        """
        if any(ShardFile.parse(path.name) for path in self.folder.iterdir()):
            # An unfinished scan has no such file, because `claim` deletes an older scan's.
            with suppress(ResultsError), self.locked():
                if (self.folder / SCAN).is_file():
                    self._remove_shards()

    def _shard(self, number: int) -> Path:
        return self.folder / str(ShardFile(number))

    def _remove_shards(self) -> None:
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if ShardFile.parse(path.name):
                    path.unlink(missing_ok=True)


def layer_recipe(recipe: Recipe, layer: str) -> dict[str, Any]:
    """Everything that determines one layer's numbers, without the other layers of the scan."""
    own = {OWN_OUTPUT: [layer]} if layer in recipe.get(OWN_OUTPUT, ()) else {}
    return {**_without_layers(recipe), **own}


def _without_layers(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in ("layers", OWN_OUTPUT)}


def _differences(old: Recipe, new: Recipe) -> str:
    words = {
        "net": "another net or mean",
        "images": "other images",
        OWN_OUTPUT: "in older versions the name of an in-place layer meant the value after all "
        "in-place layers; now it means the layer's own output",
    }
    return differences(old, new, words)
