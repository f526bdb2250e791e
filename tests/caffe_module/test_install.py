"""`install` and ``deepvis run-caffe``, each in its own process.

Oracles: what ``import`` returns, and what Python itself prints for the same script.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from helpers.caffe_net import write_net
from helpers.commands import deepvis

from deepvis_caffe.resources import pip_install

pytestmark = [pytest.mark.process, pytest.mark.slow]

RUN = [sys.executable, "-m", "deepvis_caffe", "run-caffe"]
HERE = os.pathsep.join(path for path in sys.path if path)


def run(*command: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": HERE, "PYTHONSAFEPATH": ""}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


# -- install ---------------------------------------------------------------------------------------

EVERY_IMPORT = """
import sys
import deepvis_caffe.caffe as ours
from deepvis_caffe.engines.pycaffe.library import import_caffe
from deepvis_caffe.errors import EngineError
from deepvis_caffe.resources import pip_install
assert "caffe" not in sys.modules  # nothing is taken until it is asked for
assert ours.install() is ours.install() is ours
sys.path.insert(0, "old/python/")
import caffe
import caffe.io
import caffe.proto.caffe_pb2 as pb
from caffe.proto import caffe_pb2
from caffe.classifier import Classifier
from caffe.pycaffe import Net
from caffe._caffe import BlobVec
import caffe.detector
import caffe.coord_map, caffe.draw
from caffe import layers as L, params as P
from caffe.net_spec import Top
import deepvis_caffe.caffe.proto.caffe_pb2

assert caffe is ours, caffe
assert caffe.io is ours.io is sys.modules["caffe.io"] is sys.modules["deepvis_caffe.caffe.io"]
assert caffe_pb2 is pb is ours.proto.caffe_pb2 is caffe.io.caffe_pb2
assert pb.NetParameter(name="a").name == "a"
assert Classifier is caffe.Classifier and Net is caffe.Net and issubclass(Classifier, Net)
assert caffe.Detector is caffe.detector.Detector
assert isinstance(L.ReLU(L.Input()), Top) and P.Pooling.MAX == 0
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
assert type(net.params["conv"]) is BlobVec is caffe._caffe.BlobVec
try:
    import caffe.model_libs  # the old checkout has it
except ImportError as error:
    print(error)
try:
    import_caffe()  # for the pycaffe engine
except EngineError as error:
    print(error)
"""


def test_every_way_to_import_caffe_gives_ours(tmp_path: Path) -> None:
    write(tmp_path / "old/python/caffe/__init__.py", "raise SystemExit('the old one')")
    write(tmp_path / "old/python/caffe/model_libs.py", "")
    script = write(tmp_path / "script.py", EVERY_IMPORT)
    done = run(sys.executable, str(script), *write_net(tmp_path), cwd=tmp_path)
    absent, taken = done.stdout.splitlines()
    assert absent == "No module named 'caffe.model_libs'"
    assert "in this process, `caffe` is deepvis_caffe.caffe" in taken


def test_another_caffe_that_was_imported_before(tmp_path: Path) -> None:
    write(tmp_path / "other/caffe/__init__.py", "")
    script = """
        import sys
        sys.path.insert(0, "other")
        import caffe
        from deepvis_caffe.caffe import install
        from deepvis_caffe.errors import EngineError
        try:
            install()
        except EngineError as error:
            print(error)
        import caffe as still
        assert still is caffe and "caffe.io" not in sys.modules
    """
    done = run(sys.executable, str(write(tmp_path / "script.py", script)), cwd=tmp_path)
    assert "imported the one at" in done.stdout
    assert "other/caffe/__init__.py; call install() before" in done.stdout


def test_without_pytorch(tmp_path: Path) -> None:
    write(tmp_path / "torch.py", "raise ImportError('none here')")
    done = run(*RUN, str(write(tmp_path / "script.py", "import caffe")), cwd=tmp_path, code=2)
    assert done.stderr.startswith("deepvis: the torch engine needs PyTorch")
    assert done.stderr.endswith(f"{pip_install('torch')}\n")


# -- deepvis run-caffe -----------------------------------------------------------------------------

CLASSIFY = """
    import sys
    caffe_root = "../"
    sys.path.insert(0, caffe_root + "python")
    import numpy as np
    import caffe
    import beside
    caffe.set_mode_cpu()
    net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
    net.blobs["data"].data[...] = beside.image
    np.save("out.npy", net.forward()["prob"])
    print(caffe.__name__)
"""


def test_a_script_keeps_opencvs_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own commands silence them, and report images themselves."""
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    script = write(tmp_path / "a.py", "import cv2\ncv2.imread('gone.png')")
    for command in ([sys.executable], RUN):
        assert "gone.png" in run(*command, str(script), cwd=tmp_path).stderr


@pytest.mark.pycaffe
def test_a_script_gives_what_it_gives_with_caffe(caffe: object, tmp_path: Path) -> None:
    script = write(tmp_path / "scripts/classify.py", CLASSIFY)
    write(
        tmp_path / "scripts/beside.py",
        "import numpy as np\nimage = np.sin(np.arange(507)).reshape(3, 13, 13)",
    )
    files = write_net(tmp_path)
    done = run(*RUN, str(script), *files, cwd=tmp_path)
    assert done.stdout == "deepvis_caffe.caffe\n"
    ours = np.load(tmp_path / "out.npy")
    done = run(sys.executable, str(script), *files, cwd=tmp_path)
    assert done.stdout == "caffe\n"
    np.testing.assert_allclose(ours, np.load(tmp_path / "out.npy"), atol=1e-5)


ASIDE = """
    import atexit, logging, pickle, sys, __main__
    class Own:
        field: int
    logging.basicConfig(format="own %(message)s", level=logging.INFO)
    logging.info("message")
    atexit.register(lambda: print(__main__.Own is Own))
    print(__name__, __file__, sys.argv, sys.path[0], type(pickle.loads(pickle.dumps(Own()))) is Own)
    print(Own.__annotations__)  # not changed by our own future imports
    print(sorted(name for name in globals() if not name.startswith("__")))
    sys.exit(int(sys.argv[1]))
"""


def test_a_script_sees_what_python_shows_it(tmp_path: Path) -> None:
    write(tmp_path / "folder/script.py", ASIDE)
    arguments = ["folder/script.py", "3", "--debug", "-h", "--", "a b"]
    wanted = run(sys.executable, *arguments, cwd=tmp_path, code=3)
    found = run(*RUN, *arguments, cwd=tmp_path, code=3)
    assert found.stdout == wanted.stdout
    assert found.stderr == wanted.stderr == "own message\n"


@pytest.mark.parametrize(
    "failing",
    [
        "def f():\n    {}['a']\ntry:\n    f()\nexcept KeyError as e:\n    raise ValueError from e",
        "import broken",
    ],
)
def test_a_traceback_is_the_scripts_own(tmp_path: Path, failing: str) -> None:
    write(tmp_path / "broken.py", "x = (1,\n")
    write(tmp_path / "script.py", failing)
    wanted = run(sys.executable, "script.py", cwd=tmp_path, code=1)
    found = run(*RUN, "script.py", cwd=tmp_path, code=1)
    more = found.stderr.removeprefix(wanted.stderr)
    assert found.stderr.startswith(wanted.stderr)
    assert more == "" or more.startswith("deepvis: if this is Python 2, convert it")


def test_errors_of_ours_are_the_scripts(tmp_path: Path) -> None:
    write(tmp_path / "script.py", "import caffe\ncaffe.io.load_image('gone.jpg')")
    done = run(*RUN, "script.py", cwd=tmp_path, code=1)
    assert f'File "{tmp_path}/script.py", line 2, in <module>' in done.stderr
    assert "no image at gone.jpg: there is no such file" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "line", "advice"),
    [
        ("import caffe\nprint 'a'\n", 2, "python -m fissix -w"),
        ("try:\n    pass\nexcept IOError, e:\n    pass\n", 3, "python -m fissix -w"),
        ("if 1:\n        a = 1\n\tb = 2\n", 3, "expand -i -t 8"),
    ],
)
def test_a_script_in_python_2(tmp_path: Path, text: str, line: int, advice: str) -> None:
    script = write(tmp_path / "old.py", text)
    output = deepvis("run-caffe", str(script), code=2).output
    assert f"{script}, line {line}: " in output
    assert advice in output


def test_what_is_not_a_script(tmp_path: Path) -> None:
    output = deepvis("run-caffe", str(tmp_path / "gone.py"), code=2).output
    assert "gone.py: No such file or directory" in output
    notebook = write(tmp_path / "a.ipynb", "{}")
    assert "jupyter nbconvert --to script" in deepvis("run-caffe", str(notebook), code=2).output
