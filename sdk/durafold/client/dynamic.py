"""Headers and query parameters that are worked out anew for every request."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from durafold.errors import ConfigurationError, TransportError

__all__ = ["Headers", "Params", "resolve"]

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Value: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
Values: TypeAlias = (
    Mapping[str, Value] | Callable[[], Mapping[str, Value]] | Callable[[], Awaitable[Mapping[str, Value]]]
)

Headers: TypeAlias = Values
"""Request headers: a mapping whose values are strings or (async) functions that return one, or an (async)
function that returns such a mapping. Every request evaluates them anew, retries and reconnects included, so
that a token can change while a stream is followed."""

Params: TypeAlias = Values
"""Query parameters, in the same forms as `Headers`."""


async def resolve(values: Values | None, *, what: str) -> dict[str, str]:
    """The strings that `values` stands for now.

    Args:
        values: as the user gave them.
        what: their name in messages: `header` or `query parameter`.

    Raises:
        ConfigurationError: something that is no string came out, or a string that no header can hold.
        TransportError: a function raised. This counts as a failed attempt, since what it most often means is
            that a token could not be fetched.
    """
    if values is None:
        return {}
    mapping = await _called(values, what=f"the {what}s") if callable(values) else values
    return {
        name: _checked(name, await _called(value, what=f"the {what} {name!r}"), what)
        for name, value in mapping.items()
    }


async def _called(value: Any, *, what: str) -> Any:
    if not callable(value):
        return value
    try:
        result = value()
        return await result if inspect.isawaitable(result) else result
    except Exception as exc:
        raise TransportError(f"The function for {what} raised {type(exc).__name__}: {exc}") from exc


def _checked(name: str, value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"The {what} {name!r} must be a string, not {type(value).__name__}")
    if what == "header" and not _HEADER_NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a header")
    if what == "header" and not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"The header {name!r} has characters that HTTP does not allow")
    return value
