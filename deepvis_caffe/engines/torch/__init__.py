"""The embedded engine: a Caffe model on PyTorch, CPU or CUDA, without Caffe."""

from deepvis_caffe.errors import EngineError
from deepvis_caffe.resources import pip_install

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise EngineError(
        "the torch engine needs PyTorch, which cannot be imported here "
        f"({error}); install it with: {pip_install('torch')}"
    ) from error

from deepvis_caffe.engines.torch.net import TorchNet

__all__ = ["TorchNet"]
