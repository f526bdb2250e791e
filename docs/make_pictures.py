"""The pictures of README and docs, made anew: `python docs/make_pictures.py`, after `make demo`.

With names, as in `python docs/make_pictures.py drivers viewer_drivers`, only these.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import deepvis_caffe as dv
from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.dataset.correlation import related
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.dataset.tiles import parse_tile_name, write_tiles
from deepvis_caffe.dataset.top_images import distinct
from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.attributions import side_by_side
from deepvis_caffe.figures.drivers import drivers_figure
from deepvis_caffe.figures.figure import Cell, Row, figure, grid
from deepvis_caffe.figures.montage import captioned, montage, vivid
from deepvis_caffe.image import sample_images
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, make_layer
from deepvis_caffe.jobs.scan import run_scan, scan_recipe
from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
from deepvis_caffe.optimizer import GrayLevels, ascent_params
from deepvis_caffe.optimizer.parameterizations import maco
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.optimizer.transforms import jitter, noise, random_resized_crop, rotation
from deepvis_caffe.results.unit_pictures import read_unit_pictures
from deepvis_caffe.viewer.browser.serve import serve
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
UNIT_OF_EYES = "o*30,down,right*119"
# Name, source, size and keys of each picture of the viewer; after each text it draws a frame.
VIEWS = (
    ("viewer", "chelsea", (1440, 900), f"{UNIT_OF_EYES},n*3"),
    ("viewer_enlarged", "chelsea", (1280, 800), UNIT_OF_EYES, "z*2"),
    ("viewer_search", "chelsea", (1280, 800), f"{UNIT_OF_EYES},space", "/,c,a,t"),
    ("viewer_patterns", "coffee", (1280, 800), "o*8,down,right*18,s"),
    ("correlation", "chelsea", (1440, 900), f"{UNIT_OF_EYES},1"),
    ("viewer_drivers", "chelsea", (1440, 900), f"end,u,down,right*{CLASS},4", "enter", "enter"),
)


def main(names: Sequence[str]) -> None:
    """Write those that are named; all of them where none is."""
    IMAGES.mkdir(exist_ok=True)
    if not names:
        for path in DEMO.glob("demo_[!i]*.png"):
            shutil.copy(path, IMAGES)
    for file, make in {
        "backward.png": backward_by_mode,
        "attribution.jpg": attribution_by_method,
        "maco.jpg": classes_by_maco,
        "weights.png": weights_of_units,
        "knobs.jpg": knobs_of_best,
    }.items():
        if not names or file.split(".")[0] in names:
            dv.write_image(IMAGES / file, make())
    with_results(names or ["drivers", "viewer_browser", *(one[0] for one in VIEWS)])


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
    without: dict[str, dict[str, Any]] = {
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


def with_results(names: Sequence[str]) -> None:
    """Those of `names` that show optimized and top images, which are made first."""
    wanted = [view for view in VIEWS if view[0] in names]
    if not wanted and not {"drivers", "viewer_browser"} & set(names):
        return
    net = dv.zoo("squeezenet", "torch")
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        make_results(net, results)
        if "drivers" in names:
            dv.write_image(IMAGES / "drivers.jpg", what_drives_a_unit(net, results))
        for picture, photo, size, *steps in wanted:
            session = Session(Parts(net, parse_sources(photo), results), *size)
            session.start()
            for keys in steps:
                for key in parse_keys(keys):
                    session.press(key)
                made = run_headless(session, 1, results / picture)[-1]
            session.close()
            shutil.copy(made, IMAGES / f"{picture}.png")
        if "viewer_browser" in names:
            page_of_the_viewer(Session(Parts(net, parse_sources("chelsea"), results)))


def make_results(net: Net, results: Path) -> None:
    """Optimized images, and a scan of tiles of photographs with the top images of some units."""
    job, one_seed = Job(net, results), Ascents(ascent_params("best"), range(1))
    for layer, (units, seeds) in OPTIMIZED.items():
        ascents = Ascents(ascent_params("best"), range(seeds))
        make_layer(job, TargetLayer.of(net, layer), list(units), ascents)
    shown = units_on_the_way_down(net)
    for one in dv.drivers(net, dv.sample_image("chelsea"), LAYER, UNIT):
        shown.setdefault(one.layer, set()).add(one.unit)
    layer, unit = CORRELATED
    layers = tuple({layer, *shown})
    pictures = {one: dv.sample_image(one) for one in sample_images(more=True)}
    source = write_tiles(pictures, results / "tiles")
    params = ScanParams(layers, correlation=True).for_net(net)
    scan = run_scan(job, source, params)
    top = {
        one: replace(scan.layers[one], top=distinct(net, scan, one, 9, parse_tile_name))
        for one in layers
    }
    scanned = ScannedImages(source, replace(scan, layers=top), scan_recipe(job, source, params))
    by_layer = {name: sorted(units) for name, units in shown.items()}
    for name, numbers in by_layer.items():
        make_layer(job, TargetLayer.of(net, name), numbers, one_seed)
    make_top_pictures(job, scanned, {layer: [unit]} | by_layer)
    partners = [one for group in related(scan.layers[layer].moments, unit) for one, _ in group]
    make_layer(job, TargetLayer.of(net, layer), partners, one_seed)


def page_of_the_viewer(session: Session) -> None:
    """The viewer's page in headless Chromium, which must be there, with a file to download."""
    from selenium import webdriver
    from selenium.webdriver.support.wait import WebDriverWait

    lines: list[str] = []
    session.start()
    for key in parse_keys(f"{UNIT_OF_EYES},n*3,p"):
        session.press(key)
    serving = threading.Thread(target=serve, args=(session, "127.0.0.1", 0, None, lines.append))
    serving.start()
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1280,880"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options)
    try:
        WebDriverWait(browser, 60).until(lambda _: lines)
        browser.get(lines[0].split()[-1])
        find = "return document.getElementById('saved').hidden"
        WebDriverWait(browser, 60).until(lambda _: not browser.execute_script(find))
        browser.find_element("css selector", "#saved summary").click()
        WebDriverWait(browser, 60).until(lambda _: session.settled and not session.reading)
        time.sleep(2)  # until the last picture is on the canvas
        browser.save_screenshot(str(IMAGES / "viewer_browser.png"))
    finally:
        browser.quit()
        session.running = False
        session.wake.set()
        serving.join()
        session.close()


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


def what_drives_a_unit(net: Net, results: Path) -> np.ndarray:
    """As `deepvis drivers chelsea --layer fire8/concat --unit 375 --out drivers.jpg` draws it."""
    found = dv.drivers(net, dv.sample_image("chelsea"), LAYER, UNIT)
    known = read_unit_pictures(results, [(one.layer, one.unit) for one in found])
    return drivers_figure(found, known.optimized, known.top)


if __name__ == "__main__":
    main(sys.argv[1:])
