"""Check an installed pycaffe against numpy: a small net's forward and backward pass.

Runs in its own process, as ``python -c <this file's text> VERSION cpu|gpu``: a broken Caffe aborts
its process, and this folder must not be on the path that ``import caffe`` searches. VERSION is the
one that must be installed. Exits with a message if something is wrong.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe
import numpy as np

Array = Any  # numpy.ndarray of float32

# A convolution, a ReLU that works in place, a layer written in Python and an inner product.
NET = """
name: "smoke"
force_backward: true
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "double" type: "Python" bottom: "conv" top: "double"
  python_param { module: "__main__" layer: "Double" } }
layer { name: "ip" type: "InnerProduct" bottom: "double" top: "ip"
  inner_product_param { num_output: 5 } }
"""


class Double(caffe.Layer):  # type: ignore[misc]
    """Twice its input; shows that layers written in Python work."""

    def setup(self, bottom: Any, top: Any) -> None:
        """Nothing to set up."""

    def reshape(self, bottom: Any, top: Any) -> None:
        """Give the output its input's shape."""
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom: Any, top: Any) -> None:
        """Compute y = 2 x."""
        top[0].data[...] = 2 * bottom[0].data

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Compute dx = 2 dy."""
        bottom[0].diff[...] = 2 * top[0].diff


def numpy_passes(
    x: Array, dy: Array, conv: Array, conv_bias: Array, weights: Array, bias: Array
) -> tuple[Array, Array]:
    """Compute the expected results.

    Parameters
    ----------
    x : ndarray, shape (2, 3, 6, 5)
        The input.
    dy : ndarray, shape (2, 5)
        The output's gradient.
    conv, conv_bias, weights, bias : ndarray
        The two layers' parameters, shapes (4, 3, 3, 3), (4,), (5, 48), (5,).

    Returns
    -------
    tuple of ndarray
        The output, and the input's gradient.
    """
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    z = np.einsum("nchwij,ocij->nohw", windows, conv) + conv_bias[:, None, None]
    hidden = 2 * np.maximum(z, 0)
    y = hidden.reshape(len(x), -1) @ weights.T + bias
    dz = 2 * (dy @ weights).reshape(z.shape) * (z > 0)
    dx = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            rows, columns = slice(i, i + z.shape[2]), slice(j, j + z.shape[3])
            dx[:, :, rows, columns] += np.einsum("nohw,oc->nchw", dz, conv[:, :, i, j])
    return y, dx


def check_net(path: str) -> None:
    """Run the net and compare it with numpy.

    Parameters
    ----------
    path : str
        The net's prototxt.
    """
    random = np.random.default_rng(0)
    net = caffe.Net(path, caffe.TEST)
    parameters = [blob.data for name in ("conv", "ip") for blob in net.params[name]]
    for parameter in parameters:
        parameter[...] = random.normal(size=parameter.shape)
    x = random.normal(size=(2, 3, 6, 5)).astype(np.float32)
    dy = random.normal(size=(2, 5)).astype(np.float32)
    y, dx = numpy_passes(x, dy, *parameters)
    got_y = net.forward(data=x)["ip"]
    got_dx = net.backward(ip=dy)["data"]
    np.testing.assert_allclose(got_y, y, rtol=1e-3, atol=1e-3, err_msg="forward pass")
    np.testing.assert_allclose(got_dx, dx, rtol=1e-3, atol=1e-3, err_msg="backward pass")


def main() -> None:
    """Check which Caffe is imported, then its results on the CPU and, on request, the GPU."""
    wanted, device = sys.argv[1:]
    found = importlib.metadata.version("caffe")
    installed = Path(str(importlib.metadata.distribution("caffe").locate_file("caffe"))).resolve()
    imported = Path(caffe.__file__).resolve().parent
    if imported != installed or found != wanted:
        sys.exit(
            f"`import caffe` gives {imported} (installed: version {found} in {installed}), not "
            f"version {wanted}. Is another Caffe named in PYTHONPATH?"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(NET, encoding="utf-8")
        caffe.set_mode_cpu()
        check_net(str(path))
        if device == "gpu":
            caffe.set_device(0)
            caffe.set_mode_gpu()
            check_net(str(path))


main()
