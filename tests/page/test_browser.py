"""The page in a real browser, opened from disk: headless Chromium through its driver."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from helpers.browser_page import BrowserPage
from helpers.results_folder import PNG, add_pictures, add_run, record

from deepvis_caffe.attribution.weight_drivers import WeightDriver, WeightDrivers
from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.dataset.statistics import Bars, UnitStatistics
from deepvis_caffe.figures.correlation_colors import STILL, colors
from deepvis_caffe.model.model import load_model
from deepvis_caffe.page.page import write_page
from deepvis_caffe.resources import resource
from deepvis_caffe.results.additions import with_net
from deepvis_caffe.results.index import read_results
from deepvis_caffe.results.layout import folder_name

FIRE = "fire4/expand3x3"
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"


class Page(BrowserPage):
    """The gallery's page, from disk."""

    def __init__(self, driver: Any, path: Path) -> None:
        super().__init__(driver)
        self.path = path

    def open(self, hash_: str = "") -> Page:
        self.load(f"file://{quote(str(self.path))}{hash_}")
        return self


SHOWN = "[...document.querySelectorAll('#grid li')].map(li => li.querySelector('a').ariaLabel)"
HEADING = "document.querySelector('#unit:not([hidden]) h2')?.textContent ?? null"
FOCUS = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
BOX = "document.querySelector('#lightbox[open] .stage img')?.alt ?? null"
HASH = "decodeURIComponent(location.hash)"
LOADED = (
    "[...document.querySelectorAll('main img')].filter(i => i.naturalWidth === 1).length"
    " === document.querySelectorAll('main img').length"
)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six units of one layer, two labelled ones of another; a page elsewhere than its pictures."""
    folder = tmp_path_factory.mktemp("our results #1")
    for unit in range(6):
        for seed in range(4):
            add_run(folder, folder_name(FIRE), record(FIRE, unit, seed, best_value=unit + seed / 8))
    for unit, label in ((130, "flamingo"), (281, "tabby, tabby cat")):
        add_run(folder, "pool10", record("pool10", unit, 0, label=label, sees=None))
        add_pictures(folder, f"max_im/pool10/pool10_{unit:04d}.jpg")
    damaged = add_run(folder, "pool10", record("pool10", 281, 1))
    damaged.write_text("{")
    return write_page(read_results(folder), folder / "web" / "page.html")


@pytest.fixture
def page(driver: Any, ours: Path) -> Page:
    return Page(driver, ours)


def test_the_first_layer_is_shown_and_nothing_outside_is_asked_for(page: Page) -> None:
    page.open()
    page.until([f"{FIRE}, unit {unit}" for unit in range(6)], SHOWN)
    page.until(24, "document.querySelectorAll('#grid img').length")
    page.until(True, LOADED)
    asked = page.requests()
    assert len([address for address in asked if address.endswith("best_X.png")]) == 24
    folder = page.path.parent.parent
    assert all(a.startswith((f"file://{folder}/", "data:")) for a in asked), asked
    assert page.complaints() == []
    assert (
        page.run("document.querySelector('#skipped summary').textContent") == "1 file was left out"
    )


def test_search_by_label_and_by_number(page: Page) -> None:
    page.open()
    page.press("/", *"tabby")
    page.until(["pool10, unit 281, tabby"], SHOWN)
    page.until(f"#/{FIRE}?tabby", HASH)
    page.press(*["BACKSPACE"] * 5, *"130")
    page.until(["pool10, unit 130, flamingo"], SHOWN)
    page.press(*["BACKSPACE"] * 3, *"4 fire4")
    page.until([f"{FIRE}, unit 4"], SHOWN)
    page.press(*"xyz")
    page.until(False, "document.querySelector('#nothing').hidden")
    page.press("ESCAPE")
    page.until([f"{FIRE}, unit {unit}" for unit in range(6)], SHOWN)
    page.until("", "document.querySelector('#query').value")


def test_the_keyboard_alone(page: Page) -> None:
    page.open()
    page.until(6, f"{SHOWN}.length")
    page.press("ARROW_DOWN")
    page.until(f"{FIRE}, unit 0", FOCUS)
    page.press("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    page.until(f"{FIRE}, unit 1", FOCUS)
    columns = page.run(
        "[...document.querySelectorAll('#grid li')].filter(li => li.getBoundingClientRect().top"
        " === document.querySelector('#grid li').getBoundingClientRect().top).length"
    )
    page.press("ARROW_LEFT", "ARROW_DOWN")
    page.until(f"{FIRE}, unit {columns}", FOCUS)
    page.press("ENTER")
    page.until(f"Unit {columns}", HEADING)
    page.press("ARROW_LEFT")
    page.until(f"Unit {columns - 1}", HEADING)
    page.until(4, "document.querySelectorAll('#unit .tile').length")
    page.press("ENTER")
    page.until(f"Without mean: unit {columns - 1}, seed 0", BOX)
    page.press("ARROW_RIGHT", "ARROW_RIGHT")
    page.until(f"Without mean: unit {columns - 1}, seed 2", BOX)
    page.press("x")
    page.until(f"With mean: unit {columns - 1}, seed 2", BOX)
    page.press("ESCAPE")
    page.until(None, BOX)
    page.until(f"Unit {columns - 1}", HEADING)
    page.press("ESCAPE")
    page.until(None, HEADING)
    page.until(f"{FIRE}, unit {columns - 1}", FOCUS)
    page.press("]")
    page.until("#/pool10", HASH)
    page.press("/", *"flam", "ENTER", "ENTER")
    page.until("Unit 130flamingo", HEADING)
    page.press("ESCAPE")
    page.until(["pool10, unit 130, flamingo"], SHOWN)


def test_the_help_is_the_table_of_keys(page: Page) -> None:
    page.open().press("?")
    page.until(True, "document.querySelector('#help').open")
    rows = page.run(
        "[...document.querySelectorAll('#keys tr')].map(tr => [...tr.querySelectorAll('kbd')]"
        ".map(kbd => kbd.textContent).join(' ') + ': ' + tr.cells[1].textContent)"
    )
    assert "/: Search by label, layer or unit number" in rows
    assert "Esc: Close, go back, or end the search" in rows
    page.press("ESCAPE")
    page.until(False, "document.querySelector('#help').open")


def test_a_units_record(page: Page) -> None:
    page.open(f"#/{quote(FIRE, safe='')}/3")
    page.until(4, "document.querySelectorAll('#unit .chart path').length")
    rows = page.run(
        "[...document.querySelectorAll('.runs tbody tr')].map(tr => tr.innerText.split('\\t'))"
    )
    assert rows[1] == ["1", "3.125", "2", "from step 1"]
    assert page.run("document.querySelector('.runs .now').dataset.seed") == "3"
    page.until(
        "Seed 1",
        "document.querySelector('.runs .now').dataset.seed === '1' ? 'Seed 1' : ''"
        " || (document.querySelector('.tile[data-seed=\"1\"]').focus(), '')",
    )
    facts = page.run("document.querySelector('.made dl').innerText.split('\\n')")
    assert facts[facts.index("rate") + 1] == "GrayLevels (levels 4)"
    # The line goes through 0.5, -2.5, 7.5 and 5: its heights are as 3 to 0 to 10 to 7.5.
    path = page.run("document.querySelector('.chart .run[data-seed=\"0\"] path').getAttribute('d')")
    heights = [float(point.split()[1]) for point in path[1:].split("L")]
    low, high = heights[1], heights[2]
    assert (high, low) == (10, 126), "it fills the chart, from its rules' top to their bottom"
    shares = [(low - height) / (low - high) for height in heights]
    assert shares == pytest.approx([0.3, 0, 1, 0.75], abs=0.01)


def test_pictures_are_cut_to_what_the_unit_sees(page: Page) -> None:
    page.open(f"#/{quote(FIRE, safe='')}/3")
    page.until(4, "document.querySelectorAll('#unit .frame.there').length")
    # The window is 4 high and 6 wide, 2 from the top and 1 from the left, of a picture of 1 pixel.
    style = "document.querySelector('#unit .frame img').style"
    assert page.run(f"[{style}.width, {style}.left, {style}.top].map(parseFloat)") == pytest.approx(
        [100 / 6, -100 / 6, -50], abs=1e-3
    )
    frame = page.run("document.querySelector('#unit .frame').getBoundingClientRect().toJSON()")
    assert frame["width"] / frame["height"] == pytest.approx(6 / 4, rel=0.01)
    page.press("w")
    page.until(0, "document.querySelectorAll('#unit .frame.cut').length")


def test_deep_links_and_the_back_button(page: Page) -> None:
    page.open(f"#/{quote(FIRE, safe='')}/2/best_Xpm.3")
    page.until("With mean: unit 2, seed 3", BOX)
    page.press("ESCAPE")  # nobody came from above: one level up all the same
    page.until("Unit 2", HEADING)
    page.until(None, BOX)
    page.open("#/pool10")
    page.until(2, f"{SHOWN}.length")
    page.click("#grid li:nth-child(2) a")
    page.until("Unit 281tabby, tabby cat", HEADING)
    page.click('[data-picture="max_im"]')
    page.until("Top images: unit 281, tabby", BOX)
    assert page.run(HASH) == "#/pool10/281/max_im"
    page.driver.back()
    page.until(None, BOX)
    page.driver.back()
    page.until(None, HEADING)
    page.driver.forward()
    page.until("Unit 281tabby, tabby cat", HEADING)
    page.click('.steps [title^="Previous"]')
    page.until("Unit 130flamingo", HEADING)
    page.driver.back()  # not to the unit before, but to what is above both
    page.until(None, HEADING)
    page.until("#/pool10", HASH)
    page.driver.forward()
    page.until("Unit 130flamingo", HEADING)
    page.open("#/no%2Fsuch/3")
    page.until(
        "There is no layer no/such on this page.", "document.querySelector('#notice').textContent"
    )
    page.open("#/pool10/5")
    page.until(
        "There are no pictures of unit 5 of pool10 on this page.",
        "document.querySelector('#notice').textContent",
    )


def test_a_missing_part_is_reported(page: Page, tmp_path: Path) -> None:
    add_run(tmp_path, "fc", record("fc", 0, 0))
    write_page(read_results(tmp_path))
    shutil.rmtree(tmp_path / "index_files")
    Page(page.driver, tmp_path / "index.html").open("#/fc/0")
    page.until(
        True, "/index_files.*is missing/.test(document.querySelector('#notice').textContent)"
    )


def test_every_picture_and_control_has_a_name(page: Page) -> None:
    nameless = (
        "[...document.querySelectorAll('img, button, a, input, select, svg[role=img]')]"
        ".filter(e => !(e.alt || e.ariaLabel || e.textContent.trim() || e.labels?.length))"
        ".map(e => e.outerHTML)"
    )
    for hash_ in ("", f"#/{quote(FIRE, safe='')}/2", f"#/{quote(FIRE, safe='')}/2/best_X.0"):
        page.open(hash_)
        page.until(True, "document.querySelectorAll('main img').length > 3")
        assert page.run(nameless) == []


def test_hostile_names_are_shown_as_text(driver: Any, tmp_path: Path) -> None:
    name = f"a/b{HOSTILE}"
    about = record(name, 0, 0, label=HOSTILE, stop=HOSTILE, engine=HOSTILE)
    path = add_run(tmp_path, folder_name(name), about)
    path.with_name(path.name.replace("_0.json", "_1.json")).write_text("{")
    page = Page(driver, write_page(read_results(tmp_path))).open(f"#/{quote(name, safe='')}/0")
    page.until(f"Unit 0{HOSTILE}", HEADING)
    page.until(1, "document.querySelectorAll('#unit .tile').length")
    page.press("ENTER")
    page.until(f"Without mean: unit 0, {HOSTILE}, seed 0", BOX)
    page.driver.execute_script("history.back()")
    assert page.run("window.broken ?? null") is None
    assert page.run("document.querySelectorAll('script:not([src])').length") == 2
    assert page.complaints() == []


def test_a_unit_of_a_concatenation_is_shown_as_the_one_that_it_is(
    driver: Any, tmp_path: Path
) -> None:
    squeezenet = load_model(
        resource("prototxt", "squeezenet_v1.1.prototxt"), None, need_weights=False
    )
    own = {"model": {"name": squeezenet.graph.name, "prototxt": "a", "weights": "b"}}
    for seed in (0, 1):
        add_run(tmp_path, folder_name(FIRE), record(FIRE, 5, seed, **own))
    add_pictures(tmp_path, f"max_im/{folder_name(FIRE)}/{folder_name(FIRE)}_0005.jpg")
    results = with_net(read_results(tmp_path), squeezenet)
    page = Page(driver, write_page(results)).open("#/fire4%2Fconcat/133")  # 128 come before
    page.until("Unit 133", HEADING)
    page.until(3, "document.querySelectorAll('#unit .tile').length")
    page.until(True, LOADED)
    said = page.run("document.querySelector('#unit header').textContent")
    assert f"same as {FIRE}, unit 5" in said
    assert page.complaints() == []


def test_what_the_toolbox_left(driver: Any, tmp_path: Path) -> None:
    for unit in (0, 1):
        add_pictures(
            tmp_path,
            f"regularized_opt/conv1/conv1_{unit:04d}_montage.jpg",
            f"max_im/conv1/conv1_{unit:04d}.jpg",
            f"max_deconv/conv1/conv1_{unit:04d}.jpg",
        )
    add_pictures(tmp_path, "max_im/fc8/fc8_0007.jpg")
    page = Page(driver, write_page(read_results(tmp_path))).open()
    sources = "[...document.querySelectorAll('#grid img')].map(i => i.getAttribute('src'))"
    optimized = [f"regularized_opt/conv1/conv1_{unit:04d}_montage.jpg" for unit in (0, 1)]
    page.until(optimized, sources)
    page.press("x")
    page.until([f"max_im/conv1/conv1_{unit:04d}.jpg" for unit in (0, 1)], sources)
    page.press("x")
    page.until([f"max_deconv/conv1/conv1_{unit:04d}.jpg" for unit in (0, 1)], sources)
    page.press("ARROW_DOWN", "ENTER")
    titles = "[...document.querySelectorAll('#unit .caption')].map(c => c.textContent)"
    page.until(["Montage", "Top images", "Deconv"], titles)
    page.until(True, LOADED)
    page.open("#/fc8")
    page.until(["max_im/fc8/fc8_0007.jpg"], sources)
    assert page.complaints() == []


def test_recipes_are_chosen(driver: Any, tmp_path: Path) -> None:
    """The best that each unit has, until another one is chosen; then that one, where there is."""
    own, best = tmp_path / "regularized_opt/conv1", tmp_path / "regularized_opt/conv1/best"
    for unit in (0, 1):
        add_run(tmp_path, "conv1", record("conv1", unit, 0, best_value=3))
    other = add_run(tmp_path, "conv1", record("conv1", 1, 5, best_value=8))
    best.mkdir()
    for path in [other, *own.glob("conv1_0001_5_best*")]:
        path.rename(best / path.name)
    add_pictures(
        tmp_path, "max_im/conv1/conv1_0001.jpg", "regularized_opt/conv1/best/whole_layer.jpg"
    )
    page = Page(driver, write_page(read_results(tmp_path))).open()
    sources = "[...document.querySelectorAll('#grid img')].map(i => i.getAttribute('src'))"
    plain = [f"regularized_opt/conv1/conv1_000{unit}_0_best_X.png" for unit in (0, 1)]
    within = "regularized_opt/conv1/best/conv1_0001_5_best_X.png"
    page.until([plain[0], within], sources)
    page.until(True, LOADED)
    whole = "document.querySelector('#list-about a').getAttribute('href')"
    page.until("regularized_opt/conv1/best/whole_layer.jpg", whole)
    switch = "[...document.querySelectorAll('#recipes button')].map(b => b.textContent)"
    (name,) = [one for one in page.run(switch) if one.startswith("changed-")]
    page.until(["Best of each unit", "best", name], switch)
    page.press("r", "r")
    page.until(plain, sources)
    page.press("r")
    page.until([plain[0], within], sources)
    page.open("#/conv1/1")
    values = (
        "[...document.querySelectorAll('#unit table.runs td:nth-child(2)')].map(d => d.textContent)"
    )
    page.until(["8"], values)
    page.press("r")
    page.until(["3"], values)
    page.until(True, LOADED)
    page.open("#/conv1/0")
    page.until(["3"], values)
    page.until(0, "document.querySelectorAll('#unit [aria-label=Recipe]').length")
    assert page.complaints() == []


def test_every_backward_mode_of_the_top_images_is_there(driver: Any, tmp_path: Path) -> None:
    trees = ("max_im", "max_gradient", "max_guided")
    add_pictures(tmp_path, *(f"{tree}/conv1/conv1_0003.jpg" for tree in trees))
    page = Page(driver, write_page(read_results(tmp_path))).open("#/conv1/3")
    page.until(True, LOADED)
    titles = "[...document.querySelectorAll('#unit .caption')].map(c => c.textContent)"
    page.until(["Top images", "Gradient", "Guided"], titles)
    sources = "[...document.querySelectorAll('#unit img')].map(i => i.getAttribute('src'))"
    assert page.run(sources) == [f"{tree}/conv1/conv1_0003.jpg" for tree in trees]
    assert page.complaints() == []


def test_a_unit_s_weights_are_a_picture_of_squares(driver: Any, tmp_path: Path) -> None:
    names = ("max_im/conv1/conv1_0003.jpg", "weights/conv1/conv1_0003.png")
    add_pictures(tmp_path, *names)
    page = Page(driver, write_page(read_results(tmp_path))).open("#/conv1")
    sources = "[...document.querySelectorAll('#{} img')].map(i => i.getAttribute('src'))"
    page.press("x")
    page.until([names[0]], sources.format("grid"))
    page.press("x")
    page.until([names[1]], sources.format("grid"))
    page.press("ARROW_DOWN", "ENTER")
    page.until(list(names), sources.format("unit"))
    images = "[...document.querySelectorAll('#unit img')]"
    smoothed = page.run(f"{images}.map(i => getComputedStyle(i).imageRendering)")
    assert smoothed == ["auto", "pixelated"]
    add_pictures(tmp_path, "weights/conv2/conv2_0000.png")
    page = Page(driver, write_page(read_results(tmp_path))).open("#/conv2/0")
    page.until(True, LOADED)
    assert "no record" not in page.run("document.querySelector('#unit').textContent")
    assert page.complaints() == []


def test_what_a_data_set_says_of_a_unit(driver: Any, tmp_path: Path) -> None:
    add_pictures(tmp_path, *(f"max_im/conv1/conv1_{unit:04d}.jpg" for unit in (3, 5)))
    bars = Bars((1, 0, 4), (0.0, 1.0, 2.0, math.inf))
    pairs = ((7, 0.25),), ((5, -0.5),)
    known = UnitStatistics(5, 1.5, 2.0, 0.25, 0.6, 0.0, 9.0, True, bars, *pairs)
    results = read_results(tmp_path)
    (layer,) = results.layers
    units = (replace(layer.units[0], statistics=known), layer.units[1])
    page = Page(driver, write_page(replace(results, layers=(replace(layer, units=units),))))
    page.open("#/conv1/3")
    page.until("Over 5 images", "document.querySelector('.statistics h3')?.textContent ?? ''")
    facts = "[...document.querySelectorAll('.statistics dd')].map(d => d.textContent.trim())"
    assert page.run(facts) == ["1.5 ± 2", "9", "60 %", "25 %", "5 (−0.50) 7 (+0.25)"]
    tall = "[...document.querySelectorAll('.bin span')].map(b => Math.round(b.offsetHeight))"
    low, none, high = page.run(tall)
    assert (none, 4 * low) == (0, pytest.approx(high, abs=3))
    titles = "[...document.querySelectorAll('.bin span')].map(b => b.title)"
    assert page.run(titles) == ["1 image: 0", "0 images: 1 to 2", "4 images: 2 or more"]
    assert page.run("document.querySelector('.dead') !== null")
    page.click(".statistics dd a")
    page.until("#/conv1/5", HASH)
    page.until(0, "document.querySelectorAll('.statistics').length")
    assert page.complaints() == []


def test_of_ten_thousand_units_only_those_in_view_are_asked_for(
    driver: Any, tmp_path: Path
) -> None:
    layer = tmp_path / "regularized_opt" / "fc6"
    layer.mkdir(parents=True)
    (tmp_path / "picture").write_bytes(PNG)
    for unit in range(10_000):
        os.link(tmp_path / "picture", layer / f"fc6_{unit:04d}_montage.jpg")
    path = write_page(read_results(tmp_path))
    assert path.stat().st_size < 300_000
    page = Page(driver, path).open()

    def asked() -> set[int]:
        pictures = (address for address in page.requests() if "_montage" in address)
        return {int(address.split("_")[-2]) for address in pictures}

    def in_view() -> set[int]:
        return set(
            page.run(
                "[...document.querySelectorAll('#grid li')].filter(li => {"
                "const r = li.getBoundingClientRect(); return r.bottom > 0 && r.top < innerHeight;"
                "}).map(li => Number(li.dataset.place))"
            )
        )

    page.until(True, f"{LOADED} && document.querySelectorAll('main img').length > 0")
    first = asked()
    assert first >= in_view() >= {0, 1, 2, 3}
    assert max(first) < 60
    page.driver.execute_script("scrollTo(0, document.body.scrollHeight / 2)")
    page.until(True, "Number(document.querySelector('#grid li').dataset.place) > 4000")
    page.until(True, LOADED)
    later = asked()
    assert later >= in_view()
    assert len(later) < 60
    assert page.run("document.querySelectorAll('#grid li').length") < 60
    page.press("/", *"9876")
    page.until(["fc6, unit 9876"], SHOWN)
    page.press("ENTER", "ENTER")
    page.until("Unit 9876", HEADING)
    assert asked() - {9, 98, 987} == {9876}  # those were found while the number was typed


# 0 and 2 go together, 1 against both; 3 never changes, and the page has no pictures of it.
CORRELATION = Correlation(
    np.array(
        [
            [1, -0.5, 0.8, math.nan],
            [-0.5, 1, -0.25, math.nan],
            [0.8, -0.25, 1, math.nan],
            [math.nan] * 4,
        ],
        np.float32,
    ),
    (1, 0, 2, 3),
    480,
)
PAIR = "document.querySelector('#pair .r')?.textContent ?? ''"


@pytest.fixture(scope="module")
def related(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three units of a layer with a correlation, and one of a layer without."""
    folder = tmp_path_factory.mktemp("related")
    add_pictures(folder, *(f"max_im/conv1/conv1_{unit:04d}.jpg" for unit in range(3)))
    add_pictures(folder, "max_im/conv2/conv2_0000.jpg")
    results = read_results(folder)
    conv1, conv2 = results.layers
    known = UnitStatistics(
        480,
        1.0,
        1.0,
        0.0,
        1.0,
        0.0,
        9.0,
        False,
        Bars((), ()),
        ((2, 0.8), (3, 0.1)),
        ((1, -0.5),),
    )
    units = (replace(conv1.units[0], statistics=known), *conv1.units[1:])
    conv1 = replace(conv1, units=units, correlation=CORRELATION)
    return write_page(replace(results, layers=(conv1, conv2)))


def test_the_matrix_of_a_layer_is_painted_from_its_values(driver: Any, related: Path) -> None:
    page = Page(driver, related).open("#/conv1")
    page.until(3, f"{SHOWN}.length")
    page.click("#list-about a")
    page.until("#/conv1/correlation", HASH)
    page.until("1 and 2: −0.25", PAIR)  # the first of the order, and its most correlated
    # What is painted, at the middle of each pair's square.
    at = (
        "(() => { const c = document.querySelector('#matrix-canvas'), s = c.width / 4;"
        " return [0, 1, 2, 3].map(y => [0, 1, 2, 3].map(x => [...c.getContext('2d')"
        ".getImageData(s * x + s / 2, s * y + s / 2, 1, 1).data].slice(0, 3))); })()"
    )

    def expected(order: tuple[int, ...]) -> list:
        found = CORRELATION.values
        return [
            [
                list(STILL)
                if math.isnan(found[one, other])
                else colors()[101 + round(100 * float(found[one, other]))].tolist()
                for other in order
            ]
            for one in order
        ]

    page.until(expected(CORRELATION.order), at)
    assert page.run("document.querySelector('.legend').textContent") == "−1+11 never changes"
    page.click("#matrix .switch button:nth-child(2)")
    page.until(expected((0, 1, 2, 3)), at)
    page.click("#matrix .switch button:nth-child(1)")
    page.until(expected(CORRELATION.order), at)
    said = [one for one in page.complaints() if "getImageData" not in one]  # that is ours, above
    assert said == []


def test_a_pair_is_named_and_a_click_opens_the_rows_unit(driver: Any, related: Path) -> None:
    from selenium.webdriver import ActionChains

    page = Page(driver, related).open("#/conv1/correlation")
    painted = "document.querySelector('#matrix-canvas')?.width > 100"
    page.until(True, painted)
    canvas = driver.find_element("css selector", "#matrix-canvas")
    side = canvas.size["width"]

    def point(row: int, column: int) -> ActionChains:
        y, x = ((2 * place + 1) * side // 8 - side // 2 for place in (row, column))
        return ActionChains(driver).move_to_element_with_offset(canvas, x, y)

    for row, column, words in (
        (1, 2, "0 and 2: +0.80"),
        (2, 0, "2 and 1: −0.25"),
        (0, 0, "Unit 1"),
        (1, 3, "Unit 3 never changes"),
    ):
        point(row, column).perform()
        page.until(words, PAIR)
    page.until(1, "document.querySelectorAll('#pair img').length")  # there are none of unit 3
    point(3, 3).click().perform()
    assert page.run(HASH) == "#/conv1/correlation", "nothing to open"
    point(3, 2).click().perform()
    page.until("#/conv1/2", HASH)  # the row's has no pictures, the column's has
    page.until("Unit 2", HEADING)
    page.driver.back()
    page.until("#/conv1/correlation", HASH)
    page.until(None, HEADING)
    page.until(True, painted)
    canvas = driver.find_element("css selector", "#matrix-canvas")
    point(1, 2).click().perform()
    page.until("#/conv1/0", HASH)
    assert page.complaints() == []


def test_keys_move_the_mark_in_the_matrix(driver: Any, related: Path) -> None:
    page = Page(driver, related).open("#/conv1/correlation/0")
    page.until("0 and 2: +0.80", PAIR)
    page.press("ARROW_DOWN")
    page.until("#/conv1/correlation/2", HASH)
    page.until("2 and 0: +0.80", PAIR)
    rows = (
        "(() => { const c = document.querySelector('#matrix-canvas'), d = c.getContext('2d')"
        ".getImageData(2, 0, 1, c.height).data; return [...Array(c.height).keys()].filter(y =>"
        " d[4 * y] === 255 && d[4 * y + 1] === 184 && d[4 * y + 2] === 77)"
        ".map(y => Math.round(y / c.height * 100)); })()"
    )
    page.until([50, 75], rows)  # around the third of four rows
    page.press("ARROW_UP", "ARROW_UP", "ARROW_UP")
    page.until("#/conv1/correlation/1", HASH)
    page.press("ENTER")
    page.until("Unit 1", HEADING)
    page.press("ESCAPE")
    page.until("#/conv1/correlation/1", HASH)
    page.press("]")
    page.until("#/conv2", HASH)
    page.open("#/conv1/correlation")
    page.until(True, "document.querySelector('#matrix-canvas') !== null")
    page.press("ESCAPE")
    page.until("#/conv1", HASH)
    page.until(3, f"{SHOWN}.length")
    page.open("#/conv2/correlation")
    page.until(
        "There is no correlation of conv2 on this page.",
        "document.querySelector('#notice').textContent",
    )
    assert page.run("document.querySelector('#list-about a')") is None


def test_a_unit_shows_whom_it_goes_with(driver: Any, related: Path) -> None:
    page = Page(driver, related).open("#/conv1/0")
    cards = (
        "[...document.querySelectorAll('.relatives')].map(row => [...row.children].map(card =>"
        " [card.tagName, card.querySelector('.caption').textContent,"
        " card.querySelector('img')?.getAttribute('src') ?? null]))"
    )
    one = "max_im/conv1/conv1_000{}.jpg".format
    page.until(
        [
            [["A", "2+0.80", one(2)], ["SPAN", "3+0.10", None]],
            [["A", "1−0.50", one(1)]],
        ],
        cards,
    )
    titles = "[...document.querySelectorAll('.relations h3')].map(h => h.textContent)"
    assert page.run(titles) == ["Correlated with", "Anticorrelated with"]
    page.until(True, LOADED)
    page.click(".relations p a")
    page.until("#/conv1/correlation/0", HASH)
    page.driver.back()
    page.until("#/conv1/0", HASH)
    page.until(3, f"{cards}.flat().length")
    page.click(".relatives a")
    page.until("Unit 2", HEADING)
    page.until(0, "document.querySelectorAll('.relations').length")
    assert page.complaints() == []


def test_a_unit_shows_what_drives_it(driver: Any, tmp_path: Path) -> None:
    """A card for each, of whatever layer, that leads to the unit where the page has it.

    It shows the unit's optimized image and its top images.
    """
    add_pictures(tmp_path, "max_im/fc/fc_0000.jpg", "max_im/conv_1/conv_1_0002.jpg")
    add_run(tmp_path, "conv_1", record("conv/1", 2, 0, window=None, sees=None))
    (tmp_path / "max_im/conv_1/conv_1_0002.json").write_text(
        json.dumps({"layer": "conv/1", "unit": 2, "label": None})
    )
    known = WeightDrivers(
        (
            WeightDriver("conv/1", 2, 12.5, 0.5, 0.5, 0.0, 25.0),
            WeightDriver("conv/1", 4, -3.0, -0.5, 0.0, -0.5, 6.0),
            WeightDriver("data", 0, 0.25, 0.25, 0.25, 0.0, 1.0),
        ),
        "fc",
        0,
    )
    results = read_results(tmp_path)
    conv, fc = results.layers
    fc = replace(fc, units=(replace(fc.units[0], drivers=known),))
    page = Page(driver, write_page(replace(results, layers=(conv, fc)))).open("#/fc/0")
    cards = (
        "[...document.querySelectorAll('.drivers .relatives')].map(row => [...row.children].map("
        "card => [card.tagName, ...[...card.querySelectorAll('.caption span')].map(s =>"
        " s.textContent).filter(Boolean), ...[...card.querySelectorAll('img')].map(i =>"
        " i.getAttribute('src'))]))"
    )
    page.until(
        [
            [
                [
                    *("A", "conv/1", "2", "+12.5"),
                    "regularized_opt/conv_1/conv_1_0002_0_best_X.png",
                    "max_im/conv_1/conv_1_0002.jpg",
                ],
                ["SPAN", "data", "0", "+0.25"],
            ],
            [["SPAN", "conv/1", "4", "−3"]],
        ],
        cards,
    )
    titles = "[...document.querySelectorAll('.drivers h3, .drivers p')].map(h => h.textContent)"
    assert page.run(titles) == [
        "Raised by",
        "Lowered by",
        "By weights, times the mean activation over the dataset.",
    ]
    page.until(True, LOADED)
    page.click(".drivers a")
    page.until("Unit 2", HEADING)
    page.until(0, "document.querySelectorAll('.drivers').length")
    assert page.complaints() == []


# -- the diagram of the net ------------------------------------------------------------------------

BOXES = (
    "[...document.querySelectorAll('#diagram:not([hidden]) .stage-box')].map(box =>"
    " [box.querySelector('h3').textContent, ...[...box.querySelectorAll('a')].map("
    "a => a.firstChild.textContent)])"
)
FOCUSED_LAYER = "document.activeElement.firstChild?.textContent ?? ''"


@pytest.fixture(scope="module")
def with_diagram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of SqueezeNet: runs in three layers; in one of them a unit with top images alone."""
    folder = tmp_path_factory.mktemp("net")
    model = load_model(resource("prototxt", "squeezenet_v1.1.prototxt"), None, need_weights=False)
    named = {"model": {"name": model.graph.name, "prototxt": "a", "weights": "b"}}
    for layer in ("conv10", FIRE, "conv1"):
        add_run(folder, folder_name(layer), record(layer, 3, 0, **named))
    stem = f"max_im/{folder_name(FIRE)}/{folder_name(FIRE)}_0007"
    add_pictures(folder, f"{stem}.jpg", f"{stem}_0.png", f"{stem}_1.png")
    images = [
        {"name": "cats/tom.jpg", "value": 12.5, "class_name": "tabby"},
        {"name": HOSTILE, "value": 0.25, "class_name": None},
    ]
    about = {"layer": FIRE, "unit": 7, "label": None, "images": images, "columns": 2, **named}
    (folder / f"{stem}.json").write_text(json.dumps(about))
    return write_page(with_net(read_results(folder), model))


def test_the_diagram_leads_into_the_layers(driver: Any, with_diagram: Path) -> None:
    page = Page(driver, with_diagram).open()
    joined = "fire4/concat"  # of which each unit is one of two layers, and has its pictures
    page.until(
        [
            *(["113 × 113", "conv1"], ["56 × 56"], ["28 × 28", FIRE, joined], ["14 × 14"]),
            ["1 × 1", "conv10"],
        ],
        BOXES,
    )
    assert page.run(
        "[...document.querySelectorAll('#layer-list a')].map(a => a.firstChild.textContent)"
    ) == [
        *("conv1", FIRE, joined, "conv10"),
    ]
    page.press("ARROW_RIGHT")
    page.until("conv1", FOCUSED_LAYER)
    page.press("ARROW_RIGHT")
    page.until(FIRE, FOCUSED_LAYER)
    page.press("ENTER")
    page.until([f"{FIRE}, unit 3", f"{FIRE}, unit 7"], SHOWN)
    page.until([], BOXES)
    page.press("ESCAPE")
    page.until(5, f"{BOXES}.length")
    page.until(FIRE, FOCUSED_LAYER)
    page.click("#stages > li:last-child a")
    page.until("#/conv10", HASH)
    page.click("#home")
    page.until(5, f"{BOXES}.length")
    page.press("/", *"conv10")
    page.until(["conv10, unit 3"], SHOWN)
    assert page.complaints() == []


def test_each_top_image_has_its_name_and_activation(driver: Any, with_diagram: Path) -> None:
    page = Page(driver, with_diagram).open(f"#/{quote(FIRE, safe='')}")
    page.until(
        ["3", "7top images"],
        "[...document.querySelectorAll('#grid .caption')].map(one => "
        "[...one.children].filter(c => !c.matches('.of')).map(c => c.textContent).join(''))",
    )
    page.open(f"#/{quote(FIRE, safe='')}/7")
    page.until(
        [["cats/tom.jpg, tabby", "12.5"], [HOSTILE, "0.25"]],
        "[...document.querySelectorAll('.top-tiles .caption')].map(one => "
        "[...one.children].map(part => part.textContent))",
    )
    page.until(True, LOADED)
    said = page.run("document.querySelector('#unit').textContent")
    assert "There are no optimized images of this unit." in said
    assert "no record" not in said
    page.click(".top-tiles a:last-child")
    page.until(
        "Activation 0.25.",
        "document.querySelector('#lightbox .beside p:nth-of-type(3)').textContent",
    )
    page.press("ARROW_LEFT")
    page.until("Top image 1: cats/tom.jpg, tabby", BOX)
    assert page.run("window.broken") is None
