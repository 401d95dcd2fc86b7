"""The inspector in a real browser: every function once, as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("selenium", reason="THE INSPECTOR WAS NOT TESTED IN A BROWSER: pip install selenium")

from selenium.webdriver import Keys

from durafold.testing import ServerProcess
from support.inspector_page import InspectorPage
from support.windows import require_chromium

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("inspector")]

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_chromium()
    return tmp_path_factory.mktemp("inspector")


@pytest.fixture(scope="module")
def streams(directory: Path) -> Iterator[ServerProcess]:
    """A server that can fold todos."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        with ServerProcess(options=["--reducers", "support.todos:todo_reducer"]) as server:
            yield server


@pytest.fixture(scope="module")
def browser(streams: ServerProcess, directory: Path) -> Iterator[InspectorPage]:
    with InspectorPage(streams.url, directory) as page:
        yield page


@pytest.fixture
def page(browser: InspectorPage) -> Iterator[InspectorPage]:
    """The page, whose console must hold no error in the end."""
    browser.show_as()
    yield browser
    assert browser.errors() == []


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name of a stream that no other test uses."""
    return f"tests/{request.node.name.removeprefix('test_')[:40]}"


def make(streams: ServerProcess, name: str, *messages: Any, **headers: str) -> str:
    """A JSON stream with these messages; its URL."""
    url = f"{streams.url}/{name}"
    more = {key.replace("_", "-"): value for key, value in headers.items()}
    httpx.put(url, headers={**JSON, **more}, content=json.dumps(messages)).raise_for_status()
    return url


def append(url: str, *messages: Any) -> None:
    httpx.post(url, headers=JSON, content=json.dumps(messages)).raise_for_status()


def read(url: str) -> Any:
    return httpx.get(url).json()


def size_of(page: InspectorPage, name: str) -> str | None:
    """Size of a stream in the list, which must be high enough to show it."""
    return page.sizes.get(name.removeprefix("tests/"))


def action(payload: Any, n: int, kind: str = "action") -> dict[str, Any]:
    """A message as the SDK sends it."""
    return {
        "type": kind,
        "payload": payload,
        "meta": {"id": f"k3f9:{n}", "v": 1, "ts": 1_700_000_000_000 + n, "by": "nadia"},
    }


# Streams


def test_a_stream_is_created_with_type_and_ttl(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    page.open()

    page.press("New stream (n)")
    page.fill("dialog [name=path]", name)
    page.fill("dialog [name=type]", "text/plain")
    page.fill("dialog [name=ttl]", "3600")
    page.press("Create")

    page.wait_for(lambda: page.status == "Live")
    head = httpx.head(f"{streams.url}/{name}")
    assert (head.headers["content-type"], head.headers["stream-ttl"]) == ("text/plain", "3600")
    assert page.badges == ["text/plain", "TTL 60 min"]


def test_a_refused_creation_says_why_and_keeps_the_form(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name)
    page.open()

    page.press("New stream (n)")
    page.fill("dialog [name=path]", name)
    page.fill("dialog [name=ttl]", "60")
    page.press("Create")

    page.wait_for(lambda: page.text("dialog .problem") != "")
    assert [error for error in page.errors() if "409" not in error] == []


def test_a_stream_is_found_by_search_and_opened(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, 1)
    page.open()

    page.keys("/")
    page.one(".search input").send_keys(name, Keys.ENTER)
    page.wait_for(lambda: page.status == "Live")

    assert page.title == name.replace("/", " / ")


def test_a_stream_is_closed_after_a_question(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    url = make(streams, name, 1)
    page.open_stream(name)

    page.press("Close the stream")
    page.press("Close it")

    page.wait_for(lambda: page.status == "Complete")
    assert httpx.head(url).headers["stream-closed"] == "true"
    assert not page.one(".composer textarea").is_enabled()


def test_a_stream_is_deleted_once_its_name_is_written(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, 1)
    page.open_stream(name)

    page.press("Delete the stream")
    page.fill("dialog [name=confirm]", "something else")
    page.press("Delete it")
    page.wait_for(lambda: "That is not" in page.text("dialog .problem"))
    assert httpx.head(url).status_code == 200
    page.fill("dialog [name=confirm]", name)
    page.press("Delete it")

    page.wait_for(lambda: page.place == "/")
    assert httpx.head(url).status_code == 404


# Writing


def test_enter_appends_and_the_arrow_fetches_it_again(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name)
    page.open_stream(name)

    page.write('{"text": "milk"}')
    page.wait_for(lambda: page.messages == ['{"text": "milk"}'])
    page.wait_for(lambda: page.one(".composer textarea").get_attribute("value") == "")
    page.one(".composer textarea").send_keys(Keys.ARROW_UP, Keys.ENTER)

    page.wait_for(lambda: len(page.messages) == 2)
    assert read(url) == [{"text": "milk"}, {"text": "milk"}]


def test_shift_and_enter_make_a_new_line(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    url = make(streams, name)
    page.open_stream(name)

    page.one(".composer textarea").send_keys("[1,", Keys.SHIFT + Keys.ENTER + Keys.NULL, "2]", Keys.ENTER)

    page.wait_for(lambda: page.messages == ["1", "2"])
    assert read(url) == [1, 2]


def test_what_was_begun_for_one_stream_is_not_sent_to_another(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, f"{name}-a")
    url = make(streams, f"{name}-b")
    page.open_stream(f"{name}-a")
    page.write("{begun")
    page.open_stream(f"{name}-b")

    page.write("1")

    page.wait_for(lambda: page.messages == ["1"])
    assert read(url) == [1]
    page.open_stream(f"{name}-a")
    assert page.one(".composer textarea").get_attribute("value") == "{begun"


def test_what_is_no_json_is_not_sent(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    url = make(streams, name)
    page.open_stream(name)

    page.write("{milk}")

    page.wait_for(lambda: page.text(".composer .problem").startswith("This is not JSON"))
    assert read(url) == []


# Reading


def test_what_is_appended_elsewhere_appears(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    url = make(streams, name, "first")
    page.open_stream(name)

    append(url, "second")

    page.wait_for(lambda: page.messages == ['"first"', '"second"'])


def test_the_list_tells_the_size_of_a_stream_that_grows(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    page.show_as(height=2400)
    url = make(streams, name, "x" * 997)
    page.open_stream(name)
    page.wait_for(lambda: size_of(page, name) == "1.0 kB")

    append(url, "x" * 1997)

    page.wait_for(lambda: size_of(page, name) == "3.0 kB")


def test_a_paused_page_stands_still_until_it_is_resumed(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, 1)
    page.open_stream(name)

    page.keys("p")
    page.wait_for(lambda: page.status == "Paused")
    append(url, 2)
    assert page.messages == ["1"]
    page.keys("p")

    page.wait_for(lambda: page.messages == ["1", "2"])
    page.wait_for(lambda: page.status == "Live")


def test_of_many_messages_only_the_visible_rows_exist_and_the_end_is_followed(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, *range(5000))
    page.open_stream(name)
    page.wait_for(lambda: page.found == "5,000 messages" and page.messages[-1] == "4999")

    append(url, "last")

    page.wait_for(lambda: page.messages[-1] == '"last"')
    assert len(page.messages) < 60


def test_scrolling_up_ends_following_and_f_takes_it_up_again(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, *range(300))
    page.open_stream(name)
    page.wait_for(lambda: page.messages[-1] == "299" and page.status == "Live")

    page.keys(Keys.HOME)
    page.wait_for(lambda: page.messages[0] == "0")
    append(url, "more")
    page.wait_for(lambda: page.found == "301 messages")
    assert page.messages[0] == "0"
    page.keys("f")

    page.wait_for(lambda: page.messages[-1] == '"more"')


def test_offset_time_and_producer_have_columns(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, action({"type": "add"}, 1), "plain")
    page.open_stream(name)
    page.wait_for(lambda: len(page.messages) == 2)

    texts = [[cell.text for cell in page.all(f".message .{kind}")] for kind in ("c-offset", "c-producer")]

    assert texts == [["0", str(len(json.dumps(action({"type": "add"}, 1))) + 1)], ["nadia", ""]]
    assert page.text(".message .c-time").startswith("2023-11-14")
    assert page.run(
        "const cell = document.querySelector('.message .c-time'); return cell.scrollWidth <= cell.clientWidth"
    )


def test_a_message_is_shown_as_tree_raw_text_and_bytes(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, {"name": "Åse", "big": 9007199254740993})
    page.open_stream(name)
    page.keys("j")
    page.wait_for(lambda: page.selected == "1")

    shown = {}
    for form in ("Tree", "Raw", "Text", "Hex"):
        page.press(form)
        shown[form] = page.text(".detail-body")

    assert shown["Tree"].splitlines()[1:] == ['name: "Åse"', "big: 9007199254740993"]
    assert shown["Raw"] == json.dumps({"name": "Åse", "big": 9007199254740993})
    assert shown["Text"] == "Åse"
    assert shown["Hex"].startswith("00000000")
    assert "7b 22 6e 61 6d 65 22 3a" in shown["Hex"]


def test_data_never_becomes_markup(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    make(streams, name, {evil: evil, "type": evil, "meta": {"id": evil, "by": evil}})
    page.open_stream(name)
    page.keys("j")
    page.wait_for(lambda: page.selected == "1")
    page.press("Raw")

    assert evil in json.loads(page.text(".detail-body"))
    assert page.all("main img, main script") == []
    assert page.run("return document.title") == f"{name} · durafold"


def test_text_is_shown_by_lines_and_bytes_as_hexadecimal(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    httpx.put(
        f"{streams.url}/{name}-t", headers={"Content-Type": "text/plain"}, content="één\ntwee\n".encode()
    )
    httpx.put(f"{streams.url}/{name}-b", content=bytes(range(20)))

    page.open_stream(f"{name}-t")
    page.wait_for(lambda: page.messages == ["één", "twee"])
    page.open_stream(f"{name}-b")

    page.wait_for(lambda: len(page.messages) == 2)
    assert page.text(".hex-digits").startswith("00 01 02 03 04 05 06 07  08 09 0a")


# Finding


def test_places_are_reached_by_number_and_by_offset(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, *range(400))
    offset = httpx.head(url).headers["stream-next-offset"]
    append(url, "here", *range(400))
    page.open_stream(name)
    page.wait_for(lambda: page.found == "801 messages")

    page.fill("input.go", f"7{Keys.ENTER}")
    page.wait_for(lambda: page.selected == "7")
    page.fill("input.go", f"{offset}{Keys.ENTER}")

    page.wait_for(lambda: page.selected == "401")
    assert page.text(".detail .facts dd") == offset


def test_the_last_messages_are_read_alone_and_the_rest_when_asked(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, *range(100))
    page.open_stream(name)
    page.wait_for(lambda: page.found == "100 messages")

    page.fill("input.go", f"last 5{Keys.ENTER}")
    page.wait_for(lambda: page.messages == ["95", "96", "97", "98", "99"])
    page.one(".messages .banner button").click()

    page.wait_for(lambda: page.found == "100 messages")


def test_messages_are_filtered_by_words_and_by_parts(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, {"type": "add", "n": 1}, {"type": "remove", "n": 1}, {"type": "add", "n": 2})
    page.open_stream(name)

    page.fill(".messages [type=search]", "REMOVE")
    page.wait_for(lambda: page.found == "1 of 3")
    page.fill(".messages [type=search]", "type=add n!=2")
    page.wait_for(lambda: page.found == "1 of 3" and page.messages == ['{"type": "add", "n": 1}'])
    append(url, {"type": "add", "n": 3})

    page.wait_for(lambda: page.found == "2 of 4")


def test_keys_move_through_messages_and_the_help_lists_them(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, 1, 2, 3)
    page.open_stream(name)
    page.wait_for(lambda: len(page.messages) == 3)

    page.keys("j", "j", "k", "j")
    page.wait_for(lambda: page.selected == "2")
    page.keys(Keys.ESCAPE)
    page.wait_for(lambda: page.selected == "")
    page.keys("?")

    page.wait_for(lambda: "search streams" in page.text("dialog.keys"))


def test_a_link_leads_to_the_message_that_was_selected(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, *range(50))
    page.open_stream(name)
    page.fill("input.go", f"20{Keys.ENTER}")
    page.wait_for(lambda: "offset=" in page.place)
    place = page.place

    page.open(f"#{place}")

    page.wait_for(lambda: page.selected == "20")


# Taking along


def test_messages_are_exported_one_a_line(
    page: InspectorPage, streams: ServerProcess, name: str, directory: Path
) -> None:
    make(streams, name, {"a": 1}, [2, {"b": 9007199254740993}])
    page.open_stream(name)
    page.wait_for(lambda: len(page.messages) == 2)

    page.keys("e")

    file = directory / f"{name.replace('/', '-')}.ndjson"
    page.wait_for(file.exists)
    assert file.read_text() == '{"a": 1}\n[2, {"b": 9007199254740993}]\n'


def test_the_stream_can_be_read_elsewhere_with_what_the_page_writes_down(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, 1)
    page.open_stream(name)

    page.keys("c")

    page.wait_for(lambda: len(page.all("dialog pre")) == 3)
    curl, command, program = (text.text for text in page.all("dialog pre"))
    assert curl == f"curl -N '{url}?offset=-1&live=sse'"
    assert command.startswith(f"durafold read '{url}' --offset '-1'")
    compile(program, "program", "exec")


def test_details_hold_the_servers_headers(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    url = make(streams, name, 1, Stream_TTL="60")
    page.open_stream(name, "?tab=details")

    page.wait_for(lambda: "stream-ttl" in page.text(".headers"))

    assert httpx.head(url).headers["stream-next-offset"] in page.text(".facts.wide")


def test_details_keep_to_the_end_of_a_stream_that_grows(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = make(streams, name, 1)
    page.open_stream(name, "?tab=details")

    append(url, 2)

    end = httpx.head(url).headers["stream-next-offset"]
    page.wait_for(lambda: end in page.text(".facts.wide"))
    page.wait_for(lambda: end in page.text(".headers"))


# Time travel


def cart(streams: ServerProcess, name: str) -> str:
    """A shared value with a change that did not fit."""
    return make(
        streams,
        name,
        action({"items": [], "total": 0}, 1, "set"),
        action(["append", "tent", ["items"]], 2, "op"),
        action(["increment", 1, ["items"]], 3, "op"),
        action(["increment", 90, ["total"]], 4, "op"),
    )


def test_the_state_is_shown_at_any_step_with_what_changed(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    cart(streams, name)
    page.open_stream(name, "?tab=state")
    page.wait_for(lambda: page.step == "4 of 4" and "total: 90" in page.state)
    assert page.text(".changes") == "/total\n0\n90"

    page.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    page.wait_for(lambda: page.step == "2 of 4" and "total: 0" in page.state)
    assert page.text(".changes") == '/items/0\n"tent"'
    page.slide_to(0)

    page.wait_for(lambda: page.state == "null")


def test_a_shared_value_begins_with_what_its_first_operation_needs_or_with_what_is_written(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, action(["increment", 1], 1, "op"), action(["increment", 2], 2, "op"))
    page.open_stream(name, "?tab=state")
    page.wait_for(lambda: page.state == "3")
    assert page.one(".begin input").get_property("value") == "0"

    page.one(".begin input").send_keys(Keys.HOME, "1", Keys.ENTER)
    page.wait_for(lambda: page.state == "13")
    page.open(f"#{page.place}")

    page.wait_for(lambda: page.state == "13")
    assert page.all(".mark") == []


def test_a_beginning_that_is_no_json_is_not_gone_by(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    make(streams, name, action(["append", "tent"], 1, "op"))
    page.open_stream(name, "?tab=state&initial=[")

    page.wait_for(lambda: page.state == '[ 1 ]\n0: "tent"')
    assert page.one(".begin input").get_property("value") == "[]"


def test_a_step_that_was_not_applied_is_marked_and_says_why(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    cart(streams, name)
    page.open_stream(name, "?tab=state&step=1")
    page.wait_for(lambda: page.step == "1 of 4")
    page.wait_for(lambda: len(page.all(".mark.rejected")) == 1)

    page.one(".faults button").click()

    page.wait_for(lambda: page.step == "3 of 4")
    page.wait_for(lambda: page.text(".verdict") == "rejected by the reducer")
    assert "cannot be incremented" in page.text(".state-message .problem")


def test_playing_goes_on_to_the_end(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    cart(streams, name)
    page.open_stream(name, "?tab=state&step=2")
    page.wait_for(lambda: page.step == "2 of 4")

    page.press("Play")

    page.wait_for(lambda: page.step == "4 of 4")


def test_state_protocol_streams_are_recognised(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    insert = {"type": "user", "key": "1", "value": {"name": "Ada"}, "headers": {"operation": "insert"}}
    make(streams, name, insert, {"type": "user", "key": "1", "headers": {"operation": "delete"}})
    page.open_stream(name, "?tab=state&step=1")

    page.wait_for(lambda: 'name: "Ada"' in page.state)
    page.keys(Keys.ARROW_RIGHT)

    page.wait_for(lambda: page.text(".change.removed .change-path") == "/user/1")


def test_a_reducer_of_the_server_folds_too(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    make(streams, name, action({"type": "add", "text": "milk"}, 1), action({"type": "break"}, 2))
    page.open_stream(name, "?tab=state&reducer=support.todos:todo_reducer")

    page.wait_for(lambda: 'text: "milk"' in page.state)
    page.wait_for(lambda: page.text(".verdict") == "the reducer failed")

    assert page.text(".state-message .problem") == "ZeroDivisionError: a bug in the reducer"


def test_actions_whose_reducer_the_server_does_not_know_say_how_to_name_it(
    page: InspectorPage, name: str
) -> None:
    with ServerProcess() as server, page.turned_to(server.url):
        make(server, name, action({"type": "add", "text": "milk"}, 1))

        page.open_stream(name, "?tab=state")

        page.wait_for(lambda: "durafold serve --reducers module:name" in page.text(".travel .banner"))


def test_the_state_grows_with_the_stream(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    url = cart(streams, name)
    page.open_stream(name, "?tab=state")
    page.wait_for(lambda: page.step == "4 of 4")

    append(url, action(["put", ["paid"], True], 5, "op"))

    page.wait_for(lambda: page.step == "5 of 5" and "paid: true" in page.state)


def test_a_fork_begins_at_the_step_that_is_shown(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    url = cart(streams, name)
    page.open_stream(name, "?tab=state&step=2")
    page.wait_for(lambda: page.step == "2 of 4")

    page.press("Fork the stream at this point")
    page.fill("dialog [name=path]", f"{name}-fork")
    page.press("Fork")

    page.wait_for(lambda: page.title.endswith("-fork") and page.status == "Live")
    assert read(f"{url}-fork") == read(url)[:2]
    assert f"fork of {name}" in page.badges


# The server


def test_charts_show_what_the_server_does(page: InspectorPage, streams: ServerProcess, name: str) -> None:
    make(streams, name, 1)
    page.open()

    page.wait_for(lambda: len(page.all(".chart")) >= 2)

    assert [title.text for title in page.all(".chart-title")][:2] == ["Appends", "Live readers"]


def test_the_overview_tells_the_size_of_a_stream_that_grows(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    page.show_as(height=2400)
    url = make(streams, name, "x" * 997)
    page.open()
    page.wait_for(lambda: size_of(page, name) == "1.0 kB")
    page.wait_for(lambda: len(page.all(".chart")) >= 2)

    append(url, "x" * 1997)

    page.wait_for(lambda: size_of(page, name) == "3.0 kB")


def test_where_a_token_is_wanted_the_page_asks_for_one(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    with ServerProcess(options=["--token", "s3cr3t=admin"]) as server, page.turned_to(server.url):
        headers = {**JSON, "Authorization": "Bearer s3cr3t"}
        httpx.put(f"{server.url}/{name}", headers=headers, content=b'["secret"]').raise_for_status()
        page.open(f"#/stream/{name}")

        page.fill("dialog.token input", f"s3cr3t{Keys.ENTER}")

        page.wait_for(lambda: page.messages == ['"secret"'])
        page.wait_for(lambda: page.status == "Live")
        page.write('"more"')
        page.wait_for(lambda: page.messages == ['"secret"', '"more"'])
        assert [error for error in page.errors() if "401" not in error] == []


# Appearance


def test_the_theme_is_chosen_with_a_key_and_remembered(page: InspectorPage) -> None:
    page.open()
    light = page.style("body", "background-color")

    page.keys("t", "t")
    dark = page.style("body", "background-color")
    page.open()

    assert dark != light
    assert page.style("body", "background-color") == dark
    page.keys("t")
    assert page.style("body", "background-color") == light


def test_the_page_looks_right_in_every_size_and_scheme(
    page: InspectorPage, streams: ServerProcess, name: str
) -> None:
    """For the eye: the pictures are in test-output/browser."""
    cart(streams, name)
    page.open_stream(name)
    page.keys("j", "j")
    page.wait_for(lambda: page.selected == "2")
    page.screenshot("inspector-desktop-light")

    page.show_as(dark=True)
    page.keys("2")
    page.wait_for(lambda: "total" in page.state)
    page.screenshot("inspector-desktop-dark")

    page.show_as(width=390, height=844, dark=True)
    page.screenshot("inspector-phone-dark")
    assert page.overflow_px == 0

    page.show_as(width=390, height=844)
    page.keys("1")
    page.screenshot("inspector-phone-light")
    assert page.overflow_px == 0
