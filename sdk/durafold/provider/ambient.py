"""Which provider the code around a call is in: what hooks use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, TypeAlias

from durafold.errors import ConfigurationError

if TYPE_CHECKING:
    from durafold.provider.core import Provider

__all__ = ["Entry", "ambient_provider", "enter", "leave", "use_provider"]

Entry: TypeAlias = "Token[Provider | None]"
"""What `enter` gives, for `leave`."""

_ambient: ContextVar[Provider | None] = ContextVar("durafold_provider", default=None)


def ambient_provider() -> Provider:
    """The provider that the code around the caller is in: the innermost `async with Provider`, or what
    `use_provider` was given.

    Raises:
        ConfigurationError: there is none.
    """
    provider = _ambient.get()
    if provider is None:
        raise ConfigurationError(
            "There is no provider around this call",
            hint="Call it inside `async with Provider(url):`, or `with use_provider(party):` where the code"
            " runs in another task, such as a request handler",
        )
    return provider


@contextmanager
def use_provider(provider: Provider) -> Iterator[Provider]:
    """Make a provider the one that hooks use, in this block and in tasks that are started from it.

    Examples:
        >>> other = Provider(url)
        >>> async with other:
        ...     with use_provider(party):
        ...         use_server_state(0, "ambient")[0]
        0
    """
    token = _ambient.set(provider)
    try:
        yield provider
    finally:
        _ambient.reset(token)


def enter(provider: Provider) -> Entry:
    """A provider's own block begins."""
    return _ambient.set(provider)


def leave(entry: Entry) -> None:
    """A provider's own block ends."""
    try:
        _ambient.reset(entry)
    except ValueError:
        # Left in another context than entered, as some test fixtures do: there is nothing to restore.
        _ambient.set(None)
