"""`Page`: any page in a headless Chromium, by CSS selectors; `windows.Window` knows the demo's page."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from support.waiting import PATIENCE_S
from support.windows import SCREENSHOTS, new_browser, show_as

__all__ = ["Page"]


class Page:
    """One browser with a profile of its own; a context manager.

    Args:
        address: of the page.
        width: width of the page in CSS pixels.
        height: its height.
        dark: whether the system asks for dark pages.
    """

    def __init__(self, address: str, *, width: int = 1000, height: int = 700, dark: bool = False) -> None:
        self._address = address
        self._browser = new_browser()
        show_as(self._browser, width=width, height=height, dark=dark)

    def __enter__(self) -> Self:
        self._browser.get(self._address)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._browser.quit()

    @property
    def focused(self) -> WebElement:
        """The element that keys go to."""
        return self._browser.switch_to.active_element

    def one(self, selector: str) -> WebElement:
        """The first element of a selector."""
        return self._browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements of a selector."""
        return self._browser.find_elements(By.CSS_SELECTOR, selector)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; fails with what the page shows after a minute."""
        transient = (NoSuchElementException, StaleElementReferenceException, IndexError)
        WebDriverWait(self._browser, PATIENCE_S, 0.05, transient).until(
            lambda _: condition(), f"the page shows: {self.one('body').text!r}"
        )

    def press_at(self, element: WebElement, *moves: tuple[int, int]) -> None:
        """Press the mouse button in the middle of an element, and move by some steps."""
        pointer = ActionChains(self._browser, duration=0).click_and_hold(element)
        for dx, dy in moves:
            pointer.move_by_offset(dx, dy)
        pointer.perform()

    def release(self) -> None:
        """Let the mouse button go."""
        ActionChains(self._browser).release().perform()

    def swipe(self, element: WebElement, *, down_px: int) -> None:
        """Put a finger on an element, move it down and lift it."""
        box = element.rect
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self._touch("touchStart", x, y)
        for step in range(1, 5):
            self._touch("touchMove", x, y + down_px * step / 4)
        self._browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def reload(self) -> None:
        """Reload the page."""
        self._browser.refresh()

    def screenshot(self, name: str) -> None:
        """Save what the window shows as `test-output/browser/<name>.png`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self._browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def errors(self) -> list[str]:
        """Errors in the console since this was last asked."""
        return [entry["message"] for entry in self._browser.get_log("browser") if entry["level"] == "SEVERE"]

    def _touch(self, kind: str, x: float, y: float) -> None:
        points = [{"x": x, "y": y}]
        self._browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
