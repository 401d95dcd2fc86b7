"""`InspectorPage`: the inspector in a headless Chromium, in the page's own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from support.waiting import PATIENCE_S
from support.windows import SCREENSHOTS, new_browser, show_as

__all__ = ["InspectorPage"]


class InspectorPage:
    """One browser on the inspector of a server; a context manager.

    Args:
        stream_root: URL of the server's streams.
        downloads: directory that exported files go to.
    """

    def __init__(self, stream_root: str, downloads: Path) -> None:
        self._url = stream_root.removesuffix("/v1/stream") + "/_ui/"
        self._browser = new_browser()
        behavior = {"behavior": "allow", "downloadPath": str(downloads)}
        self._browser.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
        show_as(self._browser)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._browser.quit()

    # Going somewhere

    @contextmanager
    def turned_to(self, stream_root: str) -> Iterator[None]:
        """Be on the inspector of another server for a while."""
        before, self._url = self._url, stream_root.removesuffix("/v1/stream") + "/_ui/"
        yield
        self._browser.get("about:blank")
        self._url = before

    def open(self, place: str = "") -> None:
        """Load the page anew at a place such as `#/stream/demo?tab=state`."""
        self._browser.get("about:blank")
        self._browser.get(self._url + place)

    def open_stream(self, path: str, query: str = "") -> None:
        """Show a stream, and wait until its messages are there."""
        place = f"#/stream/{path}{query}"
        if self._browser.current_url.startswith(self._url):
            self.run(
                "document.querySelectorAll('dialog').forEach((dialog) => dialog.close());"
                f"location.hash = {place!r}"
            )
        else:
            self.open(place)
        self.wait_for(lambda: self.title.replace(" / ", "/") == path)
        self.wait_for(lambda: self.status in ("Live", "Complete"))

    def show_as(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Give the page a size in CSS pixels, and have the system ask for dark pages or not."""
        show_as(self._browser, width=width, height=height, dark=dark)

    # What it shows

    @property
    def place(self) -> str:
        """The address behind `#`."""
        return self._browser.current_url.partition("#")[2]

    @property
    def title(self) -> str:
        """Name of the stream that is shown."""
        return self.one("h1.stream-title").text

    @property
    def badges(self) -> list[str]:
        """What stands beside the name."""
        return [badge.text for badge in self.all(".badge")]

    @property
    def status(self) -> str:
        """Whether the stream is read, such as `Live`."""
        return self.one(".status").text

    @property
    def streams(self) -> list[str]:
        """Names in the list of streams, without folders."""
        return [name.text for name in self.all(".tree-name:not(.folder)")]

    @property
    def sizes(self) -> dict[str, str]:
        """Sizes in the list of streams, by name without folders."""
        script = """return Object.fromEntries([...document.querySelectorAll(".tree-row:not([aria-expanded])")]
            .map((row) => [row.querySelector(".tree-name"), row.querySelector(".count")])
            .map(([name, size]) => [name.textContent, size?.textContent ?? ""]))"""
        return dict(self.run(script))

    @property
    def found(self) -> str:
        """How many messages there are, or match the filter."""
        return self.one(".found").text

    @property
    def messages(self) -> list[str]:
        """Texts of the rows that exist, from the top."""
        script = """return [...document.querySelectorAll(".messages .row")]
            .sort((a, b) => a.dataset.index - b.dataset.index)
            .map((row) => row.querySelector(".c-text").lastChild
                ? [...row.querySelector(".c-text").childNodes].filter((part) => part.className !== "kind")
                    .map((part) => part.textContent).join("") : "")"""
        return list(self.run(script))

    @property
    def selected(self) -> str:
        """Number of the message that is shown beside the list, empty without one."""
        heads = [head.text for head in self.all(".detail:not([hidden]) h3")]
        return heads[0].removeprefix("Message ") if heads else ""

    @property
    def state(self) -> str:
        """The folded state, as the tree shows it."""
        return self.one(".state-body").text

    @property
    def step(self) -> str:
        """Place of time travel, such as `3 of 5`."""
        return self.one(".where").text

    @property
    def overflow_px(self) -> int:
        """By how much the page is wider than the window."""
        return max(0, int(self.run("return document.documentElement.scrollWidth - window.innerWidth")))

    def text(self, selector: str) -> str:
        """Text of the one element."""
        return self.one(selector).text

    def style(self, selector: str, name: str) -> str:
        """A computed style."""
        return self.one(selector).value_of_css_property(name)

    # What a person does

    def press(self, label: str) -> None:
        """Click a button by what it is called, or says."""
        path = f"//button[@aria-label=\"{label}\" or normalize-space(.)='{label}']"
        self.wait_for(lambda: self._click(path))

    def _click(self, path: str) -> bool:
        visible = [button for button in self._browser.find_elements(By.XPATH, path) if button.is_displayed()]
        visible[-1].click()
        return True

    def keys(self, *keys: str) -> None:
        """Press keys anywhere on the page."""
        for key in keys:
            self._browser.find_element(By.TAG_NAME, "body").send_keys(key)

    def fill(self, selector: str, text: str) -> None:
        """Write into a field, in place of what it holds."""
        self.wait_for(lambda: self.one(selector).is_displayed())
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def write(self, text: str) -> None:
        """Append with the composer."""
        self.one(".composer textarea").send_keys(text, Keys.ENTER)

    def slide_to(self, step: int) -> None:
        """Drag the slider of time travel."""
        self.run(
            "const slider = document.querySelector('.slider input');"
            f"slider.value = {step}; slider.dispatchEvent(new Event('input'))"
        )

    # Plumbing

    def one(self, selector: str) -> WebElement:
        """The first element that matches."""
        return self._browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements that match."""
        return self._browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str) -> Any:
        """Run JavaScript in the page."""
        return self._browser.execute_script(script)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; fails with what the page shows after a minute."""
        transient = (
            ElementNotInteractableException,
            IndexError,
            NoSuchElementException,
            StaleElementReferenceException,
        )
        WebDriverWait(self._browser, PATIENCE_S, 0.05, transient).until(
            lambda _: condition(), f"the page shows: {self.one('body').text!r}"
        )

    def screenshot(self, name: str) -> None:
        """Save what the page shows as `test-output/browser/<name>.png`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def errors(self) -> list[str]:
        """Errors in the console since this was last asked."""
        return [entry["message"] for entry in self._browser.get_log("browser") if entry["level"] == "SEVERE"]
