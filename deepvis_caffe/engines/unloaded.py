"""A net that tells about itself and does not run: no engine is imported for it."""

from __future__ import annotations

from typing import Any

from deepvis_caffe.engines.base import EngineChoice, Net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.preprocess import Preprocessor


class UnloadedNet(Net):
    """What can be known of a net on the torch engine.

    Parameters
    ----------
    model, preprocessor
        As of any net.
    choice
        The engine and device that it would run on.
    opaque
        The layers that would not run.
    """

    engine = "torch"

    def __init__(
        self,
        model: Model,
        preprocessor: Preprocessor | None,
        choice: EngineChoice,
        opaque: OpaqueLayers,
    ) -> None:
        super().__init__(model, preprocessor)
        self._choice, self._opaque = choice, opaque

    @property
    def device(self) -> str:
        """Where it would compute."""
        return self._choice.device

    @property
    def opaque(self) -> OpaqueLayers:
        """The layers that would not run; see `Net.opaque`."""
        return self._opaque

    def _refuse(self, *args: Any) -> Any:
        raise EngineError("this net was loaded with run=False, only to tell about itself")

    _forward: Any = _refuse
    _read: Any = _refuse
    _reduce: Any = _refuse
    _backward: Any = _refuse
    _evaluate: Any = _refuse
    _image_diff: Any = _refuse
