"""Layer-wise relevance propagation: ``(score, x (1, C, H, W)) -> map (C, H, W)``.

Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
Relevance Propagation", https://doi.org/10.1371/journal.pone.0130140

The relevance of a unit is its score. Each layer distributes the relevance of its tops to its
bottoms according to their contributions, down to the image; see
`deepvis_caffe.attribution.relevance` for the rules, which are implemented for the torch engine's
layers only.
"""

from __future__ import annotations

from deepvis_caffe.attribution.score import Score, positive_number
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import Floats


def lrp_epsilon(score: Score, x: Floats, *, epsilon: float = 0.01) -> Floats:
    """Relevance by the epsilon rule in every layer with weights.

    ``R_j = sum over k of x_j w_jk / (z_k + epsilon * sign(z_k)) * R_k``, where z is the layer's
    output, including the bias. The shares of the bias and of epsilon are not passed on.

    Parameters
    ----------
    score, x
        The score to attribute, and the image.
    epsilon
        Above 0; the larger it is, the less relevance passes through outputs near 0.

    Raises
    ------
    EngineError
        The engine is not torch, or a layer has no rule.
    """
    return _relevance(score, x, "epsilon", epsilon)


def lrp_z_plus(score: Score, x: Floats, *, epsilon: float = 0.01) -> Floats:
    """Relevance by the z+ rule in convolutions, and by the epsilon rule elsewhere.

    ``R_j = sum over k of (x_j w_jk)+ / (sum over i of (x_i w_ik)+) * R_k``: only positive
    contributions count, without bias, so that a convolution conserves relevance, except where
    nothing contributes positively.

    Parameters
    ----------
    score, x, epsilon
        As for `lrp_epsilon`.

    Raises
    ------
    EngineError
        The engine is not torch, or a layer has no rule.
    """
    return _relevance(score, x, "z_plus", epsilon)


def why_no_relevance(net: Net) -> str:
    """Why a net's engine cannot propagate relevance; empty if it can."""
    if net.engine == "torch":
        return ""
    return (
        f"layer-wise relevance propagation needs the torch engine, but this net runs on "
        f"{net.engine}: load it with engine='torch' (--engine torch)"
    )


def _relevance(score: Score, x: Floats, rule: str, epsilon: float) -> Floats:
    epsilon = positive_number("epsilon", epsilon)
    if why := why_no_relevance(score.net):
        raise EngineError(why)
    from deepvis_caffe.attribution.relevance import relevance

    return relevance(score, x, rule, epsilon)
