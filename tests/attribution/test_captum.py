"""The methods that captum also has, against its maps of `net.module`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import (
    LRP,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from helpers.attributed import TEXT, UpTo
from helpers.engine_nets import load_text, noise, relative_error, weights_for
from torch import Tensor, nn

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.resources import resource

pytestmark = pytest.mark.usefixtures("plain_arithmetic")

# Prototxt; the layer of classes; the layer of Grad-CAM; the largest window, and its stride.
CASES = {
    "small": (None, "ip", "relu2", (5, 4), (3, 2)),
    "squeezenet": ("squeezenet_v1.1", "pool10", "relu_conv10", (90, 70), (60, 50)),
    "caffenet": ("bvlc_reference_caffenet", "fc8", "relu5", (90, 70), (60, 50)),
}
UNIT = 3


@cache
def _shipped(name: str) -> Net:
    """A net with random weights: CaffeNet's take seconds to draw."""
    path = resource("prototxt", f"{name}.prototxt")
    return dv.load_net(path, weights_for(path), engine="torch", device="cpu")


class Case:
    """A net, an image, and the net as captum takes it."""

    def __init__(self, folder: Path, name: str) -> None:
        prototxt, self.layer, self.cam_layer, self.window, self.stride = CASES[name]
        self.net: Net = load_text("torch", folder, TEXT) if prototxt is None else _shipped(prototxt)
        self.x = 50 * noise(*self.net.inputs["data"])[:1]
        self.image = torch.tensor(self.x)
        self.model = UpTo(self.net, self.layer)
        self.cam_module = self.net.module.layer(self.cam_layer)

    def assert_equals(self, theirs: Tensor, method: str, **parameters: object) -> None:
        """Our map is that one, to 1e-4 of its largest value."""
        found = dv.attribute(self.net, self.x, self.layer, UNIT, method, **parameters)
        expected = theirs.detach().numpy()[0]
        expected = expected[0] if found.map.ndim == 2 else expected
        assert relative_error(found.map, expected) < 1e-4
        score = self.model(self.image)[0, UNIT].item()
        assert found.activation == pytest.approx(score, rel=1e-4)


@pytest.fixture(
    params=["small", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n != "small")]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(tmp_path, request.param)


def test_gradient(case: Case) -> None:
    leaf = case.image.clone().requires_grad_()
    case.assert_equals(Saliency(case.model).attribute(leaf, UNIT, abs=False), "gradient")


def test_gradient_x_input(case: Case) -> None:
    leaf = case.image.clone().requires_grad_()
    case.assert_equals(InputXGradient(case.model).attribute(leaf, UNIT), "gradient_x_input")


@pytest.mark.parametrize("baseline", [0.0, -20.0])
def test_integrated_gradients(case: Case, baseline: float) -> None:
    theirs = IntegratedGradients(case.model).attribute(
        case.image, baseline, UNIT, n_steps=12, internal_batch_size=4
    )
    case.assert_equals(theirs, "integrated_gradients", steps=12, baseline=baseline, batch_size=4)


def test_grad_cam(case: Case) -> None:
    cam = LayerGradCam(case.model, case.cam_module)
    theirs = cam.attribute(case.image, UNIT, relu_attributions=True)
    theirs = LayerAttribution.interpolate(theirs, case.x.shape[2:], "bilinear")
    case.assert_equals(theirs, "grad_cam")  # that layer is the default
    case.assert_equals(theirs, "grad_cam", cam_layer=case.cam_layer)


def test_guided_grad_cam(case: Case) -> None:
    both = GuidedGradCam(case.model, case.cam_module)
    theirs = both.attribute(case.image, UNIT, interpolate_mode="bilinear")
    case.assert_equals(theirs, "guided_grad_cam")


def test_occlusion(case: Case) -> None:
    channels = case.x.shape[1]
    theirs = Occlusion(case.model).attribute(
        case.image,
        (channels, *case.window),
        (channels, *case.stride),
        baselines=7.0,
        target=UNIT,
        perturbations_per_eval=4,
    )
    case.assert_equals(
        theirs, "occlusion", window=case.window, stride=case.stride, baseline=7.0, batch_size=5
    )


class Twin(nn.Module):
    """The small net in PyTorch's own layers: those that captum's LRP has rules for."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.pool1, self.conv2, self.relu2 = nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
        self.ip = nn.Linear(8 * 4 * 6, 5)
        for name in ("conv1", "conv2", "ip"):
            getattr(self, name).load_state_dict(net.module.layer(name).state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        return self.ip(self.relu2(self.conv2(x)).flatten(1))


def test_lrp_epsilon(tmp_path: Path) -> None:
    case = Case(tmp_path, "small")
    twin = Twin(case.net).eval()
    for one in (twin.conv1, twin.conv2, twin.ip):
        one.rule = EpsilonRule(0.5)
    for one in (twin.relu1, twin.relu2, twin.pool1):
        one.rule = EpsilonRule(1e-9)
    case.assert_equals(LRP(twin).attribute(case.image, UNIT), "lrp_epsilon", epsilon=0.5)


def test_lrp_z_plus(tmp_path: Path) -> None:
    """Captum's rule takes no negative input, so the image has none."""
    case = Case(tmp_path, "small")
    case.x = np.abs(case.x)
    case.image = torch.tensor(case.x)
    twin = Twin(case.net).eval()
    for one in (twin.conv1, twin.conv2):
        one.rule = Alpha1_Beta0_Rule(set_bias_to_zero=True)
    twin.ip.rule = EpsilonRule(0.5)
    case.assert_equals(LRP(twin).attribute(case.image, UNIT), "lrp_z_plus", epsilon=0.5)
