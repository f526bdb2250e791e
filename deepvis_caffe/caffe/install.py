"""`install` makes ``import caffe`` mean this package."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache
from types import ModuleType

from deepvis_caffe.errors import EngineError

OURS = "deepvis_caffe.caffe"


def install() -> ModuleType:
    """Let this package replace pycaffe for the rest of the process.

    From then on ``import caffe``, ``from caffe.proto import caffe_pb2`` and all other imports of
    pycaffe's modules give ours, even if a Caffe is installed or on ``sys.path``. Calling it again
    has no effect.

    Returns
    -------
    module
        The module that ``import caffe`` now gives.

    Raises
    ------
    EngineError
        Another module `caffe` has already been imported.
    """
    package = importlib.import_module(OURS)
    taken = sys.modules.get("caffe", package)
    if taken is not package:
        where = getattr(taken, "__file__", None) or list(getattr(taken, "__path__", []))
        raise EngineError(
            "cannot install deepvis_caffe.caffe as `caffe`: this process has already imported the "
            f"one at {where}; call install() before anything imports caffe"
        )
    sys.modules.update(modules())
    return package


@cache
def modules() -> dict[str, ModuleType]:
    """Our replacement for each of pycaffe's modules, by its name."""
    package = importlib.import_module(OURS)
    found = [one.name for one in pkgutil.walk_packages(package.__path__, f"{OURS}.")]
    ours = {name.removeprefix("deepvis_caffe."): importlib.import_module(name) for name in found}
    return {"caffe": package, **ours}
