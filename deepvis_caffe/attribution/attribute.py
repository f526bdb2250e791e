"""`attribute`: ``(net, image, layer, unit, method) -> Attribution``, one call for all methods."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.attribution.grad_cam import grad_cam, guided_grad_cam
from deepvis_caffe.attribution.gradients import deconv, gradient, gradient_x_input, guided
from deepvis_caffe.attribution.integrated_gradients import integrated_gradients
from deepvis_caffe.attribution.lrp import lrp_epsilon, lrp_z_plus, why_no_relevance
from deepvis_caffe.attribution.occlusion import occlusion
from deepvis_caffe.attribution.result import Attribution
from deepvis_caffe.attribution.score import Score
from deepvis_caffe.attribution.smooth_grad import smooth_grad
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.picture_input import as_input
from deepvis_caffe.optimizer.targets import Position, plain_position


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes
    ----------
    run
        ``(score, x (1, C, H, W), **parameters) -> map``, (C, H, W) or (H, W).
    title
        Its name in prose.
    style
        The default style of its map; see `deepvis_caffe.attribution.pictures`.
    by_gradient
        Whether it uses backward passes.
    everywhere
        Whether it works for units of any differentiable layer, on either engine.
    many_passes
        Whether it takes tens of passes through the net, in batches.
    why_not
        ``net -> text``: why a net's engine cannot run it; empty if it can.
    """

    run: Callable[..., Floats]
    title: str
    style: str
    by_gradient: bool = True
    everywhere: bool = True
    many_passes: bool = False
    why_not: Callable[[Net], str] = lambda net: ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The names of its parameters, and their defaults."""
        listed = inspect.signature(self.run).parameters.values()
        return {one.name: one.default for one in listed if one.kind is one.KEYWORD_ONLY}


METHODS: dict[str, Method] = {
    "gradient": Method(gradient, "gradient", "norm"),
    "gradient_x_input": Method(gradient_x_input, "gradient x input", "signed"),
    "deconv": Method(deconv, "deconv", "raw"),
    "guided": Method(guided, "guided backpropagation", "raw"),
    "integrated_gradients": Method(
        integrated_gradients, "integrated gradients", "signed", many_passes=True
    ),
    "smooth_grad": Method(smooth_grad, "SmoothGrad", "norm", many_passes=True),
    "grad_cam": Method(grad_cam, "Grad-CAM", "heat", everywhere=False),
    "guided_grad_cam": Method(guided_grad_cam, "guided Grad-CAM", "raw", everywhere=False),
    "occlusion": Method(occlusion, "occlusion", "signed", by_gradient=False, many_passes=True),
    "lrp_epsilon": Method(
        lrp_epsilon, "LRP-epsilon", "signed", everywhere=False, why_not=why_no_relevance
    ),
    "lrp_z_plus": Method(
        lrp_z_plus, "LRP-z+", "signed", everywhere=False, why_not=why_no_relevance
    ),
}


def attribute(
    net: Net,
    image: NDArray[Any] | str | os.PathLike[str],
    layer: str,
    unit: int | str,
    method: str = "gradient",
    position: Position = "all",
    **parameters: Any,
) -> Attribution:
    """Attribute a unit's response to the parts of an image.

    Parameters
    ----------
    net
        From `load_net`.
    image
        A file; a picture, as the net's preprocessor takes it; or an already preprocessed float32
        array, (C, H, W) or (1, C, H, W).
    layer, unit
        A layer's or blob's name, and one of its channels or a label, see `Net.unit`.
    method
        One of `METHODS`:

        =========================  ================================================================
        ``gradient``               `deepvis_caffe.attribution.gradients.gradient`
        ``gradient_x_input``       `deepvis_caffe.attribution.gradients.gradient_x_input`
        ``deconv``                 `deepvis_caffe.attribution.gradients.deconv`
        ``guided``                 `deepvis_caffe.attribution.gradients.guided`
        ``integrated_gradients``   `deepvis_caffe.attribution.integrated_gradients`
        ``smooth_grad``            `deepvis_caffe.attribution.smooth_grad`
        ``grad_cam``               `deepvis_caffe.attribution.grad_cam.grad_cam`
        ``guided_grad_cam``        `deepvis_caffe.attribution.grad_cam.guided_grad_cam`
        ``occlusion``              `deepvis_caffe.attribution.occlusion`
        ``lrp_epsilon``            `deepvis_caffe.attribution.lrp.lrp_epsilon`
        ``lrp_z_plus``             `deepvis_caffe.attribution.lrp.lrp_z_plus`
        =========================  ================================================================
    position
        ``"all"`` for the unit's whole map, each value weighted by the unit's own activation there;
        ``"center"``, or one index per axis, for a single value. For units with a single value, such
        as classes, it is that value. See `deepvis_caffe.attribution.score`.
    **parameters
        The method's parameters; see its function.

    Raises
    ------
    UnknownNameError
        There is no such method, parameter, layer or blob.
    SettingsError
        The layer has no such unit or position, or a parameter has no such value.
    EngineError, ModelError
        The layer cannot run or has no units; no gradient reaches the image; or LRP has no rule for
        a layer, or does not support this engine.
    ImageError
        The image cannot be read, or does not fit this net.
    """
    if method not in METHODS:
        raise UnknownNameError("attribution method", method, METHODS)
    chosen = METHODS[method]
    for name in parameters:
        if name not in chosen.parameters:
            raise UnknownNameError("parameter", name, chosen.parameters, f"method {method!r}")
    x = as_input(net.preprocessor, image)[np.newaxis]
    if chosen.by_gradient:
        net.check_gradient(layer)
    score = Score.of(net, x, layer, unit, position)
    return Attribution(
        map=chosen.run(score, x, **parameters),
        activation=score.activation,
        score=float(score(x)[0]),
        layer=layer,
        unit=score.unit,
        position=plain_position(position),
        method=method,
        parameters={**chosen.parameters, **parameters},
        style=chosen.style,
        image=x[0],
        preprocessor=net.preprocessor.for_shape(*x.shape[2:]),
        label=net.label(layer, score.unit),
    )
