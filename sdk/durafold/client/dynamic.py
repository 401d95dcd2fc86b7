"""Headers and query parameters that are worked out anew for every request."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import anyio

from durafold.errors import ConfigurationError, TransportError

__all__ = ["Headers", "Params", "Token", "Values", "is_dynamic", "note_refusal", "resolve"]

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


class Token:
    """A credential that is fetched when it is first needed, kept, and fetched anew when a server refuses it.

        stream = DurableStream(url, headers={"Authorization": Token(fetch_access_token)})

    However many requests wait for it, one fetch is under way: give the same object to all streams that share
    the credential. A request that was answered 401 is sent once more with the new one. A token belongs to one
    event loop.

    Args:
        fetch: an (async) function that returns the credential. What it raises counts as a failed attempt.
        scheme: word before it in the header's value; empty for none.
    """

    def __init__(
        self, fetch: Callable[[], str] | Callable[[], Awaitable[str]], *, scheme: str = "Bearer"
    ) -> None:
        self._fetch = fetch
        self._scheme = scheme
        self._value: str | None = None
        self._turn = anyio.Lock()

    async def __call__(self) -> str:
        """The header's value."""
        async with self._turn:
            if self._value is None:
                fetched = self._fetch()
                credential = await fetched if inspect.isawaitable(fetched) else fetched
                self._value = f"{self._scheme} {credential}".strip()
            return self._value

    def refuse(self, value: str) -> None:
        """A server refused this value. If it is the present one, the next call fetches another."""
        if value == self._value:
            self._value = None


def is_dynamic(values: Values | None) -> bool:
    """Whether evaluating them anew may give something else."""
    return callable(values) or any(callable(value) for value in (values or {}).values())


def note_refusal(values: Values | None, sent: Mapping[str, str]) -> None:
    """Tell every token among the headers that what was sent of it was refused."""
    for name, value in () if values is None or callable(values) else values.items():
        if isinstance(value, Token) and name in sent:
            value.refuse(sent[name])


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
