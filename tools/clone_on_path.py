"""Let the Python of a virtual environment find a clone of this repository from any folder.

The clone and the package have the same name. In the clone's parent folder, Python takes the clone
for an empty namespace package before it asks the finder of pip's editable installs. With the clone
on ``sys.path``, the package takes precedence: by PEP 420, a package anywhere on the path wins over
folders of its name.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

NAME = "deepvis_caffe_clone.pth"

if __name__ == "__main__":
    clone = Path(__file__).resolve().parents[1]
    Path(sysconfig.get_path("purelib"), NAME).write_text(f"{clone}\n")
