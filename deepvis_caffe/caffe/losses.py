"""Loss layers and Accuracy, with their gradients.

The backward pass of most uses the predictions as of the last forward pass, but the current labels.
The diff of the loss itself is its weight in the net's loss, which `Net` sets.

Labels get no diff. Where Caffe would abort because one is requested, the backward pass raises an
error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.caffe.operations import Operation, operation
from deepvis_caffe.engines.torch.layer import Diffs, Tops
from deepvis_caffe.errors import EngineError, ModelError, boundary
from deepvis_caffe.files import read_file
from deepvis_caffe.limits import ARRAY_FILE
from deepvis_caffe.model import graph
from deepvis_caffe.model.caffemodel import read_blob
from deepvis_caffe.model.schema_pb2 import HingeLossParameter, LayerParameter, LossParameter
from deepvis_caffe.model.shapes.registry import (
    Outcome,
    Rule,
    Shape,
    canonical_axis,
    count,
    legacy,
    require,
)

FLT_MIN = torch.finfo(torch.float32).tiny
LOG_THRESHOLD = 1e-20  # Caffe clamps probabilities to this before it takes the logarithm


class Loss(Operation):
    """A layer whose first top is a number that training minimizes.

    Attributes
    ----------
    rule
        Its numbers of bottoms and tops, and Caffe's checks of their shapes.
    labels
        The bottoms that get no diff.
    """

    rule: ClassVar[Rule]
    labels: ClassVar[tuple[int, ...]] = (1,)

    @classmethod
    def shapes(cls, param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
        """The shapes of a number, and of any further tops."""
        return cls.rule(param, bottoms)

    @classmethod
    def loss_weights(cls, param: LayerParameter) -> list[float]:
        """By default 1 for the first top; the prototxt may override it."""
        weights = list(param.loss_weight) or [1.0]
        return weights + [0.0] * (len(param.top) - len(weights))

    @classmethod
    def may_be_forced(cls, bottom: int) -> bool:
        """Not for labels, which for Caffe are always the second bottom."""
        return bottom != 1

    def why_no_diff(self, bottom: int) -> str:
        """Because it is a label."""
        if bottom not in self.labels:
            return ""
        return (
            "it holds labels, for which a loss has no gradient; set its propagate_down to false, "
            "or make it independent of anything that learns"
        )


def class_numbers(
    layer: graph.Layer,
    labels: Tensor,
    shape: Sequence[int],
    classes: int,
    ignored: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Labels as integers in a shape, and which of them count; those that do not become 0.

    Raises
    ------
    EngineError
        There is no such class. Caffe would read out of bounds.
    """
    numbers = labels.reshape(tuple(shape)).long()
    counted = torch.ones_like(numbers) > 0 if ignored is None else numbers != ignored
    wrong = numbers[counted & ((numbers < 0) | (numbers >= classes))]
    if len(wrong):
        hint = "" if ignored is not None else "; to skip a label, set ignore_label"
        raise EngineError(
            f"layer {layer.name!r} ({layer.type}): label {wrong[0].item()} in "
            f"{layer.bottoms[1].blob!r} is out of range: there are {classes} classes, 0 to "
            f"{classes - 1}{hint}"
        )
    return numbers * counted, counted


def _same_batch(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    require(all(bottoms[:2]), "needs bottoms with a batch axis")
    require(
        bottoms[0][0] == bottoms[1][0],
        f"needs as many labels as predictions, got {bottoms[1][0]} and {bottoms[0][0]}",
    )
    return Outcome([()])


def _one_label_each(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    require(
        count(bottoms[1][1:]) == 1, f"needs one label for each image, got labels of {bottoms[1]}"
    )
    return _same_batch(param, bottoms)


def _same_count(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    require(
        count(bottoms[0]) == count(bottoms[1]),
        f"needs bottoms with the same number of values, got {bottoms[0]} and {bottoms[1]}",
    )
    return _same_batch(param, bottoms)


def _around(x: Shape, axis: int) -> tuple[int, int, int]:
    """Numbers of values before an axis, along it, and after it."""
    axis = canonical_axis(x, axis)
    return count(x[:axis]), x[axis], count(x[axis + 1 :])


def _check_labels(predictions: Shape, labels: Shape, axis: int) -> None:
    before, classes, after = _around(predictions, axis)
    require(
        before * after == count(labels),
        f"needs a label for each prediction: predictions {predictions} along axis {axis} take "
        f"{before * after} labels from 0 to {classes - 1}, got {count(labels)}",
    )


def _ignored(param: LayerParameter) -> int | None:
    loss = param.loss_param
    return loss.ignore_label if loss.HasField("ignore_label") else None


def _normalizer(param: LayerParameter, default: str, counted: Tensor) -> float:
    """The divisor of a sum of losses, at least 1.

    Parameters
    ----------
    param
        The layer's parameters.
    default
        The default normalization mode.
    counted
        (examples, labels of each), which of the labels count.
    """
    loss = param.loss_param
    mode = default
    if loss.HasField("normalization"):
        mode = LossParameter.NormalizationMode.Name(loss.normalization)
    elif loss.HasField("normalize"):
        mode = "VALID" if loss.normalize else "BATCH_SIZE"
    numbers = {
        "FULL": counted.numel(),
        "VALID": int(counted.sum()),
        "BATCH_SIZE": len(counted),
        "NONE": 1,
    }
    return max(1.0, float(numbers[mode]))


def _check_normalization(param: LayerParameter) -> None:
    mode = LossParameter.NormalizationMode.Name(param.loss_param.normalization)
    require(
        mode in ("FULL", "VALID", "BATCH_SIZE", "NONE"),
        f"normalization {mode} is a fork's; known: FULL, VALID, BATCH_SIZE, NONE",
    )


def _remembered(values: Tensor | None, like: Tensor) -> Tensor:
    """Values saved by a forward pass, in the prediction's shape; zeros if there was none."""
    if values is None or values.numel() != like.numel():
        return torch.zeros_like(like)
    return values.reshape(like.shape)


def _weight(dys: Sequence[Tensor]) -> Tensor:
    return dys[0].reshape(-1)[0]


# -- losses of classes -----------------------------------------------------------------------------


def _softmax_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    _check_normalization(param)
    _check_labels(bottoms[0], bottoms[1], param.softmax_param.axis)
    return Outcome([*_same_batch(param, bottoms).tops, bottoms[0]][: len(param.top)])


@operation("SoftmaxWithLoss")
class SoftmaxWithLoss(Loss):
    """The cross entropy of a softmax; its second top is the softmax."""

    rule = Rule(_softmax_shapes, (2, 2), (1, 2), in_place=False)
    _probabilities: Tensor | None = None

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        x, labels = bottoms
        axis = self.layer.param.softmax_param.axis
        self._probabilities = probabilities = x.softmax(axis)
        rows, numbers, counted = self._rows(probabilities, labels)
        chosen = rows.gather(1, numbers[:, None])[:, 0]
        losses = chosen.clamp(min=FLT_MIN).log().neg() * counted
        return (losses.sum() / self._divisor(counted), probabilities)[: len(self.layer.tops)]

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        x, labels = bottoms
        # In Caffe the second top shares their memory: a change to it changes the gradient.
        found = tops[1] if len(tops) > 1 else _remembered(self._probabilities, x)
        rows, numbers, counted = self._rows(found, labels)
        right = F.one_hot(numbers, rows.shape[1]).movedim(-1, 1)
        dx = (rows - right) * counted[:, None] * (_weight(dys) / self._divisor(counted))
        return dx.reshape(x.shape), None

    def _rows(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The values as (before, classes, after), labels as integers, and which of them count."""
        param = self.layer.param
        before, classes, after = _around(x.shape, param.softmax_param.axis)
        numbers = class_numbers(self.layer, labels, (before, after), classes, _ignored(param))
        return x.reshape(before, classes, after), *numbers

    def _divisor(self, counted: Tensor) -> float:
        return _normalizer(self.layer.param, "VALID", counted)


@operation("MultinomialLogisticLoss")
class MultinomialLogisticLoss(Loss):
    """Minus the logarithm of the label's probability."""

    rule = Rule(_one_label_each, (2, 2), (1, 1), in_place=False)

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        chosen, _ = self._chosen(*bottoms)
        return (chosen.log().neg().sum() / len(chosen),)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        x, labels = bottoms
        chosen, numbers = self._chosen(x, labels)
        dx = torch.zeros(len(x), x[0].numel(), device=x.device)
        dx.scatter_(1, numbers, -_weight(dys) / len(x) / chosen)
        return dx.reshape(x.shape), None

    def _chosen(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.reshape(len(x), -1)
        numbers, _ = class_numbers(self.layer, labels, (len(x), 1), rows.shape[1])
        return rows.gather(1, numbers).clamp(min=LOG_THRESHOLD), numbers


def _infogain_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    if _takes_scores(param):
        _check_normalization(param)
        axis = param.infogain_loss_param.axis
        _check_labels(bottoms[0], bottoms[1], axis)
        classes = _around(bottoms[0], axis)[1]
    else:
        _one_label_each(param, bottoms)
        classes = count(bottoms[0][1:])
    matrix = legacy(bottoms[2]) if len(bottoms) > 2 else (1, 1, classes, classes)
    require(
        count(matrix) == classes**2 and matrix[-2:] in ((classes, classes), (1, 1)),
        f"needs a matrix of {classes} x {classes}, a row per class, got {matrix}",
    )
    has_file = param.infogain_loss_param.HasField("source")
    require(len(bottoms) > 2 or has_file, "needs a matrix: a third bottom, or source, a file")
    return Outcome([*_same_batch(param, bottoms).tops, bottoms[0]][: len(param.top)])


def _takes_scores(param: LayerParameter) -> bool:
    """Whether this is the layer of Caffe since 2017, which includes a softmax."""
    said = param.infogain_loss_param.HasField("axis") or param.HasField("loss_param")
    return said or len(param.top) > 1


@operation("InfogainLoss")
class InfogainLoss(Loss):
    """The negative log probabilities, weighted by a (labels, classes) matrix.

    Up to 2017 the first bottom held probabilities; since then it holds logits, of which the layer
    takes the softmax. A prototxt only reveals the version if it uses features of the new one:
    `axis`, `loss_param`, or a second top. Otherwise it is assumed to be the old one.
    """

    rule = Rule(_infogain_shapes, (2, 3), (1, 2), in_place=False)
    labels = (1, 2)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._scores = _takes_scores(self.layer.param)
        self._given = None if len(self.layer.bottoms) > 2 else self._file()
        self._probabilities: Tensor | None = None

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        x, labels, *_ = bottoms
        axis = self.layer.param.infogain_loss_param.axis
        self._probabilities = probabilities = x.softmax(axis) if self._scores else x
        rows, numbers, counted = self._rows(probabilities, labels)
        gains = self._gains(bottoms, rows)[numbers].movedim(-1, 1) * counted[:, None]
        total = -(gains * rows.clamp(min=LOG_THRESHOLD).log()).sum()
        return (total / self._divisor(counted), probabilities)[: len(self.layer.tops)]

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        x, labels, *others = bottoms
        if not self._scores:
            found = x
        else:
            found = tops[1] if len(tops) > 1 else _remembered(self._probabilities, x)
        rows, numbers, counted = self._rows(found, labels)
        gains = self._gains(bottoms, rows)[numbers].movedim(-1, 1) * counted[:, None]
        if self._scores:
            dx = rows * gains.sum(1, keepdim=True) - gains
        else:
            dx = -gains / rows.clamp(min=LOG_THRESHOLD)
        dx = dx * (_weight(dys) / self._divisor(counted))
        return [dx.reshape(x.shape), None, *[None] * len(others)]

    def _rows(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        param = self.layer.param
        if self._scores:
            before, classes, after = _around(x.shape, param.infogain_loss_param.axis)
        else:
            before, classes, after = len(x), x[0].numel(), 1
        numbers = class_numbers(self.layer, labels, (before, after), classes, _ignored(param))
        return x.reshape(before, classes, after), *numbers

    def _gains(self, bottoms: Sequence[Tensor], rows: Tensor) -> Tensor:
        matrix = self._given if self._given is not None else bottoms[2]
        classes = rows.shape[1]
        if matrix.numel() != classes**2:
            raise EngineError(
                f"layer {self.layer.name!r} (InfogainLoss) needs a {classes} x {classes} matrix, "
                f"a row per class, but {self.layer.param.infogain_loss_param.source} has "
                f"{matrix.numel()} values"
            )
        return matrix.reshape(classes, classes).to(rows.device)

    def _divisor(self, counted: Tensor) -> float:
        if not self._scores:
            return len(counted)
        return _normalizer(self.layer.param, "VALID", counted)

    def _file(self) -> Tensor:
        path = Path(self.layer.param.infogain_loss_param.source)
        where = f"layer {self.layer.name!r} (InfogainLoss): cannot read its matrix, {path}"
        with boundary(ModelError, where):
            data = read_file(path, ARRAY_FILE)
            return torch.tensor(read_blob(memoryview(data), "the matrix"))


def _hinge_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    require(count(bottoms[1]) >= bottoms[0][0], f"needs a label for each image, got {bottoms[1]}")
    return _same_batch(param, bottoms)


@operation("HingeLoss")
class HingeLoss(Loss):
    """The hinge loss: the L1 or squared L2 norm of ``max(0, 1 - t x)``.

    t is 1 for the label and -1 for all others.
    """

    rule = Rule(_hinge_shapes, (2, 2), (1, 1), in_place=False)
    _margins: Tensor | None = None

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        x, labels = bottoms
        self._margins = margins = (1 + x.reshape(len(x), -1) * self._signs(x, labels)).relu()
        total = margins.sum() if self._is_l1() else (margins * margins).sum()
        return (total / len(x),)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        x, labels = bottoms
        dx = _remembered(self._margins, x).reshape(len(x), -1) * self._signs(x, labels)
        dx = dx.sign() if self._is_l1() else dx * 2
        dx = dx * (_weight(dys) / len(x))
        # Caffe keeps the margins in the bottom's diff, where the next backward pass finds this dx.
        self._margins = dx
        return dx.reshape(x.shape), None

    def _is_l1(self) -> bool:
        return bool(self.layer.param.hinge_loss_param.norm == HingeLossParameter.L1)

    def _signs(self, x: Tensor, labels: Tensor) -> Tensor:
        """-1 for the label's class, 1 for the others."""
        classes = x[0].numel()
        some = labels.reshape(-1)[: len(x)]
        numbers, _ = class_numbers(self.layer, some, (len(x),), classes)
        return 1 - 2 * F.one_hot(numbers, classes).to(x.dtype)


# -- losses of numbers -----------------------------------------------------------------------------


def _sigmoid_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    _check_normalization(param)
    return _same_count(param, bottoms)


@operation("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Loss):
    """The cross entropy of each value's sigmoid, with targets from 0 to 1."""

    rule = Rule(_sigmoid_shapes, (2, 2), (1, 1), in_place=False)
    _sigmoid: Tensor | None = None
    _divisor = 1.0

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        x, targets = bottoms
        counted, targets = self._counted(x, targets)
        self._sigmoid = x.sigmoid()
        rows = counted.reshape(len(x), -1)
        self._divisor = _normalizer(self.layer.param, "BATCH_SIZE", rows)
        losses = F.binary_cross_entropy_with_logits(x, targets, reduction="none") * counted
        return (losses.sum() / self._divisor,)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        x, targets = bottoms
        counted, targets = self._counted(x, targets)
        dx = (_remembered(self._sigmoid, x) - targets) * counted
        return dx * (_weight(dys) / self._divisor), None

    def _counted(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        targets = targets.reshape(x.shape)
        ignored = _ignored(self.layer.param)
        if ignored is None:
            return torch.ones_like(x), targets
        return (targets.long() != ignored).to(x.dtype), targets


@operation("EuclideanLoss")
class EuclideanLoss(Loss):
    """Half the squared distance of two blobs, per image."""

    rule = Rule(_same_count, (2, 2), (1, 1), in_place=False)
    labels = ()
    _difference: Tensor | None = None

    @classmethod
    def may_be_forced(cls, bottom: int) -> bool:
        """Both bottoms have a gradient."""
        return True

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        a, b = bottoms
        self._difference = difference = a - b.reshape(a.shape)
        return ((difference * difference).sum() / len(a) / 2,)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        a, b = bottoms
        da = _remembered(self._difference, a) * (_weight(dys) / len(a))
        return da, -da.reshape(b.shape)


def _smooth_l1_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    for other in bottoms[1:]:
        require(
            count(other) == count(bottoms[0]),
            f"needs bottoms with the same number of values, got {bottoms[0]} and {other}",
        )
    return _same_batch(param, bottoms)


@operation("SmoothL1Loss")
class SmoothL1Loss(Loss):
    """Quadratic near 0 and linear beyond (Girshick 2015, Fast R-CNN), per image.

    The third bottom holds weights of differences, the fourth weights of losses.
    """

    rule = Rule(_smooth_l1_shapes, (2, 4), (1, 1), in_place=False)
    labels = ()
    _difference: Tensor | None = None

    @classmethod
    def may_be_forced(cls, bottom: int) -> bool:
        """Predictions and targets have a gradient; the weights keep their diffs."""
        return True

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        a, b, *weights = bottoms
        difference = a - b.reshape(a.shape)
        if weights:
            difference = difference * weights[0].reshape(a.shape)
        self._difference = difference
        losses = F.smooth_l1_loss(
            difference, torch.zeros_like(difference), reduction="none", beta=1 / self._square()
        )
        if len(weights) > 1:
            losses = losses * weights[1].reshape(a.shape)
        return (losses.sum() / len(a),)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        a, b, *weights = bottoms
        da = (_remembered(self._difference, a) * self._square()).clamp(-1, 1)
        if len(weights) > 1:  # py-faster-rcnn's also differentiates the weights of differences
            for weight in weights:
                da = da * weight.reshape(a.shape)
        da = da * (_weight(dys) / len(a))
        return [da, -da.reshape(b.shape), *[None] * len(weights)]

    def _square(self) -> float:
        return self.layer.param.smooth_l1_loss_param.sigma**2


def _contrastive_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    a, b, similar = (legacy(shape) for shape in bottoms)
    require(
        a[1:] == b[1:] and a[2:] == (1, 1),
        f"needs two bottoms of vectors of one length, got {bottoms[0]} and {bottoms[1]}",
    )
    require(
        similar[1:] == (1, 1, 1) and similar[0] == a[0],
        f"needs one label for each pair, got labels of {bottoms[2]}",
    )
    return _same_batch(param, bottoms)


@operation("ContrastiveLoss")
class ContrastiveLoss(Loss):
    """Pulls similar pairs together, and others apart up to a margin (Hadsell et al. 2006)."""

    rule = Rule(_contrastive_shapes, (3, 3), (1, 1), in_place=False)
    labels = ()
    _difference: Tensor | None = None

    @classmethod
    def may_be_forced(cls, bottom: int) -> bool:
        """Both vectors have a gradient."""
        return bottom != 2

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        a, b, similar = bottoms
        self._difference = difference = (a - b.reshape(a.shape)).reshape(len(a), -1)
        squares = (difference * difference).sum(1)
        param = self.layer.param.contrastive_loss_param
        if param.legacy_version:
            apart = (param.margin - squares).relu()
        else:
            apart = (param.margin - squares.sqrt()).relu().square()
        losses = torch.where(self._similar(similar), squares, apart)
        return (losses.sum() / len(a) / 2,)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        a, b, similar = bottoms
        difference = _remembered(self._difference, a).reshape(len(a), -1)
        squares = (difference * difference).sum(1)
        param = self.layer.param.contrastive_loss_param
        if param.legacy_version:
            left = param.margin - squares
            away = -torch.ones_like(squares)
        else:
            distance = squares.sqrt()
            left = param.margin - distance
            away = -left / (distance + 1e-4)
        away = torch.where(left > 0, away, torch.zeros_like(away))
        factor = torch.where(self._similar(similar), torch.ones_like(away), away)
        da = difference * factor[:, None] * (_weight(dys) / len(a))
        return da.reshape(a.shape), -da.reshape(b.shape), None

    @staticmethod
    def _similar(labels: Tensor) -> Tensor:
        return labels.reshape(-1).long() != 0


# -- metrics ---------------------------------------------------------------------------------------


def _accuracy_shapes(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    axis = param.accuracy_param.axis
    _check_labels(bottoms[0], bottoms[1], axis)
    classes = _around(bottoms[0], axis)[1]
    require(
        param.accuracy_param.top_k <= classes,
        f"top_k is {param.accuracy_param.top_k}, but there are only {classes} classes",
    )
    return Outcome([(), (classes,)][: len(param.top)])


@operation("Accuracy")
class Accuracy(Operation):
    """The fraction of labels among the `top_k` highest classes; per class in the second top."""

    rule: ClassVar[Rule] = Rule(_accuracy_shapes, (2, 2), (1, 2), in_place=False)

    @classmethod
    def shapes(cls, param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
        """The shapes of a number, and of one per class."""
        return cls.rule(param, bottoms)

    def why_no_diff(self, bottom: int) -> str:
        """Because it has no gradient at all."""
        return (
            "Accuracy has no gradient, and Caffe ends its process here; remove the layer from the "
            "net, or start the backward pass below it, with start"
        )

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        x, labels = bottoms
        param = self.layer.param.accuracy_param
        before, classes, after = _around(x.shape, param.axis)
        ignored = param.ignore_label if param.HasField("ignore_label") else None
        numbers, counted = class_numbers(self.layer, labels, (before, after), classes, ignored)
        rows = x.reshape(before, classes, after)
        own = rows.gather(1, numbers[:, None])
        later = torch.arange(classes, device=x.device)[:, None] > numbers[:, None]
        better = (rows > own) | ((rows == own) & later)  # among equal scores, the last class wins
        right = (better.sum(1) < param.top_k) & counted
        tops = [right.sum() / counted.sum()]
        if len(self.layer.tops) > 1:
            found = torch.bincount(numbers[right], minlength=classes)
            there = torch.bincount(numbers[counted], minlength=classes)
            tops.append(found / there.clamp(min=1))
        return tuple(tops)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        return [None] * len(bottoms)
