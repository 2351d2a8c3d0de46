"""Pages in a real browser: Chromium without a window, as Debian has it."""

import base64
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSER, DRIVER = "chromium", "chromedriver"
QUIET = (  # as root, and so that it asks nobody for anything by itself
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
)
MISSING = f"needs {BROWSER} and {DRIVER}: apt-get install chromium chromium-driver"


def is_installed() -> bool:
    return bool(shutil.which(BROWSER) and shutil.which(DRIVER))


@dataclass(frozen=True)
class Visit:
    """What came of a look at a page.

    Attributes:
        seconds: From the beginning of the navigation until all was drawn.
        requests: Addresses that were asked for, the page's own left out.
        complaints: What the console says.
    """

    seconds: float
    requests: list[str]
    complaints: list[str]


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start a browser with an empty profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(BROWSER) or BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for word in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(word)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which(DRIVER) or DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def visit(driver: webdriver.Chrome, page: Path) -> Visit:
    """Open a file, wait until it is drawn, and give what came of it."""
    driver.get("about:blank")  # a new browser's own first page is still loading
    _said(driver, "browser")
    _said(driver, "performance")
    address, begin = page.resolve().as_uri(), time.perf_counter()
    driver.get(address)
    drawn = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](0)))"
    driver.execute_async_script(drawn)
    seconds = time.perf_counter() - begin
    events = [json.loads(entry["message"])["message"] for entry in _said(driver, "performance")]
    asked = [e["params"]["request"]["url"] for e in events if _is_request(e)]
    return Visit(
        seconds,
        [url for url in asked if url not in (address, "about:blank") and url[:5] != "data:"],
        [str(entry["message"]) for entry in _said(driver, "browser")],
    )


def look(driver: webdriver.Chrome, width: int, *, dark: bool, out: Path | None = None) -> int:
    """Set width and colours; gives how much wider the page is than its window [pixels]."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})
    if out is not None:
        out.write_bytes(screenshot(driver))
    wider: Any = driver.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return int(wider)


def screenshot(driver: webdriver.Chrome) -> bytes:
    """Give the whole page as a PNG."""
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    return base64.b64decode(taken["data"])


def _is_request(event: dict[str, Any]) -> bool:
    return bool(event["method"] == "Network.requestWillBeSent")


def _said(driver: webdriver.Chrome, log: str) -> list[dict[str, Any]]:
    """Give what a log has come to since it was read last."""
    return list(driver.get_log(log))  # type: ignore[no-untyped-call]
