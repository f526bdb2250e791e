"""A page in a real browser: headless Chromium through its driver."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from helpers.waiting import LONG

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # it is small in containers
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
    # A webcam that shows a moving pattern, and nobody who would have to allow it.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def open_browser(profile: Path) -> Iterator[Any]:
    """A Chromium, closed at the end; where there is none the test is skipped, or fails."""
    reason = "needs selenium, chromium and chromedriver (Debian: chromium chromium-driver)"
    paths = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        paths = (None, None)
    if None in paths:
        if os.environ.get("DEEPVIS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"a browser is required here: {reason}", pytrace=False)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
    yield browser
    browser.quit()


class BrowserPage:
    """A page as a reader has it: keys, clicks, and what can be seen."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def load(self, address: str) -> None:
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # of what was before
        self.driver.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *arguments)

    def until(self, expected: Any, script: str, *arguments: Any) -> None:
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.wait import WebDriverWait

        try:
            WebDriverWait(self.driver, LONG, 0.05).until(
                lambda _: self.run(script, *arguments) == expected
            )
        except TimeoutException:
            assert self.run(script, *arguments) == expected  # shows both

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def click(self, css: str) -> None:
        self.driver.find_element("css selector", css).click()

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = (json.loads(e["message"])["message"] for e in self.driver.get_log("performance"))
        return [
            unquote(event["params"]["request"]["url"])
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
