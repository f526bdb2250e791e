"""Results folders made by hand: names and records as on disk, pictures of a few bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

# One gray pixel. Browsers go by the content, so that it serves as a .jpg, too.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVQIHWNoAAAAggCB8KrjIgAAAABJRU5ErkJggg=="
)


def files(folder: Path) -> dict[str, bytes]:
    """What is in every file, by its path from the folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    """`files`, but of records all but how many images and threads ran at a time.

    These say how a result was computed, and differ where an interrupted run goes on.
    """
    found = files(folder)
    for path, content in found.items():
        if path.endswith(".json") and b'"computed"' in content:
            about = json.loads(content)
            for name in ("batch", "threads"):
                del about["computed"][name]
            found[path] = json.dumps(about).encode()
    return found


def record(layer: str, unit: int, seed: int, **more: Any) -> dict[str, Any]:
    """A run's record, as `deepvis optimize` writes it; `more` in place of its own."""
    return {
        "layer": layer,
        "unit": unit,
        "seed": seed,
        "position": "center",
        "best_iteration": 2,
        "best_value": 7.5,
        "met_top_iteration": 1,
        "stop": "finished",
        "params": {
            "decay": 0.0001,
            "blur_width": 1.0,
            "blur_every": 4,
            "value_percentile": 0.0,
            "norm_percentile": 0.0,
            "benefit_percentile": 0.0,
            "contribution_percentile": 0.0,
            "rate": {"type": "GrayLevels", "levels": 4.0},
            "iterations": 4,
            "start": "noise",
            "push": 1,
        },
        "engine": "torch",
        "version": "0.1.0",
        "objective": [0.5, -2.5, 7.5, 5.0],
        "label": None,
        "model": {"name": "Small", "prototxt": "a.prototxt", "weights": "a.caffemodel"},
        "window": [10, 20, 60, 70],
        "sees": [12, 21, 16, 27],
        "recipe": {"net": "00"},
        **more,
    }


def add_run(folder: Path, stem: str, about: dict[str, Any]) -> Path:
    """Add a run's pictures and record to `regularized_opt/<stem>`; the record's path."""
    layer = folder / "regularized_opt" / stem
    layer.mkdir(parents=True, exist_ok=True)
    start = f"{stem}_{about['unit']:04d}_{about['seed']}"
    for kind in ("best_X", "best_Xpm"):
        (layer / f"{start}_{kind}.png").write_bytes(PNG)
    path = layer / f"{start}.json"
    path.write_text(json.dumps(about))
    return path


def add_pictures(folder: Path, *names: str, content: bytes = PNG) -> None:
    """Add pictures by their paths within the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
