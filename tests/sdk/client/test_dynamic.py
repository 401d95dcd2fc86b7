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


async def test_a_value_that_is_no_string_is_named() -> None:
    values: Any = {"n": 5}

    with pytest.raises(ConfigurationError, match="'n' must be a string, not int"):
        await resolve(values, what="query parameter")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({5: "s3cret"}, "name of a header must be a string, not int"),
        ([("A", "s3cret")], "headers must be a mapping, not list"),
        (lambda: "s3cret", "headers must be a mapping, not str"),
    ],
)
async def test_what_is_no_mapping_of_names_is_told_without_its_values(values: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        await resolve(values, what="header")

    assert "s3cret" not in str(caught.value)


async def test_query_parameters_may_hold_any_text() -> None:
    assert await resolve({"q": "käse & brot"}, what="query parameter") == {"q": "käse & brot"}
