"""The package is found from the clone's parent folder, although both have the same name."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WHERE = "from importlib.util import find_spec as f; s = f('deepvis_caffe'); print(s and s.origin)"


@pytest.mark.process
def test_a_clone_in_the_current_folder_does_not_hide_the_package(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    (tmp_path / "deepvis_caffe" / "deepvis_caffe").mkdir(parents=True)  # as a clone is laid out
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            [python, *words], cwd=folder, env=clean, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert run("-c", WHERE) == "None", "Python no longer takes the folder for a package"
    run("-m", "tools.clone_on_path", folder=ROOT)
    assert run("-c", WHERE) == str(ROOT / "deepvis_caffe" / "__init__.py")
