"""Pooling of regions of maps: ``(maps (N, C, H, W), regions (R, 5)) -> (R, C, rows, columns)``.

A region is a row image, x1, y1, x2, y2: the index of an image in the batch, and corners in pixels
of the net's input, with the last pixel included. Diffs reach the maps; the regions have none.

All layers here but ROIPooling average values on a grid. They multiply the map by one matrix from
the left, for the rows, and by one from the right, for the columns.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepvis_caffe.engines.torch.device import vector
from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes

Array = NDArray[Any]


class Spans(NamedTuple):
    """Start and length of regions along one axis, in positions of the map: (R,)."""

    start: Array
    size: Array

    def cut(self, parts: int) -> tuple[Array, Array]:
        """(R, parts): start and end of each of several equal parts, in float32 as in Caffe."""
        size = (self.size / np.float32(parts))[:, None]
        number = np.arange(parts, dtype=np.float32)
        start = self.start[:, None]
        return number * size + start, (number + 1) * size + start


class Regions(NamedTuple):
    """Regions in float32, as in Caffe.

    Attributes
    ----------
    image
        (R,), the index of each one's image in the batch.
    corners
        x1, y1, x2, y2, (R,) each.
    """

    image: Array
    corners: tuple[Array, Array, Array, Array]

    @classmethod
    def of(cls, rois: Tensor, images: int) -> Regions:
        """From the layer's bottom, for a batch of `images`."""
        rows = rois.detach().reshape(-1, 5).cpu().numpy().astype(np.float32)
        image = rows[:, 0].astype(np.int64)
        outside = np.flatnonzero((image < 0) | (image >= images))
        if len(outside):
            raise IndexError(
                f"region {outside[0]} refers to image {image[outside[0]]}, but the batch has "
                f"{images}; each region is a row of image, x1, y1, x2, y2"
            )
        return cls(image, (rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4]))

    def padded(self, ratio: float) -> Regions:
        """Enlarged by this fraction of their size on each side (MS-CNN)."""
        x1, y1, x2, y2 = self.corners
        wide, high = (x2 - x1 + 1) * np.float32(ratio), (y2 - y1 + 1) * np.float32(ratio)
        return Regions(self.image, (x1 - wide, y1 - high, x2 + wide, y2 + high))


def rounded(x: Array) -> Array:
    """Round to the nearest integer, halves away from zero, as in C."""
    return np.trunc(x.astype(np.float64) + np.copysign(0.5, x)).astype(np.float32)


# -- Fast R-CNN (Girshick 2015) ------------------------------------------------------------------


@register("ROIPooling")
class ROIPooling(Layer):
    """The maximum over each of pooled_h x pooled_w parts of a region; 0 for an empty part.

    The region is rounded to positions of the map, ends included, and has at least one position.
    The starts of its parts are rounded down and the ends up, so they may overlap. Among equal
    values the first gets the diff. With MS-CNN's `pad_ratio` regions are enlarged first.
    """

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:  # noqa: D102
        at = self._highest(x.detach().contiguous(), Regions.of(rois, len(x)))
        values = x.reshape(-1).index_select(0, at.clamp(min=0).reshape(-1)).reshape(at.shape)
        return torch.where(at < 0, values.new_zeros(()), values)

    def _highest(self, x: Tensor, regions: Regions) -> Tensor:
        """(R, C, rows, columns): indices of the maxima in the flattened x; -1 for empty parts."""
        p = self.param.roi_pooling_param
        scale, (_, channels, height, width) = np.float32(p.spatial_scale), x.shape
        x1, y1, x2, y2 = (rounded(c * scale) for c in regions.padded(p.pad_ratio).corners)
        rows, columns = _Bins.of(y1, y2, p.pooled_h, height), _Bins.of(x1, x2, p.pooled_w, width)
        found = [x.new_zeros((0, channels, p.pooled_h, p.pooled_w), dtype=torch.long)]
        for n, row, column in zip(regions.image.tolist(), rows, columns, strict=True):
            # The maximum of each row of a part, then the maximum of those. Among equal values this
            # finds the first one row by row, as in Caffe, and far faster than part by part.
            along = [x[n, :, :, part].max(2) for part in column.parts]
            values, places = (torch.stack(one, 2) for one in zip(*along, strict=True))
            places = places + column.begin.to(x.device)  # (C, H, columns)
            best = []
            for part in row.parts:
                i = values[:, part].argmax(1, keepdim=True)
                best.append((i + part.start) * width + places[:, part].gather(1, i))
            at = torch.cat(best, 1)
            first = (n * channels + torch.arange(channels, device=x.device)) * height * width
            empty = (row.empty[:, None] | column.empty).to(x.device)
            found.append(torch.where(empty, -1, at + first[:, None, None])[None])
        return torch.cat(found)


class _Bins(NamedTuple):
    """The positions of a region's parts along one axis.

    Attributes
    ----------
    parts
        One slice per part; a single position if it is empty.
    begin
        int64, the start of each.
    empty
        bool, whether it is empty.
    """

    parts: list[slice]
    begin: Tensor
    empty: Tensor

    @classmethod
    def of(cls, start: Array, end: Array, parts: int, limit: int) -> Iterator[_Bins]:
        """The parts of each region with these starts and ends, the last position included."""
        size = np.maximum(end - start + 1, 1)
        first, last = Spans(np.zeros_like(size), size).cut(parts)
        begin = np.clip(np.floor(first) + start[:, None], 0, limit).astype(np.int64)
        stop = np.clip(np.ceil(last) + start[:, None], 0, limit).astype(np.int64)
        empty = stop <= begin
        begin = np.minimum(begin, limit - 1)
        stop = np.where(empty, begin + 1, stop)
        for a, b, none in zip(begin, stop, empty, strict=True):
            slices = [slice(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)]
            yield cls(slices, torch.as_tensor(a), torch.as_tensor(none))


# -- layers that are linear along each axis ------------------------------------------------------


class _LinearPooling(Layer, abc.ABC):
    """Region pooling by a matrix product along each axis of the map."""

    @abc.abstractmethod
    def axes(self, regions: Regions, size: tuple[int, int]) -> tuple[Array, Array]:
        """(R, rows, H) and (R, columns, W): the weight of each position for each place of a top."""

    def matrices(self, x: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """The same as tensors of the type and on the device of x."""
        height, width = x.shape[2:]
        rows, columns = self.axes(regions, (height, width))
        return (
            torch.as_tensor(rows, dtype=x.dtype, device=x.device),
            torch.as_tensor(columns, dtype=x.dtype, device=x.device),
        )

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        """``y_r = rows_r x columns_r^T``, for every channel."""
        regions = Regions.of(rois, len(x))
        rows, columns = self.matrices(x, regions)
        if not len(rois):
            return x.new_zeros((0, x.shape[1], rows.shape[1], columns.shape[1]))
        return torch.stack(
            [
                rows[r] @ x[n] @ columns[r].T
                for r, n in enumerate(torch.as_tensor(regions.image).tolist())
            ]
        )


def interpolation(places: Array, size: int) -> Array:
    """(..., size): linear interpolation weights at places along an axis; 0 outside the map."""
    inside = (places >= -0.5) & (places <= size - 0.5)
    near = 1 - np.abs(places.clip(0, size - 1)[..., None] - np.arange(size, dtype=np.float32))
    return np.where(inside[..., None], near.clip(0, None), 0)


@register("ROIAlign")
class ROIAlign(_LinearPooling):
    """MS-CNN's ROIAlign: interpolated values at the corners of a pooled_h x pooled_w grid.

    The top has one row and one column more than the grid has cells. A region without area and a
    corner outside the map give 0. Pixel centers are at half-integers.
    """

    def axes(self, regions: Regions, size: tuple[int, int]) -> tuple[Array, Array]:  # noqa: D102
        p = self.param.roi_pooling_param
        scale = np.float32(p.spatial_scale)
        x1, y1, x2, y2 = (c * scale - np.float32(0.5) for c in regions.padded(p.pad_ratio).corners)
        real = ((x2 > x1) & (y2 > y1))[:, None, None]
        rows, columns = (
            interpolation(self._corners(Spans(start, end - start), parts), limit)
            for start, end, parts, limit in (
                (y1, y2, p.pooled_h, size[0]),
                (x1, x2, p.pooled_w, size[1]),
            )
        )
        return np.where(real, rows, 0), np.where(real, columns, 0)

    @staticmethod
    def _corners(spans: Spans, parts: int) -> Array:
        before, after = spans.cut(parts)
        return np.concatenate([before, after[:, -1:]], 1)


@register("ROIWarping")
class ROIWarping(_LinearPooling):
    """Interpolated values at the start of each part of a region (MNC: Dai et al. 2016, "Cascades").

    The region is rounded to positions of the map. MNC gives regions a diff, too; here they have
    none, because they result from a selection.
    """

    def axes(self, regions: Regions, size: tuple[int, int]) -> tuple[Array, Array]:  # noqa: D102
        p = self.param.roi_warping_param
        x1, y1, x2, y2 = (rounded(c * np.float32(p.spatial_scale)) for c in regions.corners)
        rows, columns = (
            interpolation(Spans(start, np.maximum(end - start, 0)).cut(parts)[0], limit)
            for start, end, parts, limit in (
                (y1, y2, p.pooled_h, size[0]),
                (x1, x2, p.pooled_w, size[1]),
            )
        )
        return rows, columns


@register("MaskPooling")
class MaskPooling(Layer):
    """Each map times its mask (MNC)."""

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:  # noqa: D102
        return x * masks.reshape(len(x), 1, *x.shape[2:])


@register("MaskResize")
class MaskResize(Layer):
    """Bilinear interpolation in even steps from the first position (MNC, SSTD).

    Places more than half a position past the last one are 0.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        sizes = tuple(zip(x.shape[2:], top_shapes(self, x)[0][2:], strict=True))
        rows, columns = self.constants(
            x, sizes, lambda: [self._matrix(*pair).to(x.dtype) for pair in sizes]
        )
        return rows @ x @ columns.T

    @staticmethod
    def _matrix(inputs: int, outputs: int) -> Tensor:
        step = np.float32(inputs) / np.float32(outputs)
        return torch.as_tensor(interpolation(np.arange(outputs, dtype=np.float32) * step, inputs))


# -- R-FCN (Dai et al. 2016, "R-FCN: Object Detection via Region-based Fully Convolutional ...") --


class _PositionSensitive(_LinearPooling):
    """Each of a region's G x G parts is pooled from its own map: C = output_dim * G * G."""

    @property
    @abc.abstractmethod
    def parts(self) -> int:
        """G."""

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        """(R, output_dim, G, G)."""
        regions = Regions.of(rois, len(x))
        rows, columns = self.matrices(x, regions)
        maps = x.reshape(len(x), -1, self.parts**2, x.shape[2] * x.shape[3])
        top = x.new_zeros((len(rois), maps.shape[1], self.parts**2))
        for n in range(len(x)):
            own = torch.as_tensor(np.flatnonzero(regions.image == n), device=x.device)
            pooled = []
            for part in range(self.parts**2):
                row, column = rows[own, part // self.parts], columns[own, part % self.parts]
                weights = (row[:, :, None] * column[:, None]).flatten(1)  # (own, H * W)
                pooled.append(weights @ maps[n, :, part].T)
            top = top.index_copy(0, own, torch.stack(pooled, -1))
        return top.reshape(len(rois), -1, self.parts, self.parts)


@register("PSROIPooling")
class PSROIPooling(_PositionSensitive):
    """The mean over each of G x G parts of a region, each in its own map; 0 for an empty part.

    Starts of parts are rounded down and ends up. A region is at least a tenth of a position long.
    """

    @property
    def parts(self) -> int:
        """G, `group_size`."""
        return self.param.psroi_pooling_param.group_size

    def axes(self, regions: Regions, size: tuple[int, int]) -> tuple[Array, Array]:  # noqa: D102
        scale = np.float32(self.param.psroi_pooling_param.spatial_scale)
        x1, y1, x2, y2 = (rounded(c) for c in regions.corners)
        return (
            self._means(_between(y1 * scale, (y2 + 1) * scale), size[0]),
            self._means(_between(x1 * scale, (x2 + 1) * scale), size[1]),
        )

    def _means(self, spans: Spans, limit: int) -> Array:
        """(R, G, limit): one over its length within each part, 0 elsewhere."""
        first, last = spans.cut(self.parts)
        first, last = np.floor(first).clip(0, limit), np.ceil(last).clip(0, limit)
        position = np.arange(limit)
        within = (position >= first[..., None]) & (position < last[..., None])
        return within / np.maximum(last - first, 1)[..., None]


@register("PSROIAlign")
class PSROIAlign(_PositionSensitive):
    """The mean of `sample_num` x `sample_num` interpolated values in each of G x G parts.

    A part's samples are evenly spaced from its start, which is clipped to the map; those not before
    its clipped end count as 0.
    """

    @property
    def parts(self) -> int:
        """G, `group_size`."""
        return self.param.psroi_align_param.group_size

    def axes(self, regions: Regions, size: tuple[int, int]) -> tuple[Array, Array]:  # noqa: D102
        scale = np.float32(self.param.psroi_align_param.spatial_scale)
        x1, y1, x2, y2 = regions.corners
        return (
            self._samples(_between(y1 * scale, (y2 + 1) * scale), size[0]),
            self._samples(_between(x1 * scale, (x2 + 1) * scale), size[1]),
        )

    def _samples(self, spans: Spans, limit: int) -> Array:
        samples = self.param.psroi_align_param.sample_num
        first, last = (edge.clip(0, limit - 1) for edge in spans.cut(self.parts))
        step = (spans.size / np.float32(self.parts * (samples + 1)))[:, None, None]
        places = first[..., None] + np.arange(1, samples + 1, dtype=np.float32) * step
        counted = places < last[..., None]
        return (interpolation(places, limit) * counted[..., None]).sum(-2) / samples


def _between(start: Array, end: Array) -> Spans:
    """Spans at least a tenth of a position long."""
    return Spans(start, np.maximum(end - start, np.float32(0.1)))


@register("DeformablePSROIPooling")
class DeformablePSROIPooling(Layer):
    """The mean of interpolated values in each of G x G parts of a region, which offsets move.

    Dai et al. 2017, "Deformable Convolutional Networks"; the Caffe layer is from makefile/frcnn.
    Each part has its own map. Offsets are fractions of the region's width, then of its height,
    times `trans_std`; there are P x P of them for each of several classes of outputs. A part's
    samples are evenly spaced from its start on; those more than half a position outside the map do
    not count. Diffs reach the maps and the offsets.
    """

    def forward(self, x: Tensor, rois: Tensor, *offsets: Tensor) -> Tensor:  # noqa: D102
        p = self.param.deformable_psroi_pooling_param
        regions = Regions.of(rois, len(x))
        at = self._samples(x, regions, None if p.no_trans else offsets[0])
        top = x.new_zeros((len(rois), p.output_dim, p.group_size, p.group_size))
        for n, image in enumerate(x):
            own = torch.as_tensor(np.flatnonzero(regions.image == n), device=x.device)
            if len(own):
                top = top.index_copy(0, own, self._pooled(image, at[own]))
        return top

    def _samples(self, x: Tensor, regions: Regions, offsets: Tensor | None) -> Tensor:
        """Rows and columns of the parts' samples: (R, classes, G, G, 2, samples)."""
        p = self.param.deformable_psroi_pooling_param
        parts = p.group_size
        x1, y1, x2, y2 = (torch.as_tensor(rounded(c)).to(x) for c in regions.corners)
        start = torch.stack([y1, x1], 1) * p.spatial_scale - 0.5
        end = torch.stack([y2 + 1, x2 + 1], 1) * p.spatial_scale - 0.5
        size = (end - start).clamp(min=0.1)  # (R, 2)
        number = torch.arange(parts, device=x.device).to(x.dtype)
        begin = torch.stack(torch.meshgrid(number, number, indexing="ij"), -1)  # (G, G, 2)
        begin = (begin / parts * size[:, None, None] + start[:, None, None])[:, None]
        if offsets is not None:
            # The cell of P x P that each of G x G falls into, in float32 as in Caffe.
            share = np.arange(parts, dtype=np.float32) / np.float32(parts)
            place = torch.as_tensor((share * np.float32(p.part_size)).astype(np.int64))
            moves = offsets.unflatten(1, (-1, 2))[..., place[:, None], place]
            moves = moves.flip(2).movedim(2, -1)  # columns come first
            begin = begin + moves * p.trans_std * size[:, None, None, None]
        step = size / (parts * p.sample_per_part)
        steps = torch.arange(p.sample_per_part, device=x.device) * step[..., None]
        return begin[..., None] + steps[:, None, None, None]

    def _pooled(self, image: Tensor, at: Tensor) -> Tensor:
        """(R, output_dim, G, G) from one image (C, H, W)."""
        regions, classes, parts, *_, samples = at.shape
        maps = image.reshape(classes, -1, parts**2, *image.shape[1:]).transpose(1, 2).flatten(0, 1)
        limit = vector(at, image.shape[1:])[:, None]
        inside = (at >= -0.5) & (at <= limit - 0.5)
        at = at.minimum(limit - 1).clamp(min=0)
        # grid_sample counts from -1 to 1 between the map's edges; regions are side by side.
        rows, columns = ((2 * at + 1) / limit - 1).unbind(-2)
        grid = torch.stack(
            torch.broadcast_tensors(columns[..., None, :], rows[..., None]), -1
        )  # (R, classes, G, G, samples, samples, 2)
        grid = grid.permute(1, 2, 3, 0, 4, 5, 6).reshape(len(maps), -1, samples, 2)
        values = F.grid_sample(maps, grid, align_corners=False).unflatten(2, (regions, samples))
        down, across = inside.unbind(-2)
        counted = (down[..., None] & across[..., None, :]).permute(1, 2, 3, 0, 4, 5)
        counted = counted.reshape(len(maps), 1, regions, samples, samples)
        total = (values * counted).sum((3, 4)) / counted.sum((3, 4)).clamp(min=1)
        return total.unflatten(0, (classes, parts, parts)).permute(4, 0, 3, 1, 2).flatten(1, 2)
