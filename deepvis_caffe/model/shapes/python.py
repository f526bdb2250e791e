"""Shape rule of a Python layer from a module that the user allows: asks the layer itself."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.model.python_layers import ALLOWED, caller
from deepvis_caffe.model.schema_pb2 import LayerParameter
from deepvis_caffe.model.shapes.registry import Outcome, Shape, rule


@rule(ALLOWED, bottoms=(1, None), tops=(0, None))
def _python(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    return Outcome(*caller(param).shapes(param, bottoms))
