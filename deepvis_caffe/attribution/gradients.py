"""Methods with a single backward pass: ``(score, x (1, C, H, W)) -> map (C, H, W)``."""

from __future__ import annotations

from deepvis_caffe.attribution.score import Score
from deepvis_caffe.image import Floats


def gradient(score: Score, x: Floats) -> Floats:
    """The gradient of the score F: ``dF / dx``.

    Simonyan et al. 2013, "Deep Inside Convolutional Networks", https://arxiv.org/abs/1312.6034
    """
    return score.gradients(x)[0]


def gradient_x_input(score: Score, x: Floats) -> Floats:
    """The gradient times the image: ``x * dF / dx``.

    Shrikumar et al. 2016, "Not Just a Black Box", https://arxiv.org/abs/1605.01713
    """
    return x[0] * score.gradients(x)[0]


def deconv(score: Score, x: Floats) -> Floats:
    """The deconvnet: at each ReLU ``dx = max(dy, 0)``.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks",
    https://arxiv.org/abs/1311.2901
    """
    return score.gradients(x, "deconv")[0]


def guided(score: Score, x: Floats) -> Floats:
    """Guided backpropagation: at each ReLU ``dx = max(dy, 0) * (x > 0)``.

    Springenberg et al. 2015, "Striving for Simplicity", https://arxiv.org/abs/1412.6806
    """
    return score.gradients(x, "guided")[0]
