"""Layers written in Python, which a net runs directly on its blobs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any

from deepvis_caffe.caffe.blob import Blob, BlobVec
from deepvis_caffe.caffe.install import OURS, modules
from deepvis_caffe.caffe.layer import total_loss
from deepvis_caffe.caffe.memory import clock
from deepvis_caffe.caffe.wiring import Wire
from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import TRAIN, LayerParameter, Phase


class Layer:
    """The base class of Python layers: ``caffe.Layer``.

    A subclass has the methods ``setup(bottom, top)``, which is called once, ``reshape(bottom,
    top)``, which sets the tops' shapes before every forward pass, ``forward(bottom, top)`` and
    ``backward(top, propagate_down, bottom)``. `bottom` and `top` are lists of `Blob`, and
    `propagate_down` tells for each bottom whether its diff is wanted.

    Attributes
    ----------
    param_str
        Its parameter string in the prototxt; ``param_str_`` in Caffe's first versions.
    phase
        ``caffe.TRAIN`` or ``caffe.TEST``.
    blobs
        The learned blobs; `setup` adds them with ``self.blobs.add_blob(2, 3)``.
    type
        As in the prototxt.
    """

    type = "Python"
    param_str = param_str_ = ""
    phase = 0
    blobs: BlobVec

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        """Set attributes here, as a subclass's ``__init__`` may not call this one's."""
        layer = super().__new__(cls)
        layer.blobs = BlobVec()
        return layer

    def __init__(self, param: LayerParameter | None = None) -> None:
        super().__init__()

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Read `param_str`, and check the numbers of bottoms and tops."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Set the tops' shapes from the bottoms'."""


def make_layer(param: LayerParameter) -> Layer:
    """The object of a Python layer, before its `setup`.

    Raises
    ------
    ModelError
        There is no such module or class, or it is not a subclass of `Layer`.
    """
    code = param.python_param
    try:
        module = import_layers(code.module)
    except ModuleNotFoundError as error:
        if error.name != code.module.partition(".")[0]:
            raise
        raise ModelError(
            f"there is no module {code.module!r} on sys.path for its class {code.layer!r}; add the "
            "module's folder to the environment variable PYTHONPATH"
        ) from error
    made = getattr(module, code.layer, None)
    if made is None:
        raise ModelError(f"module {code.module!r} ({module.__file__}) has no class {code.layer!r}")
    if not (isinstance(made, type) and issubclass(made, Layer)):
        raise ModelError(
            f"{code.layer!r} of module {code.module!r} ({module.__file__}) is not a subclass of "
            "caffe.Layer, or of another Caffe's; import deepvis_caffe.caffe and call its install() "
            "before anything else imports caffe"
        )
    if not callable(getattr(made, "forward", None)):
        raise ModelError(
            f"{code.layer!r} of module {code.module!r} ({module.__file__}) has no method "
            "forward(self, bottom, top)"
        )
    return made(param)


class BlobLayer:
    """A layer of a net that accesses blobs directly; the counterpart of `NetLayer`.

    Parameters
    ----------
    param
        The layer's parameters.
    layer
        The object that runs it.
    phase
        ``TRAIN`` or ``TEST``.
    bottoms, tops
        Its blobs.

    Attributes
    ----------
    shown
        The object that a script gets from ``net.layers``.
    borrowed
        Indices of the learned blobs that belong to another layer.
    """

    fault = ""

    def __init__(
        self,
        param: LayerParameter,
        layer: Layer,
        phase: Phase,
        bottoms: list[Blob],
        tops: list[Blob],
    ) -> None:
        self.name, self.type, self.param = param.name, param.type, param
        self.bottoms, self.tops, self.shown = bottoms, tops, layer
        self.borrowed: set[int] = set()
        self.wire: Wire
        layer.param_str = layer.param_str_ = param.python_param.param_str
        layer.phase = 0 if phase == TRAIN else 1
        with self._caffe():
            layer.setup(bottoms, tops)
            layer.reshape(bottoms, tops)
        clock.tick()
        for top, weight in zip(tops, param.loss_weight, strict=False):
            if weight:
                top.diff[...] = weight

    @property
    def blobs(self) -> BlobVec:
        """The learned blobs."""
        return self.shown.blobs

    def share(self, index: int, owner: Blob) -> None:
        """Use another blob's values and diffs as a parameter."""
        self.blobs[index].share_data(owner)
        self.blobs[index].share_diff(owner)

    def reshape(self) -> None:
        """Let the layer set its tops' shapes."""
        with self._caffe():
            self.shown.reshape(self.bottoms, self.tops)
        clock.tick()

    def forward(self) -> None:
        """Let the layer compute its tops."""
        with self._caffe():
            self.shown.reshape(self.bottoms, self.tops)
            self.shown.forward(self.bottoms, self.tops)  # type: ignore[attr-defined]
        clock.tick()

    def backward(self, mode: str) -> None:
        """Let the layer compute the diffs of its bottoms, and add to those of its parameters."""
        with self._caffe():
            self.shown.backward(  # type: ignore[attr-defined]
                self.tops, list(self.wire.bottoms_need), self.bottoms
            )
        clock.tick()

    def _caffe(self) -> AbstractContextManager[None]:
        """Let ``import caffe`` mean this package while a script's own layer runs."""
        return stand_in() if self.type == "Python" else nullcontext()

    def loss(self) -> float:
        """Its tops' contribution to the net's loss."""
        return total_loss(self.tops, self.wire)


# -- modules that import caffe ---------------------------------------------------------------------

_imported: dict[str, ModuleType] = {}


def import_layers(name: str) -> ModuleType:
    """Import a module of Python layers, with ``import caffe`` meaning this package.

    If the process also has another Caffe, the module is imported separately for each.
    """
    if _is_installed() or name == "__main__":
        return importlib.import_module(name)
    if name not in _imported:
        theirs = sys.modules.pop(name, None)
        try:
            with stand_in():
                _imported[name] = importlib.import_module(name)
        finally:
            sys.modules.pop(name, None)
            if theirs is not None:
                sys.modules[name] = theirs
    return _imported[name]


@contextmanager
def stand_in() -> Iterator[None]:
    """A context in which ``import caffe`` means this package, in the whole process."""
    if _is_installed():
        yield
        return
    before = {name: one for name, one in sys.modules.items() if _is_caffe(name)}
    ours = modules()
    for name in before:
        del sys.modules[name]
    sys.modules.update(ours)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_caffe(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_installed() -> bool:
    return sys.modules.get("caffe") is importlib.import_module(OURS)


def _is_caffe(module: str) -> bool:
    return module == "caffe" or module.startswith("caffe.")
