"""Top images from Python: ``(net, images, layers) -> TopImages``, with or without files.

`top_images` does the scan and the pictures of ``deepvis top-images`` in one call. Its result crops
a unit's images on access, displays itself in a notebook, and can be saved.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

from deepvis_caffe.cluster.cores import threads_here
from deepvis_caffe.dataset.loader import ImageCache, default_cache_size
from deepvis_caffe.dataset.open_source import Images, as_source
from deepvis_caffe.dataset.scan import Scan, ScanParams
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.top_images import Example, unit_examples
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.rules import check_mode
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.figures.figure import Cell, Row, figure
from deepvis_caffe.figures.montage import vivid
from deepvis_caffe.image import Picture, encode_jpeg, encode_png
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.scan import run_scan, scan_recipe, usual_shard_size
from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
from deepvis_caffe.model.labels import unit_title
from deepvis_caffe.optimizer.targets import check_units, listed_targets
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.results.layout import scan_folder
from deepvis_caffe.results.scan_folder import ScanFolder

log = logging.getLogger(__name__)

SHOWN = 8  # units of each layer that a notebook displays
CELL = 104  # pixels, the longer side of a crop there
QUALITY = 80  # of the JPEG that a notebook stores


@dataclass(frozen=True, eq=False)
class UnitTopImages(Sequence[Example]):
    """The top images of one unit: a sequence of `Example`, the highest activation first.

    Attributes
    ----------
    examples
        The images; empty if no image activates the unit.
    layer, unit
        The unit.
    label
        Its label, if it has one.
    """

    examples: tuple[Example, ...] = field(repr=False)
    layer: str
    unit: int
    label: str | None

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, index: int | slice) -> Example | tuple[Example, ...]:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def title(self) -> str:
        """The unit's title, for people."""
        return unit_title(self.layer, self.unit, self.label)

    def picture(self) -> Picture:
        """A figure of the crops with their activations and names, and of their saliency maps.

        Raises
        ------
        ImageError
            No image activates the unit.
        """
        crops = [
            Cell(example.crop, (f"{example.value:.4g}", Path(example.name).name))
            for example in self.examples
        ]
        maps = {
            mode: [Cell(vivid(example.diffs[mode])) for example in self.examples]
            for mode in (self.examples[0].diffs if self.examples else ())
        }
        rows = [Row(crops), *(Row(cells, mode) for mode, cells in maps.items())]
        return figure(rows, CELL, self.title)

    def _repr_png_(self) -> bytes | None:
        return encode_png(self.picture()) if self.examples else None

    def _repr_html_(self) -> str:
        if not self.examples:
            return f"<p>{escape(self.title)}: no image activates it</p>"
        shown = base64.b64encode(encode_jpeg(self.picture(), QUALITY)).decode()
        return f'<img alt="{escape(self.title)}" src="data:image/jpeg;base64,{shown}">'


class TopImages:
    """The result of `top_images`; ``found[unit]`` or ``found[layer, unit]`` are a unit's images.

    Attributes
    ----------
    net, source
        The net, and the images.
    scan
        The values, positions and names of every unit's top images, and statistics of every unit:
        `deepvis_caffe.dataset.scan.Scan`.
    layers
        The names of the layers.
    units
        The units that are shown and saved, by layer.
    modes
        The backward modes of the saliency maps.
    """

    def __init__(
        self,
        net: Net,
        scanned: ScannedImages,
        units: dict[str, list[int]],
        modes: Sequence[str] = ("deconv",),
    ) -> None:
        self.net, self.units, self.modes = net, units, tuple(modes)
        self.layers = tuple(units)
        self._scanned = scanned
        self._found: dict[tuple[str, int], UnitTopImages] = {}

    @property
    def scan(self) -> Scan:
        """What the pass over the images found."""
        return self._scanned.scan

    @property
    def source(self) -> Source:
        """The images."""
        return self._scanned.source

    def __getitem__(self, key: int | str | tuple[str, int | str]) -> UnitTopImages:
        """The top images of a unit by its number or label, or of (layer, unit) for several layers.

        Raises
        ------
        SettingsError
            The layer was not scanned, or has no such unit.
        UnknownNameError
            There is no such label.
        ImageError
            An image has changed since it was scanned.
        """
        if not isinstance(key, tuple):
            if len(self.layers) > 1:
                raise SettingsError(
                    f"several layers were scanned, so give both a layer and a unit, as in "
                    f"[{self.layers[0]!r}, 0]; got [{key!r}]"
                )
            key = self.layers[0], key
        layer, unit = key
        if layer not in self.layers:
            raise SettingsError(
                f"layer {layer!r} is not among the scanned layers: {', '.join(self.layers)}"
            )
        (unit,) = _units(self.net, layer, self.scan.layers[layer].shape, [unit])
        if (layer, unit) not in self._found:
            examples = unit_examples(
                self.net,
                self.source,
                self.scan,
                layer,
                unit,
                self.modes,
                threads_here(),
                self._images,
            )
            label = self.net.label(layer, unit)
            self._found[layer, unit] = UnitTopImages(tuple(examples), layer, unit, label)
        return self._found[layer, unit]

    @cached_property
    def _images(self) -> ImageCache:
        return ImageCache(self.source, self.net.preprocessor, default_cache_size())

    def save(
        self,
        folder: str | os.PathLike[str],
        overwrite: bool = False,
        progress: ProgressCallback | None = None,
        with_crops: bool = False,
    ) -> Path:
        """Write the scan and the pictures of `units`, as ``deepvis top-images`` does.

        Parameters
        ----------
        folder
            A results folder. Pictures that exist already are kept.
        overwrite
            Whether results of other images or another net may be replaced.
        progress
            Called as ``progress(done, total)``, in units.
        with_crops
            Whether each crop and saliency map is also written to a separate file, besides the
            montage of its unit.

        Raises
        ------
        SettingsError
            The folder holds other results.
        ResultsError
            It cannot be written, another program made a picture in it, or the disk has too little
            space.
        ImageError
            An image has changed since it was scanned.
        """
        job = Job(self.net, Path(folder), progress=progress, overwrite=overwrite)
        kept = ScanFolder(scan_folder(job.results))
        with kept.locked():
            if kept.finished(self._scanned.recipe) is None:
                kept.claim(self._scanned.recipe, usual_shard_size(self.source), overwrite)
                kept.finish(self.scan, self._scanned.recipe)
        make_top_pictures(job, self._scanned, self.units, self.modes, with_crops)
        return job.results

    def __repr__(self) -> str:
        return f"<top images of {', '.join(self.layers)} among {self.scan.images:,}>"

    def _repr_html_(self) -> str:
        parts = []
        for layer, units in self.units.items():
            parts += [self[layer, unit]._repr_html_() for unit in units[:SHOWN]]
            if (more := len(units) - SHOWN) > 0:
                parts.append(f"<p>and {more:,} more units of {escape(layer)}</p>")
        return "".join(parts)


def top_images(
    net: Net,
    images: Images,
    layers: str | Iterable[str] = (),
    units: int | str | Iterable[int | str] | None = None,
    count: int = 9,
    *,
    modes: Sequence[str] = ("deconv",),
    results: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    batch_size: int | None = None,
    with_crops: bool = False,
) -> TopImages:
    """Find the images that activate each unit most, in one pass for all layers.

    >>> found = top_images(net, "photos/", ["fire8/expand3x3"])
    >>> found[119][0].value, found[119][0].name, found[119][0].crop

    Parameters
    ----------
    net
        From `load_net`.
    images
        A folder of images, an LMDB, an HDF5 file, a video, or a list of images in a text file; a
        list of pictures (H, W, 3) or files, or a mapping from names to these; or a source from
        `open_source`.
    layers
        Names of layers or blobs; by default all convolution, deconvolution and inner-product
        layers.
    units
        Which units of each layer to show and save, by number or label; all by default. The result
        can be indexed with any unit.
    count
        Number of images per unit.
    modes
        Backward modes of the saliency maps beside the crops.
    results
        A results folder for the commands, the viewer and the gallery. Results that it already has
        are not computed again. None writes no files.
    overwrite
        Whether results of other images in that folder may be replaced.
    progress
        Called as ``progress(done, total)``, in images.
    batch_size
        Images per batch; by default as many as suit the engine.
    with_crops
        Whether `results` also gets each crop as a separate file; see `TopImages.save`.

    Raises
    ------
    ImageError
        There are no such images, or none can be used.
    UnknownNameError, ModelError
        There is no such layer, label or mode, or the layer has no units.
    SettingsError, ResultsError
        There is no such unit, or as for `TopImages.save`.
    """
    for mode in modes:
        check_mode(mode)
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    params = ScanParams(names, count).for_net(net)
    chosen: dict[str, list[int]] = {}
    for layer in params.layers:
        shape = net.shapes[net.model.graph.activation(layer)][1:]
        chosen[layer] = _units(net, layer, shape, units)
    source = as_source(images, net.preprocessor.shape[0])
    with TemporaryDirectory(prefix="deepvis_scan_") as temporary:
        job = Job(net, Path(results or temporary), progress=progress, overwrite=overwrite)
        scan = run_scan(job, source, params, batch_size)
        scanned = ScannedImages(source, scan, scan_recipe(job, source, params))
    if scan.skipped:
        name, why = scan.skipped[0]
        log.warning(
            "%d of %d images could not be used (see TopImages.scan.skipped), the first is %s: %s",
            len(scan.skipped),
            len(source),
            name,
            why,
        )
    found = TopImages(net, scanned, chosen, modes)
    if results is not None:
        found.save(results, overwrite, with_crops=with_crops)
    return found


def _units(net: Net, layer: str, shape: tuple[int, ...], units: Any) -> list[int]:
    """The numbers of the chosen units of a layer, given by number or label; None means all."""
    if units is None:
        return list(range((*shape, 1)[0]))
    listed = [units] if isinstance(units, str) or not isinstance(units, Iterable) else list(units)
    numbers = [number for unit in listed for number in listed_targets(net, layer, unit)]
    return list(dict.fromkeys(check_units(numbers, shape, layer)))
