"""The command line in this process, and the pictures that it writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from typer.testing import CliRunner, Result

from deepvis_caffe.cli.main import app


def deepvis(*arguments: str, code: int = 0) -> Result:
    """Run ``deepvis`` with these arguments; it must end with that exit code."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result


def read_rgb(path: str | Path) -> np.ndarray:
    """(H, W, 3), RGB, uint8."""
    return cv2.imread(str(path))[..., ::-1]
