"""The guestbook as a browser without JavaScript sees it, and as its script goes on."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from support.examples import EXAMPLES, web_app
from support.ports import free_port

APP: Final = EXAMPLES / "ssr_starlette" / "app.py"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[httpx.Client]:
    port = free_port()
    with (
        web_app(APP, tmp_path, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True) as client,
    ):
        yield client


def sign(browser: httpx.Client, name: str, text: str) -> httpx.Response:
    return browser.post("/sign", data={"name": name, "text": text})


def fetched(page: httpx.Response) -> str:
    return fact(page, "fetched")


def fact(page: httpx.Response, name: str) -> str:
    found = re.search(rf'<dd id="{name}">(\d+)</dd>', page.text)
    assert found
    return found[1]


def resume(page: httpx.Response) -> dict[str, str]:
    found = re.search(r'<script type="application/json" id="resume">(.*?)</script>', page.text)
    assert found
    where: dict[str, str] = json.loads(found[1])
    return where


def test_the_first_html_holds_what_was_signed(browser: httpx.Client) -> None:
    page = sign(browser, "Ada", "first <line>")

    assert page.status_code == 200
    assert "<strong>Ada</strong><span>first &lt;line&gt;</span>" in page.text
    assert fact(page, "count") == "1"


def test_a_page_load_fetches_all_then_nothing_then_only_what_is_new(browser: httpx.Client) -> None:
    assert fetched(browser.get("/")) == "0"
    sign(browser, "Ada", "one")  # renders the page as well
    assert fetched(browser.get("/")) == "0"

    stream = resume(browser.get("/"))["stream"]
    entries = [{"type": "sign", "name": "Grace", "text": f"line {number}"} for number in range(3)]
    httpx.post(stream, json=entries)

    assert fetched(browser.get("/")) == "3"
    assert fetched(browser.get("/")) == "0"
    assert fact(browser.get("/"), "count") == "4"


def test_what_is_no_entry_is_refused_with_the_page_and_the_reason(browser: httpx.Client) -> None:
    answer = sign(browser, "Ada", "   ")

    assert answer.status_code == 422
    assert "at least 1 character" in answer.text
    assert fact(answer, "count") == "0"


def test_the_stream_goes_on_where_the_html_ends(browser: httpx.Client) -> None:
    where = resume(sign(browser, "Ada", "one"))
    sign(browser, "Grace", "two")

    rest = httpx.get(where["stream"], params={"offset": where["offset"]})

    assert [message["payload"]["text"] for message in rest.json()] == ["two"]


@pytest.mark.crash
def test_entries_outlive_the_program(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with web_app(APP, tmp_path, port) as process:
        httpx.post(f"{address}/sign", data={"name": "Ada", "text": "one"})
        process.end(signal.SIGKILL)

    with web_app(APP, tmp_path, port):
        page = httpx.get(f"{address}/")

    assert fact(page, "count") == "1"
    assert fetched(page) == "0"  # the wait for its first answer has loaded it
