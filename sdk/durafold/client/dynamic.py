"""Headers and query parameters that are worked out anew for every request."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import anyio

from durafold.errors import ConfigurationError, TransportError
from durafold.wire.headers import check_header_name, check_header_value

__all__ = [
    "Headers",
    "Params",
    "Token",
    "Values",
    "check_fixed_headers",
    "is_dynamic",
    "note_refusal",
    "resolve",
]

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
        self._value: _Credential | None = None
        self._turn = anyio.Lock()

    async def __call__(self) -> str:
        """The header's value."""
        async with self._turn:
            if self._value is None:
                fetched = self._fetch()
                credential = await fetched if inspect.isawaitable(fetched) else fetched
                self._value = _Credential(f"{self._scheme} {credential}".strip())
                self._value.token = self
            return self._value

    def refuse(self, value: str) -> None:
        """A server refused this value. If it is the present one, the next call fetches another."""
        if value == self._value:
            self._value = None


class _Credential(str):
    """A string that knows the token it came from, wherever among the headers and parameters it is used.

    Attributes:
        token: it.
    """

    __slots__ = ("token",)
    token: Token


def is_dynamic(values: Values | None) -> bool:
    """Whether evaluating them anew may give something else."""
    return callable(values) or any(callable(value) for value in (values or {}).values())


def check_fixed_headers(headers: Headers | None) -> None:
    """Nothing, if HTTP allows the headers that are strings. What functions return is seen when it is sent.

    Raises:
        ConfigurationError: it does not; the value is not in the message.
    """
    for name, value in {} if headers is None or callable(headers) else headers.items():
        check_header_name(name)
        if not callable(value):
            check_header_value(value, f"The header {name!r}")


def note_refusal(sent: Iterable[str]) -> None:
    """Tell every token that its value, which is among these that were sent, was refused."""
    for value in sent:
        if isinstance(value, _Credential):
            value.token.refuse(value)


async def resolve(values: Values | None, *, what: str) -> dict[str, str]:
    """The strings that `values` stands for now.

    Args:
        values: as the user gave them.
        what: their name in messages: `header` or `query parameter`.

    Raises:
        ConfigurationError: something came out that is no mapping of strings.
        TransportError: a function raised. This counts as a failed attempt, since what it most often means is
            that a token could not be fetched.
    """
    if values is None:
        return {}
    mapping = await _called(values, what=f"the {what}s") if callable(values) else values
    if not isinstance(mapping, Mapping):
        raise ConfigurationError(f"The {what}s must be a mapping, not {type(mapping).__name__}")
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


def _checked(name: object, value: object, what: str) -> str:
    if not isinstance(name, str):
        raise ConfigurationError(f"The name of a {what} must be a string, not {type(name).__name__}")
    if not isinstance(value, str):
        raise ConfigurationError(f"The {what} {name!r} must be a string, not {type(value).__name__}")
    return value
