"""Lets the Python of a virtual environment find a clone of this repository from any folder.

The clone and the package have one name. In the folder that holds the clone, Python takes the
clone's folder for a namespace package, which has no ``load_net`` and nothing else, before it asks
the finder of pip's editable installs. With the clone on ``sys.path`` the package comes first. So
says PEP 420: along the path, a package wins over folders of its name.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

NAME = "deepvis_caffe_clone.pth"

if __name__ == "__main__":
    clone = Path(__file__).resolve().parents[1]
    Path(sysconfig.get_path("purelib"), NAME).write_text(f"{clone}\n")
