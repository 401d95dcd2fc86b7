"""Headers and parameters that are functions."""

from __future__ import annotations

from typing import Any

import pytest

from durafold.client.dynamic import Headers, resolve
from durafold.errors import ConfigurationError, TransportError

pytestmark = pytest.mark.anyio


async def later(value: Any) -> Any:
    return value


async def test_strings_functions_and_async_functions_may_be_mixed() -> None:
    headers: Headers = {"A": "1", "B": lambda: "2", "C": lambda: later("3")}

    assert await resolve(headers, what="header") == {"A": "1", "B": "2", "C": "3"}


@pytest.mark.parametrize("values", [lambda: {"A": lambda: "1"}, lambda: later({"A": "1"})])
async def test_the_whole_mapping_may_be_a_function(values: Any) -> None:
    assert await resolve(values, what="header") == {"A": "1"}


async def test_nothing_is_an_empty_mapping() -> None:
    assert await resolve(None, what="header") == {}


async def test_a_function_that_raises_is_a_failed_attempt_with_its_cause() -> None:
    def fetch_token() -> str:
        raise LookupError("token service is down")

    with pytest.raises(TransportError, match=r"'Authorization'.*token service is down") as caught:
        await resolve({"Authorization": fetch_token}, what="header")

    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "käse", "\x00"])
async def test_a_header_cannot_smuggle_other_headers_in(value: str) -> None:
    with pytest.raises(ConfigurationError, match="characters"):
        await resolve({"X": value}, what="header")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "käse"])
async def test_a_header_name_must_be_a_token(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name of a header"):
        await resolve({name: "x"}, what="header")


async def test_a_value_that_is_no_string_is_named() -> None:
    values: Any = {"n": 5}

    with pytest.raises(ConfigurationError, match="'n' must be a string, not int"):
        await resolve(values, what="query parameter")


async def test_query_parameters_may_hold_any_text() -> None:
    assert await resolve({"q": "käse & brot"}, what="query parameter") == {"q": "käse & brot"}
