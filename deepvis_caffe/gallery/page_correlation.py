"""A layer's correlation as a part of the page: ``Correlation -> text``, values alone.

The page paints the matrix itself and so knows the r of each pair that is pointed at; a picture that
a page from disk shows it may not read. A half of the matrix is enough, and a byte a pair
(`deepvis_caffe.gallery.correlation_colours`): a layer of a thousand units takes 0.7 MB, which is
loaded when it is looked at.
"""

from __future__ import annotations

import base64

import numpy as np

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.gallery.correlation_colours import NONE, STEPS, ZERO, colours, levels_of
from deepvis_caffe.gallery.page_data import dumps


def correlation_text(found: Correlation, number: int) -> str:
    """The text of the part, which calls `deepvisPart` as the others do.

    Parameters
    ----------
    number
        The layer's place in the index.
    """
    levels = levels_of(found.values[np.tril_indices(len(found.values))])  # row by row
    content = dumps(
        {
            "images": found.images,
            "order": list(found.order),
            "levels": base64.b64encode(levels.tobytes()).decode(),
            "none": NONE,
            "zero": ZERO,
            "steps": STEPS,
            "colours": colours().tolist(),
        }
    )
    return f'deepvisPart("{number}.correlation", {content});\n'
