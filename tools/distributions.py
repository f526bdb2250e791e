"""Build the source distribution and the wheel, and try the wheel in a clean environment.

``python -m tools.distributions`` does, in `dist/` and a temporary folder:

1. builds the source distribution, and from it the wheel;
2. compares their files with those under version control;
3. makes an environment with only the wheel and the packages of requirements/run.txt and torch.txt.
   They are linked from the environment that runs this, which has more; ``--install`` downloads the
   wheel's requirements instead, as a user's pip does;
4. runs commands in it, in an empty folder: the demo, and each kind of page that ships.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
# Folders whose files a wheel contains, and where; without Python files from `prototxt`, `weights`.
PACKAGED = {
    "deepvis_caffe/": "deepvis_caffe/",
    "prototxt/": "deepvis_caffe/prototxt/",
    "weights/": "deepvis_caffe/weights/",
}
COMMANDS = (
    "demo",
    "gallery results/demo",
    "fetch lenet-digits --write-settings",
    "doctor",
    "search ip2 --units 0 --trials 18 --iterations 2",
    "view chelsea.png --headless --out frames --frames 2 --no-synthesis",
)


def build() -> tuple[Path, Path]:
    """Build both with the packages installed here, and return their paths."""
    for old in DIST.glob("deepvis_caffe-*"):
        old.unlink()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def tracked() -> set[str]:
    """Files under version control, and new files that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def check_files(sdist: Path, wheel: Path) -> None:
    """Compare the files of both with the repository's, and stop if they differ."""
    ours = tracked()
    with tarfile.open(sdist) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    _same(f"{sdist.name} lacks", ours - there)
    made = {"PKG-INFO", "setup.cfg"}
    files = {name for name in there - made if (ROOT / name).is_file() and ".egg-info" not in name}
    _same(f"{sdist.name} has beside what is under version control", files - ours)
    expected = {
        PACKAGED[first] + name.removeprefix(first)
        for name in ours
        for first in PACKAGED
        if name.startswith(first)
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    _same(f"{wheel.name} lacks", expected - packed)
    _same(f"{wheel.name} has beside the package", packed - expected)


def _same(what: str, names: Iterable[str]) -> None:
    if names:
        raise SystemExit(f"{what}: " + ", ".join(sorted(names)))


def link_packages(site: Path) -> None:
    """Link the packages of run.txt and torch.txt that are installed here into an environment."""
    for path in (ROOT / "requirements" / "run.txt", ROOT / "requirements" / "torch.txt"):
        for name in re.findall(r"^([a-z0-9-]+)==", path.read_text(encoding="utf-8"), flags=re.M):
            try:
                found = metadata.distribution(name)
            except metadata.PackageNotFoundError:  # for another Python or system
                continue
            tops = {PurePosixPath(file).parts[0] for file in found.files or ()} - {".."}
            for top in tops - {"__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(Path(str(found.locate_file(top))))


def try_wheel(wheel: Path, folder: Path, *, install: bool) -> None:
    """Make the environment, and run commands in it."""
    home = folder / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if install:
        run([*pip, "install", "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[torch]"])
    else:
        (site,) = (home / "lib").glob("python*/site-packages")
        link_packages(site)
        run([*pip, "install", "--no-deps", "--no-index", str(wheel)])
    run([*pip, "check"])
    work = folder / "work"
    work.mkdir()
    show = "import deepvis_caffe as dv; print(dv.__version__, dv.__file__)"
    told = run([str(python), "-c", show], work)
    if str(home) not in told:
        raise SystemExit(f"the package of the wheel is not the one that is imported: {told}")
    print(told.strip())
    save = "import deepvis_caffe as dv; dv.write_image('chelsea.png', dv.sample_image('chelsea'))"
    run([str(python), "-c", save], work)
    for line in COMMANDS:
        print(f"$ deepvis {line}")
        run([str(home / "bin" / "deepvis"), *line.split()], work)


def run(command: list[str], folder: Path | None = None) -> str:
    """Run a program without the repository on its path, and return its output; exit if it fails."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {ran.returncode}:\n{ran.stdout}")
    return ran.stdout


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--install", action="store_true", help="Download what the wheel asks for.")
    given = parser.parse_args()
    sdist, wheel = build()
    check_files(sdist, wheel)
    print(f"{sdist.relative_to(ROOT)} and {wheel.relative_to(ROOT)} hold what they should")
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(wheel, Path(folder), install=given.install)


if __name__ == "__main__":
    main()
