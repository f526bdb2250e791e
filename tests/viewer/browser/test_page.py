"""The viewer's page in a real browser, with its fake webcam, on a session that remembers."""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from helpers.browser_page import BrowserPage
from helpers.browser_session import QUARTERS, FakeSession, Running, in_child, served
from helpers.waiting import eventually

from deepvis_caffe.image import encode_png, write_image
from deepvis_caffe.viewer.state.actions import button_table

# RGB of the middles of the canvas' quarters, row by row.
MIDDLES = """(() => {
  const canvas = document.getElementById("screen"), context = canvas.getContext("2d");
  return [1, 3].map(y => [1, 3].map(x => [...context.getImageData(
    Math.floor(canvas.width * x / 4), Math.floor(canvas.height * y / 4), 1, 1).data].slice(0, 3)));
})()"""
SIZE = "(c => [c.width, c.height])(document.getElementById('screen'))"
BOX = (
    "(b => [b.left, b.top, b.width, b.height])"
    "(document.getElementById('screen').getBoundingClientRect())"
)
LINK = "document.getElementById('dot').dataset.link"
VEIL = "(v => v.hidden ? '' : v.querySelector('h2').textContent)(document.getElementById('veil'))"
WEBCAM = "document.getElementById('webcam').getAttribute('aria-pressed')"
WHO = "document.getElementById('who').textContent"
NOTICE = "document.getElementById('notice').textContent"


@pytest.fixture
def page(driver: Any, session: FakeSession, running: Running) -> Iterator[BrowserPage]:
    page = BrowserPage(driver)
    page.load(running.url)
    page.until("up", LINK)
    eventually(lambda: session.said("resize") and room(page) == page.run(SIZE))
    until_shown(page, session)
    yield page
    driver.get("about:blank")


def room(page: BrowserPage) -> list[int]:
    """How many pixels of the screen the canvas has: width, height."""
    dense = page.run("devicePixelRatio")
    return [round(side * dense) for side in page.run(BOX)[2:]]


def let_notices_stay(page: BrowserPage) -> None:
    """Keep the words that the page shows for some seconds, until a test has read them."""
    page.run("(bar.clear = () => {}) && 0")


def until_shown(page: BrowserPage, session: FakeSession) -> None:
    """Wait until the canvas has the session's size."""
    eventually(lambda: page.run(SIZE) == list(session.size))


def test_the_picture_fills_the_canvas_pixel_for_pixel(
    page: BrowserPage, session: FakeSession, running: Running
) -> None:
    left, top, width, height = page.run(BOX)
    assert page.run(SIZE) == room(page)
    assert (left, width) == (0, page.run("innerWidth"))
    assert 0 < top < 100, "bar and buttons cover nothing of it"
    assert top + height == page.run("innerHeight")
    assert page.complaints() == []
    difference = np.array(page.run(MIDDLES)) - QUARTERS.astype(int)
    assert np.abs(difference).max() <= 4, page.run(MIDDLES)
    asked = page.requests()
    assert set(asked) <= {running.url, "data:,"}, asked
    assert page.run("document.title") == session.title


def test_keys_have_the_viewers_names(page: BrowserPage, session: FakeSession) -> None:
    from selenium.webdriver import ActionChains, Keys

    page.press("a", "A", "?", "[", "SPACE", "ESCAPE", "ENTER", "BACK_SPACE", "DELETE")
    page.press("ARROW_LEFT", "ARROW_RIGHT", "ARROW_UP", "ARROW_DOWN")
    page.press("PAGE_UP", "PAGE_DOWN", "HOME", "END", "F2", "SHIFT", "ä")
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("c").key_up(Keys.CONTROL).perform()
    page.press("z")
    eventually(lambda: ("press", "z") in session.told)
    assert [key for (key,) in session.said("press")] == [
        *("a", "A", "?", "[", "space", "esc", "enter", "backspace", "delete"),
        *("left", "right", "up", "down", "pgup", "pgdn", "home", "end", "z"),
    ]


def test_the_mouse_is_where_it_is_in_the_picture(page: BrowserPage, session: FakeSession) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    until_shown(page, session)
    canvas = page.driver.find_element("css selector", "#screen")
    _, _, width, height = page.run(BOX)
    dense = page.run("devicePixelRatio")
    # Selenium counts from the middle of an element.
    across, down = 100 - width // 2, 50 - height // 2
    ActionChains(page.driver).move_to_element_with_offset(canvas, across, down).click().perform()
    eventually(lambda: any(told[0] == "click" for told in session.said("mouse")))
    (clicked,) = [told[1:3] for told in session.said("mouse") if told[0] == "click"]
    assert clicked == pytest.approx((50 * dense, 100 * dense), abs=dense)
    eventually(lambda: ("move", *clicked, 0) in session.said("mouse"))
    origin = ScrollOrigin.from_element(canvas, across, down)
    ActionChains(page.driver).scroll_from_origin(origin, 0, 300).perform()
    eventually(lambda: sum(t[3] for t in session.said("mouse") if t[0] == "wheel") == 3)
    ActionChains(page.driver).move_to_element(
        page.driver.find_element("css selector", "#title")
    ).perform()
    eventually(lambda: session.said("mouse")[-1][0] == "leave")


def test_another_shape_is_shown_whole_and_pointed_at_rightly(
    page: BrowserPage, session: FakeSession
) -> None:
    from selenium.webdriver import ActionChains

    until_shown(page, session)
    session.size = (400, 400)  # as if another visitor were in control, with a square page
    session.number += 1
    until_shown(page, session)
    canvas = page.driver.find_element("css selector", "#screen")
    _, _, width, height = page.run(BOX)
    side = min(width, height)
    across = round(0.25 * side)
    ActionChains(page.driver).move_to_element_with_offset(canvas, across, 0).click().perform()
    eventually(lambda: any(told[0] == "click" for told in session.said("mouse")))
    clicked = next(told for told in session.said("mouse") if told[0] == "click")
    assert clicked[1:3] == pytest.approx((200, 300), abs=2)
    beside = round(side / 2 + (width - side) / 4)
    ActionChains(page.driver).move_to_element_with_offset(canvas, beside, 0).click().perform()
    page.press("z")
    eventually(lambda: ("press", "z") in session.told)
    assert len([told for told in session.said("mouse") if told[0] == "click"]) == 1


def test_the_webcam_is_the_input_while_it_is_on(page: BrowserPage, session: FakeSession) -> None:
    page.click("#webcam")
    page.until("true", WEBCAM)
    eventually(lambda: any(np.any(session.pushed[0] != p) for p in session.pushed))  # they move
    assert all(max(p.shape[:2]) == 640 and p.std() > 10 for p in session.pushed)
    page.press("SPACE")  # the button was clicked: the key is still the viewer's
    eventually(lambda: ("space",) in session.said("press"))
    page.until("true", WEBCAM)
    page.click("#webcam")
    page.until("false", WEBCAM)
    eventually(lambda: session.said("end_push"))
    count = len(session.pushed)
    page.press("z")
    eventually(lambda: ("z",) in session.said("press"))
    assert len(session.pushed) == count
    assert page.run(NOTICE) == ""


def test_without_a_secure_context_the_page_says_so(page: BrowserPage, session: FakeSession) -> None:
    page.run("Object.defineProperty(navigator, 'mediaDevices', {value: undefined}) && 0")
    let_notices_stay(page)
    page.click("#webcam")
    page.until(True, f"/only over https.*ssh tunnel/.test({NOTICE})")
    page.until("false", WEBCAM)


def test_two_visitors_and_their_control(
    page: BrowserPage, session: FakeSession, running: Running
) -> None:
    driver = page.driver
    first = driver.current_window_handle
    until_shown(page, session)
    size = session.size
    driver.switch_to.new_window("window")
    try:
        driver.set_window_size(700, 600)
        driver.get(running.url)
        page.until("Visitor 1 is in control \u00b7 you are 2 of 2", WHO)
        assert page.run("document.getElementById('bar').scrollWidth <= innerWidth")
        page.until(list(size), SIZE)
        let_notices_stay(page)
        page.press("x")
        page.until("Press \u201cTake control\u201d first.", NOTICE)
        assert page.run("(n => n.scrollWidth <= n.offsetWidth)(document.getElementById('notice'))")
        page.click("#take")
        page.until("You are in control \u00b7 2 visitors", WHO)
        eventually(lambda: session.size != size)
        until_shown(page, session)
        page.press("y")
        eventually(lambda: session.said("press"))
        assert session.said("press") == [("y",)]
    finally:
        driver.close()
        driver.switch_to.window(first)
    page.until("", WHO)
    eventually(lambda: session.size == size)


def test_it_comes_back_when_the_server_does(driver: Any) -> None:
    page, after = BrowserPage(driver), FakeSession()
    with in_child() as (address, child):
        page.load(address)
        page.until("up", LINK)
        page.until(True, f"{SIZE}[0] > 1")
        page.run("window.same = 1")
        page.click("#webcam")
        page.until("true", WEBCAM)
        child.kill()
        page.until("Connection lost", VEIL)
        page.until("trying", LINK)
        difference = np.array(page.run(MIDDLES)) - QUARTERS.astype(int)
        assert np.abs(difference).max() <= 4, "the last picture is still there"
        child.wait()
        with served(after, port=urlsplit(address).port):
            page.until("", VEIL)
            page.until("up", LINK)
            page.press("z")
            eventually(lambda: ("press", "z") in after.told)
            until_shown(page, after)
            eventually(lambda: after.pushed)  # the webcam is still on
            assert page.run("window.same") == 1
            driver.get("about:blank")


def test_ctrl_c_at_the_terminal_ends_it_and_the_page_says_so(driver: Any) -> None:
    page = BrowserPage(driver)
    with in_child() as (address, child):
        page.load(address)
        page.until("up", LINK)
        child.send_signal(signal.SIGINT)
        page.until("The session has ended", VEIL)
        page.until("over", LINK)
        assert child.wait(30) == 0
    page.until("The session has ended", VEIL)
    page.until("over", LINK)  # and does not try to come back


def test_an_old_address_is_told_from_a_lost_connection(driver: Any) -> None:
    page = BrowserPage(driver)
    with in_child("token='old'") as (address, child):
        page.load(address)
        page.until("up", LINK)
        child.kill()
        child.wait()
        with served(FakeSession(), port=urlsplit(address).port, token="new"):
            page.until("This address no longer opens the viewer", VEIL)
            page.until("over", LINK)
            driver.get("about:blank")


DIALOG = "document.getElementById('quit').open"


def test_q_asks_and_then_ends_it_and_the_page_says_so(page: BrowserPage, running: Running) -> None:
    page.press("q")
    page.until(True, DIALOG)
    assert "The program that serves it ends" in page.run(
        "document.getElementById('quit').innerText"
    )
    page.click("#quit-yes")
    page.until("The session has ended", VEIL)
    running.join()
    page.until("over", LINK)
    page.until(True, "document.getElementById('screen').classList.contains('stale')")
    assert page.run("document.getElementById('webcam').hidden") is True
    assert page.complaints() == []


def test_who_is_asked_can_go_on(page: BrowserPage, session: FakeSession) -> None:
    for leave in ("ESCAPE", "ENTER", "#quit-no"):  # enter is on "Cancel"
        page.press("q")
        page.until(True, DIALOG)
        page.press("x")  # a key of the viewer is none while it is asked
        if leave.startswith("#"):
            page.click(leave)
        else:
            page.press(leave)
        page.until(False, DIALOG)
    page.press("z")
    eventually(lambda: session.said("press"))
    assert session.said("press") == [("z",)]
    assert session.running


def test_buttons_press_their_keys(page: BrowserPage, session: FakeSession) -> None:
    buttons = page.run(
        "[...document.querySelectorAll('#buttons button')]"
        ".map(b => [b.dataset.key, b.innerText, b.title])"
    )
    expected = [line for _, lines in button_table() for line in lines]
    assert [(key, text, words) for key, text, words in buttons] == [
        (key, f"{text} {key}", words) for key, text, words in expected
    ]
    for key in ("z", "space", "/"):
        page.click(f"#buttons button[data-key='{key}']")
    page.press("SPACE")  # the keys are still the viewer's
    eventually(lambda: len(session.said("press")) == 4)
    assert session.said("press") == [("z",), ("space",), ("/",), ("space",)]
    _, with_buttons, _, high = page.run(BOX)
    page.click("#more")
    page.until(True, "document.getElementById('buttons').hidden")
    _, without, _, higher = page.run(BOX)
    assert with_buttons - without == higher - high > 15, "the picture has their room"


DROP = """(async (name, bytes, type) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], name, { type }));
  const at = document.getElementById("screen");
  const send = (kind) => at.dispatchEvent(
    new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  const taken = !send("dragover");
  const marked = document.getElementById("stage").classList.contains("dropping");
  return [taken, marked, !send("drop")];
})(...arguments)"""


def test_an_image_that_is_dropped_becomes_the_input(
    page: BrowserPage, session: FakeSession
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    encoded = base64.b64encode(encode_png(picture)).decode()
    assert page.run(DROP, "my cat.png", encoded, "image/png") == [True, True, True]
    eventually(lambda: session.said("open"))
    assert session.said("open") == [("my cat.png",)]
    np.testing.assert_array_equal(session.opened[0], picture)
    assert not page.run("document.getElementById('stage').classList.contains('dropping')")
    let_notices_stay(page)
    page.run(DROP, "no.png", base64.b64encode(b"no image").decode(), "image/png")
    page.until(True, f"/^no.png: cannot read/.test({NOTICE})")
    assert page.run("location.pathname") == "/"


def test_an_image_can_be_chosen(page: BrowserPage, session: FakeSession, tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    write_image(tmp_path / "dog.png", picture)
    page.driver.find_element("css selector", "#file").send_keys(str(tmp_path / "dog.png"))
    eventually(lambda: session.said("open"))
    np.testing.assert_array_equal(session.opened[0], picture)


def test_what_was_saved_can_be_downloaded(
    page: BrowserPage, session: FakeSession, tmp_path: Path
) -> None:
    assert page.run("document.getElementById('saved').hidden")
    for name in ("shot_0001.png", "video_0001.mp4"):
        (tmp_path / name).write_bytes(name.encode())
        session.saved = [*session.saved, tmp_path / name]
    session.number += 1
    page.until("Saved (2)", "document.querySelector('#saved summary').innerText")
    page.click("#saved summary")
    page.until(
        ["video_0001.mp4", "shot_0001.png"],
        "[...document.querySelectorAll('#saved-list a')].map(a => a.innerText)",
    )
    got = page.run(
        "fetch(document.querySelector('#saved-list a').href).then(answer => answer.text())"
    )
    assert got == "video_0001.mp4"
