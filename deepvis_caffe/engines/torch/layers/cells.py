"""YOLO v2's cells as probabilities, with a gradient: ``x (N, boxes * (5 + classes), H, W) -> y``.

Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger". Each cell of a map has several boxes.
For each box, two channels are its center in the cell, two the logarithms of its width and height
relative to an anchor, one its objectness, and the others its class scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.device import vector
from deepvis_caffe.engines.torch.layer import Layer, Tops, register
from deepvis_caffe.model.shapes.detection import region_boxes, region_classes


@register("Region")
class Region(Layer):
    """Three forks' layers of this name, each a variant of darknet's.

    With `num` (OpenVINO; files of darknet2caffe): a sigmoid of the center and the objectness and a
    softmax of the classes, in the map's own layout.

    Otherwise (caffe_yolo_v2): a sigmoid of the objectness and, with `softmax`, a softmax of the
    classes; the center stays as it is. Values are in memory cell by cell, yet the top has the map's
    shape.

    With two tops (zhang-xin): the boxes, (boxes, H, W, 4), centers first, relative to the image,
    and their class scores, (boxes, H, W, classes + 1), the last of which is the highest. Scores up
    to the threshold are 0.
    """

    def forward(self, x: Tensor) -> Tensor | Tops:  # noqa: D102
        if len(self.layer.tops) == 2:
            return self._found(x)
        options = self.param.region_param
        cells = x.unflatten(1, (region_boxes(self.param), -1))
        sizes = [2, options.coords - 2, 1, options.classes]
        center, extent, objects, classes = cells.split(sizes, 2)
        if options.HasField("num"):
            parts = [center.sigmoid(), extent, objects.sigmoid(), classes.softmax(2)]
            return torch.cat(parts, 2).flatten(1, 2)
        if options.softmax:
            classes = classes.softmax(2)
        parts = [center, extent, objects.sigmoid(), classes]
        return torch.cat(parts, 2).permute(0, 3, 4, 1, 2).reshape(x.shape)

    def _found(self, x: Tensor) -> Tops:
        options = self.param.region_loss_param
        height, width = x.shape[2:]
        cells = x[0].unflatten(0, (options.num, -1))
        center, extent, objects, classes = cells.split([2, 2, 1, region_classes(options)], 1)
        columns, rows = (torch.arange(n, device=x.device) for n in (width, height))
        corner = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).to(x.dtype)
        size = vector(x, [width, height])[:, None, None]
        anchors = list(options.biases)[: 2 * options.num]
        (reference,) = self.constants(x, None, lambda: [torch.tensor(anchors, dtype=x.dtype)])
        boxes = [
            (center.sigmoid() + corner) / size,
            extent.exp() * reference.reshape(-1, 2, 1, 1) / size,
        ]
        if options.softmax:
            classes = classes.softmax(1)
        scores = classes * objects.sigmoid()
        scores = torch.cat([scores, scores.amax(1, keepdim=True)], 1)
        limit = options.thresh if options.HasField("thresh") else options.threshold
        scores = torch.where(scores > limit, scores, 0)
        return torch.cat(boxes, 1).permute(0, 2, 3, 1), scores.permute(0, 2, 3, 1)
