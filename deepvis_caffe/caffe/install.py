"""`install`: after it, ``import caffe`` means this package."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache
from types import ModuleType

from deepvis_caffe.errors import EngineError

OURS = "deepvis_caffe.caffe"


def install() -> ModuleType:
    """Put this package in the place of pycaffe for the rest of the process.

    From then on ``import caffe``, ``from caffe.proto import caffe_pb2`` and every other import of
    pycaffe's modules gives ours, even if a Caffe is installed or lies on ``sys.path``. Calling it
    again changes nothing.

    Returns
    -------
    module
        What ``import caffe`` gives now.

    Raises
    ------
    EngineError
        Another module `caffe` has been imported before.
    """
    package = importlib.import_module(OURS)
    taken = sys.modules.get("caffe", package)
    if taken is not package:
        where = getattr(taken, "__file__", None) or list(getattr(taken, "__path__", []))
        raise EngineError(
            f"cannot install ours as `caffe`: this process has imported the one at {where}; call "
            "install() before anything imports caffe"
        )
    sys.modules.update(modules())
    return package


@cache
def modules() -> dict[str, ModuleType]:
    """Ours for each of pycaffe's modules, by the name that scripts know it by."""
    package = importlib.import_module(OURS)
    found = [one.name for one in pkgutil.walk_packages(package.__path__, f"{OURS}.")]
    ours = {name.removeprefix("deepvis_caffe."): importlib.import_module(name) for name in found}
    return {"caffe": package, **ours}
