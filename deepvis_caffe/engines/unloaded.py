"""A net that only describes itself; no engine is imported until it has to run."""

from __future__ import annotations

from threading import Lock
from typing import Any

from deepvis_caffe.engines.base import EngineChoice, Net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.preprocess import Preprocessor


class UnloadedNet(Net):
    """A description of a net on the torch engine, without PyTorch.

    :meth:`loaded` returns the same net, ready to run.

    Parameters
    ----------
    model, preprocessor
        As for any net.
    choice
        The engine and device that it would run on.
    opaque
        The layers that would not run.
    precision
        The requested precision.
    """

    engine = "torch"

    def __init__(
        self,
        model: Model,
        preprocessor: Preprocessor | None,
        choice: EngineChoice,
        opaque: OpaqueLayers,
        precision: str = "float32",
    ) -> None:
        super().__init__(model, preprocessor)
        self._choice, self._opaque, self._asked = choice, opaque, precision
        self._loading = Lock()
        self._loaded: Net | None = None

    @property
    def device(self) -> str:
        """Where it would compute."""
        return self._choice.device

    @property
    def opaque(self) -> OpaqueLayers:
        """The layers that would not run; see `Net.opaque`."""
        return self._opaque

    def loaded(self) -> Net:
        """The same net on its engine; the first call imports PyTorch. Thread-safe."""
        with self._loading:
            if self._loaded is None:
                from deepvis_caffe.engines.torch import TorchNet

                net = TorchNet(self.model, self._preprocessor, self._choice.device, self._asked)
                net.reason, net.labels = self.reason, self.labels
                self._loaded = net
            return self._loaded

    def _refuse(self, *args: Any) -> Any:
        raise EngineError(
            "this net was loaded with run=False and cannot run; call net.loaded() for one that can"
        )

    _forward: Any = _refuse
    _read: Any = _refuse
    _reduce: Any = _refuse
    _backward: Any = _refuse
    _evaluate: Any = _refuse
    _image_diff: Any = _refuse
