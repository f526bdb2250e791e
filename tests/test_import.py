"""Importing the package and showing help cost next to nothing; the public names exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import small_model

import deepvis_caffe as dv

HEAVY = {"torch", "cv2", "caffe", "skimage", "scipy", "h5py"}


def _imported_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running `code`."""
    code += "\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.process
def test_importing_the_package_imports_no_other_package() -> None:
    known = set(sys.stdlib_module_names) | {"deepvis_caffe", "sitecustomize"}
    found = _imported_by("import deepvis_caffe") - _imported_by("")
    assert found <= known, found - known


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["--help"], ["optimize", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"from deepvis_caffe.cli.main import app\ntry: app({arguments})\nexcept SystemExit: pass"
    found = _imported_by(code)
    assert "typer" in found
    assert not found & (HEAVY | {"numpy", "google"})


@pytest.mark.process
def test_a_first_picture_waits_for_no_library_that_it_can_do_without(tmp_path: Path) -> None:
    """torch.autograd.grad imports sympy, and Fourier transforms' lengths are simple arithmetic."""
    settings = small_model.write_model(tmp_path)
    line = ["optimize", "conv/1", "--units", "1", "--seeds", "1", "--settings", str(settings)]
    line += ["--out", str(tmp_path / "out"), "--preset", "best"]
    code = f"from deepvis_caffe.cli.main import app\ntry: app({line})\nexcept SystemExit: pass"
    found = _imported_by(code) - _imported_by("import torch")
    assert list((tmp_path / "out").rglob("*_best_X.png"))
    assert "PIL" in found or "cv2" in found
    assert not found & {"sympy", "scipy"}


def test_every_public_name_is_what_its_home_defines() -> None:
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.errors import DeepVisError
    from deepvis_caffe.jobs.runs import optimize
    from deepvis_caffe.model.model import load_model
    from deepvis_caffe.optimizer import AscentResult, objectives
    from deepvis_caffe.settings import Settings

    assert dv.load_net is load_net
    assert dv.load_model is load_model
    assert dv.Settings is Settings
    assert dv.DeepVisError is DeepVisError
    assert dv.AscentResult is AscentResult
    assert dv.optimize is optimize
    assert dv.objectives is objectives
    assert {name for name in dv.__all__ if getattr(dv, name) is None} == set()
    assert set(dv.__all__) <= set(dir(dv))


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_nett'"):
        _ = dv.load_nett


HOST = """
import atexit, importlib, logging, os, pkgutil, signal, sys, warnings
import cv2, h5py, scipy, torch  # what these change is their own
registered = []
atexit.register = lambda function, *a, **k: registered.append(function) or function

def state():
    mask = os.umask(0); os.umask(mask)
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    root = logging.getLogger()
    threads = cv2.getNumThreads(), torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    return [mask, handlers, root.level, list(root.handlers), dict(os.environ), threads,
            list(warnings.filters), sys.excepthook]

import deepvis_caffe
names = [one.name for one in pkgutil.walk_packages(deepvis_caffe.__path__, "deepvis_caffe.")]
before = state()
for name in names:
    importlib.import_module(name)
for old, new in zip(before, state(), strict=True):
    assert old == new, (old, new)
own = [one for one in registered if one.__module__.startswith("deepvis_caffe")]
assert not own, own
print(len(names))
"""


@pytest.mark.process
def test_importing_every_module_changes_nothing_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HOST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150  # every module, not only the top
