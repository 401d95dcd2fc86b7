"""`Window`: the demo's page in a headless Chromium, in the page's own words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from support.waiting import PATIENCE_S

__all__ = ["SCREENSHOTS", "Row", "Window", "new_browser", "require_chromium", "show_as"]

SCREENSHOTS: Final = Path(__file__).parents[2] / "test-output" / "browser"

# Chromium asks for a lot by itself, and on a closed network each of those requests would be in its console.
_SWITCHES: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def require_chromium() -> None:
    """Skip the calling test without Chromium and its driver; CI takes that for a failure (see conftest)."""
    missing = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    if missing:
        pytest.skip(
            f"THE DEMO WAS NOT TESTED IN A BROWSER: {' and '.join(missing)} not found. "
            "Run: apt-get install chromium chromium-driver"
        )


def new_browser() -> Chrome:
    """A headless Chromium with a profile of its own, whose console is kept."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in _SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options, Service(shutil.which("chromedriver")))


def show_as(browser: Chrome, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
    """Give the page a size in CSS pixels, and have the system ask for dark pages or not."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@dataclass(frozen=True, slots=True)
class Row:
    """A todo as the page shows it."""

    text: str
    done: bool = False
    unsaved: bool = False


class Window:
    """One browser with a profile of its own, on the demo's page; a context manager.

    Args:
        app_url: address of the demo.
        width: width of the page in CSS pixels.
        height: its height.
        dark: whether the system asks for dark pages.
    """

    def __init__(self, app_url: str, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        self._app_url = app_url
        self._browser = new_browser()
        show_as(self._browser, width=width, height=height, dark=dark)

    def __enter__(self) -> Self:
        self._browser.get(self._app_url)
        self.wait_until_loaded()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._browser.quit()

    @property
    def count(self) -> str:
        """The counter's text; empty while the page waits for it."""
        return self._one(".count").text

    @property
    def status(self) -> str:
        """What the connection badge says, such as `Live`."""
        return self._one("[role=status]").text

    @property
    def todos(self) -> list[Row]:
        """The rows of the list."""
        return [
            Row(
                row.find_element(By.TAG_NAME, "label").text,
                done=row.find_element(By.CSS_SELECTOR, "[role=checkbox]").get_attribute("aria-checked")
                == "true",
                unsaved=row.get_attribute("data-unsaved") == "true",
            )
            for row in self._browser.find_elements(By.CSS_SELECTOR, ".todos li:not([aria-hidden])")
        ]

    @property
    def overflow_px(self) -> int:
        """By how much the page is wider than the window."""
        script = "return document.documentElement.scrollWidth - window.innerWidth"
        return max(0, int(self._browser.execute_script(script)))

    def press(self, label: str) -> None:
        """Click a button by its label, such as `Increase`."""
        self._one(f"button[aria-label='{label}']").click()

    def add(self, text: str) -> None:
        """Type a todo and press Enter."""
        self._one("input[name=text]").send_keys(text + Keys.ENTER)

    def toggle(self, text: str) -> None:
        """Click the text of a todo."""
        self._browser.find_element(By.XPATH, f"//li//label[contains(., '{text}')]").click()

    def remove(self, text: str) -> None:
        """Click a todo's remove button."""
        self.press(f"Remove {text}")

    def reload(self) -> None:
        """Reload the page and wait for its content."""
        self._browser.refresh()
        self.wait_until_loaded()

    def wait_until_loaded(self) -> None:
        """Wait until the placeholders are gone."""
        self.wait_for(lambda: self.count != "")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; fails with what the page shows after a minute."""
        transient = (NoSuchElementException, StaleElementReferenceException)
        WebDriverWait(self._browser, PATIENCE_S, 0.05, transient).until(
            lambda _: condition(), f"the page shows: {self._one('body').text!r}"
        )

    def screenshot(self, name: str) -> None:
        """Save what the window shows as `test-output/browser/<name>.png`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def errors(self) -> list[str]:
        """Errors in the console since this was last asked."""
        return [entry["message"] for entry in self._browser.get_log("browser") if entry["level"] == "SEVERE"]

    def _one(self, selector: str) -> WebElement:
        return self._browser.find_element(By.CSS_SELECTOR, selector)
