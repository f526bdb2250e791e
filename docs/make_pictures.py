"""The README's pictures, made anew: `python docs/make_pictures.py`, after `make demo`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import deepvis_caffe as dv
from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.dataset.correlation import related
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.dataset.tiles import write_tiles
from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.attributions import side_by_side
from deepvis_caffe.figures.drivers import drivers_figure
from deepvis_caffe.figures.figure import Cell, Row, figure, grid
from deepvis_caffe.figures.montage import captioned, montage, vivid
from deepvis_caffe.image import sample_images
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, make_layer
from deepvis_caffe.jobs.scan import run_scan
from deepvis_caffe.optimizer import GrayLevels, ascent_params
from deepvis_caffe.optimizer.parameterizations import maco
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.optimizer.transforms import jitter, noise, random_resized_crop, rotation
from deepvis_caffe.viewer.headless import run_headless
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.open_source import parse_sources
from deepvis_caffe.viewer.state.actions import parse_keys

IMAGES = Path(__file__).parent / "images"
DEMO = Path("results/demo")
LAYER, UNIT = "fire8/concat", 375  # answers to eyes
MODES = ("gradient", "deconv", "guided")
OPTIMIZED = {"fire3/expand3x3": (range(64), 1), "fire8/expand3x3": ([119], 9)}  # units, seeds
CORRELATED = ("fire8/expand3x3", 119)  # the layer and the unit of the correlation picture
CLASS = 285  # Egyptian cat
# Name, source, size and keys of each picture of the viewer.
VIEWS = (
    ("viewer", "chelsea", (1440, 900), "o*30,down,right*119,n*3,t,T"),
    ("viewer_patterns", "coffee", (1280, 800), "o*8,down,right*18,s"),
    ("correlation", "chelsea", (1440, 900), "o*30,down,right*119,1"),
    ("viewer_drivers", "chelsea", (1440, 900), f"end,u,down,right*{CLASS},4,enter,enter"),
)


def main() -> None:
    """Write them all."""
    IMAGES.mkdir(exist_ok=True)
    for path in DEMO.glob("demo_[!i]*.png"):
        shutil.copy(path, IMAGES)
    dv.write_image(IMAGES / "backward.png", backward_by_mode())
    dv.write_image(IMAGES / "attribution.jpg", attribution_by_method())
    dv.write_image(IMAGES / "maco.jpg", classes_by_maco())
    dv.write_image(IMAGES / "drivers.jpg", what_drives_a_unit())
    dv.write_image(IMAGES / "weights.png", weights_of_units())
    dv.write_image(IMAGES / "knobs.jpg", knobs_of_best())
    views_of_the_viewer()


def classes_by_maco() -> np.ndarray:
    """Three classes of SqueezeNet, with the Fourier magnitudes of photographs."""
    net = dv.zoo("squeezenet", "torch")
    runs = dv.optimize(
        net,
        "pool10",
        [130, 366, 951],
        iterations=250,
        rate=GrayLevels(20),
        transforms=[random_resized_crop(0.6), jitter(0.05), rotation(5), noise(8)],
        regularizers=[],
        parameterization=maco(),
    )
    return np.hstack([run.picture() for run in runs])


def knobs_of_best() -> np.ndarray:
    """Two classes by preset best, by the same without each of its parts, and by preset 3."""
    net = dv.zoo("squeezenet", "torch")
    without = {
        "preset best": {},
        "no transforms": {"jitter": 0, "scale": 0, "rotation": 0},
        "no Fourier": {"fourier": 0},
        "no decorrelation": {"decorrelate": 0},
        "no naturalness": {"naturalness": 0},
        "not coarse first": {"coarse": 1.0},
        "no decay": {"decay": 0, "decay_end": None},
    }
    params = {name: replace(ascent_params("best"), **off) for name, off in without.items()}
    params["preset 3"] = ascent_params(3)
    made = {
        name: dv.optimize(net, "pool10", [130, 292], preset=one) for name, one in params.items()
    }
    rows = [
        Row([Cell(runs[row].picture(), (name,)) for name, runs in made.items()], title)
        for row, title in enumerate(("flamingo", "tiger"))
    ]
    return figure(rows, 200, "pool10: what each part of preset best does")


def views_of_the_viewer() -> None:
    """Units with their optimized images and their correlation, beside a photograph."""
    net = dv.zoo("squeezenet", "torch")
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        for layer, (units, seeds) in OPTIMIZED.items():
            ascents = Ascents(ascent_params("best"), range(seeds))
            make_layer(Job(net, results), TargetLayer.of(net, layer), list(units), ascents)
        layer, unit = CORRELATED
        pictures = {one: dv.sample_image(one) for one in sample_images(more=True)}
        source = write_tiles(pictures, results / "tiles")
        scan = run_scan(Job(net, results), source, ScanParams((layer,), correlation=True))
        partners = [one for group in related(scan.layers[layer].moments, unit) for one, _ in group]
        one_seed = Ascents(ascent_params("best"), range(1))
        make_layer(Job(net, results), TargetLayer.of(net, layer), partners, one_seed)
        for name, units in units_on_the_way_down(net).items():
            make_layer(Job(net, results), TargetLayer.of(net, name), sorted(units), one_seed)
        for picture, source, size, keys in VIEWS:
            session = Session(Parts(net, parse_sources(source), results), *size)
            session.start()
            for key in parse_keys(keys):
                if key == "enter":  # it goes where the frame's drivers say
                    run_headless(session, 1, results / "way")
                session.press(key)
            _, made = run_headless(session, 2, results / picture)  # the first one warms up
            session.close()
            shutil.copy(made, IMAGES / f"{picture}.png")


def units_on_the_way_down(net: Net) -> dict[str, set[int]]:
    """Two steps down from the class: the unit that is reached, and what drives it; by layer."""
    photo, layer, unit = dv.sample_image("chelsea"), "pool10", CLASS
    for _ in range(2):
        first = dv.drivers(net, photo, layer, unit, count=None, reach="stage").raising[0]
        layer, unit = first.layer, first.unit
    units = {layer: {unit}}
    found = dv.drivers(net, photo, layer, unit, count=None, reach="stage")
    for one in (*found.raising[:6], *found.lowering[:6]):
        units.setdefault(one.layer, set()).add(one.unit)
    return units


def backward_by_mode() -> np.ndarray:
    """A photograph, and what reaches it from one unit's activations in each mode."""
    net = dv.zoo("squeezenet")
    x = net.preprocessor(dv.sample_image("chelsea"))[None]
    activations = net.forward(x, [LAYER])[LAYER]
    diff = np.zeros_like(activations)
    diff[:, UNIT] = activations[:, UNIT]
    cells = [captioned(net.preprocessor.show(x[0]), "photograph")]
    for mode in MODES:
        dx = net.backward(LAYER, diff, mode)["data"][0]
        cells.append(captioned(vivid(net.preprocessor.show_symmetric(dx)), mode))
    return montage(cells, columns=4, padding=6, fill=255)


def weights_of_units() -> np.ndarray:
    """First-layer filters in color, and the kernels of one unit of a later layer."""
    net = dv.zoo("squeezenet")
    layer, unit = CORRELATED
    filters, kernels = dv.layer_weights(net, "conv1"), dv.layer_weights(net, layer)
    cells = [
        Cell(filters.picture(), ("conv1: 64 filters",)),
        Cell(kernels.picture(unit), (f"{layer} unit {unit}: 64 channels",)),
    ]
    return grid(cells, columns=2, cell=412, text=15)


def attribution_by_method() -> np.ndarray:
    """As `deepvis attribute chelsea --layer fire8/concat --unit 375 --all-methods` draws it."""
    net = dv.zoo("squeezenet")
    photo = dv.sample_image("chelsea")
    results = [dv.attribute(net, photo, LAYER, UNIT, method) for method in METHODS]
    return side_by_side(results, f"{LAYER} unit {UNIT}")


def what_drives_a_unit() -> np.ndarray:
    """As `deepvis drivers chelsea --layer fire8/concat --unit 375` draws it."""
    net = dv.zoo("squeezenet")
    return drivers_figure(dv.drivers(net, dv.sample_image("chelsea"), LAYER, UNIT))


if __name__ == "__main__":
    main()
