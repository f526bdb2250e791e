"""Names that docstrings, comments and the documentation cite exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers.markdown import PAGES, ROOT, inline_code

import deepvis_caffe

PACKAGE = ROOT / "deepvis_caffe"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if not path.stem.endswith("_pb2"))
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
FILES = "bin caffemodel csv gif h h5 hdf5 html ico ipynb jpeg jpg js json mdb md mp4 npy npz png py"
FILES += " proto prototxt template toml txt"
# Other packages whose names may be cited; those that need not be installed are not looked into.
LIBRARIES = {"concurrent", "contextlib", "cv2", "json", "logging", "numpy", "os", "scipy", "torch"}
ABSENT = {"caffe", "benchmarks", "distributed"}
# Starlette's place for an application's own attributes; a program of Caffe's, a flag of the
# Deep Visualization Toolbox's.
KNOWN = {"state.hub", "upgrade_net_proto_text", "push_dir"}
# A variable, as written beside the name: what it holds.
VARIABLES = {"dv": "deepvis_caffe", "np": "numpy", "xp": "numpy", "fft": "numpy.fft"}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of a module's docstrings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield node.body[0].lineno, text


def cited(text: str) -> Iterator[str]:
    """What stands in single or double backticks, without a role, tilde or call's brackets."""
    for match in re.finditer(r"(`{1,2})~?\.*([^`\n]+?)(?:\(\))?\1", text):
        yield match[2]


def resolves(name: str) -> bool:
    """Whether a dotted name is one of this package's, of another's, or of a file."""
    first, *rest = name.split(".")
    if rest[-1] in FILES.split() or first in ABSENT or name in KNOWN:
        return True
    if first == "deepvis_caffe":
        return _found(name)
    if first in LIBRARIES or first in VARIABLES:
        return _found(".".join([VARIABLES.get(first, first), *rest]))
    if first in rooms():
        return _found(f"deepvis_caffe.{name}")
    if first[0].isupper():
        return any(_has(owner, rest) for owner in classes().get(first, ()))
    if any(_has(module, rest) for module in modules_called(first)):
        return True
    # `ops.xp`: a variable, of a class that has this.
    return len(rest) == 1 and any(_has(one, rest) for some in classes().values() for one in some)


def _found(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def _has(owner: Any, path: list[str]) -> bool:
    """Whether an attribute is there, or in a class declared or set on `self`."""
    for name in path:
        if inspect.isclass(owner) and name in fields_of(owner):
            return True
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


@cache
def fields_of(owner: type) -> frozenset[str]:
    """Names that a class annotates or its methods set on `self`."""
    try:
        source = inspect.getsource(owner)
    except (OSError, TypeError):
        return frozenset()
    declared = {name for one in owner.__mro__ for name in inspect.get_annotations(one)}
    return frozenset(declared | set(re.findall(r"\bself\.(\w+)", source)))


@cache
def modules() -> dict[str, Any]:
    """Every module of the package that can be imported here, by its name."""
    found = {}
    for info in pkgutil.walk_packages([str(PACKAGE)], "deepvis_caffe."):
        try:
            found[info.name] = importlib.import_module(info.name)
        except ImportError as error:
            if error.name is None or error.name.startswith("deepvis_caffe"):
                raise
    return found


@cache
def rooms() -> frozenset[str]:
    return frozenset(name.split(".")[1] for name in modules())


def modules_called(stem: str) -> list[Any]:
    return [module for name, module in modules().items() if name.rpartition(".")[2] == stem]


@cache
def classes() -> dict[str, list[type]]:
    """The package's classes, by their name."""
    found: dict[str, list[type]] = {}
    for module in (deepvis_caffe, *modules().values()):
        for name, value in vars(module).items():
            if inspect.isclass(value):
                found.setdefault(name, []).append(value)
    return found


@cache
def identifiers() -> frozenset[str]:
    """Every word of the package's code and templates outside of docstrings and comments."""
    found = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        notes = {id(node.body[0].value) for node in ast.walk(tree) if _documented(node)}
        for node in ast.walk(tree):
            for value in vars(node).values() if id(node) not in notes else ():
                values = value if isinstance(value, list) else [value]
                found |= {w for v in values if isinstance(v, str) for w in re.findall(r"\w+", v)}
    for path in (*PACKAGE.rglob("*.js"), *PACKAGE.rglob("*.proto"), *PACKAGE.rglob("*.j2")):
        found |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return frozenset(found)


def _documented(node: ast.AST) -> bool:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_docstrings_cite_names_that_exist(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for line, text in docstrings(path)
        for name in cited(text)
        if (DOTTED.fullmatch(name) and not resolves(name))
        or (re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name) and name not in identifiers() | KNOWN)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        ROOT / "benchmarks" / "README.md",
        ROOT / "tools/pycaffe/README.md",
    ],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_pages_cite_names_that_exist(page: Path) -> None:
    wrong = [
        f"{page.name}:{line}: {name}"
        for line, text in inline_code(page)
        for name in [text.removesuffix("()")]
        if DOTTED.fullmatch(name) and not resolves(name)
    ]
    assert not wrong


def test_modules_have_moved_to_where_the_changelog_says() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^ *\| (`[^|]*`) \| (`[^|]*`) \|$", text, flags=re.M)
    assert len(rows) >= 8
    for old, new in rows:
        assert [name for name in cited(old) if _found(f"deepvis_caffe.{name}")] == []
        assert [name for name in cited(new) if not _found(f"deepvis_caffe.{name}")] == []


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_and_paths_of_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [target.partition("#") for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    gone = [
        target
        for target, _, heading in targets
        if not re.match(r"[a-z]+:", target)
        and not (target == "" or (page.parent / target).exists())
    ]
    assert not gone
    for target, _, heading in targets:
        if heading and not re.match(r"[a-z]+:", target):
            other = page if not target else page.parent / target
            assert heading in anchors(other), f"{target}#{heading}"
    if page.name == "CONTRIBUTING.md":  # which says where things are in the package
        named = [text for _, text in inline_code(page) if re.fullmatch(r"[\w./-]+(/|\.py)", text)]
        assert len(named) > 20
        assert [name for name in named if not _is_here(name)] == []


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page end in."""
    lines = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", lines, flags=re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _is_here(name: str) -> bool:
    ignored = (ROOT / ".gitignore").read_text().split()
    return (ROOT / name).exists() or (PACKAGE / name).exists() or f"/{name}" in ignored
