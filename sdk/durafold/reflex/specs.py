"""What an app declares at import time: plain values that open nothing and know no tab."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from durafold.engine import Handle, Reading
from durafold.presence import Presence
from durafold.provider import Provider
from durafold.state.models import Model

__all__ = ["RoomSpec", "Spec", "StreamSpec"]

_PARAMETER: Final = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True)
class Spec:
    """Something declared that vars read, or one such thing for each value of its parameters.

    Attributes:
        key: what it is called; of a stream, its path below the server's URL. `[room]` in it stands for what
            the address of a tab's page has for `room`.
        open: brings the one of a key to life once there is a provider.
        identity: what makes two declarations of one key the same.
    """

    key: str
    open: Callable[[Provider, str], Reading[Any]]
    identity: tuple[object, ...]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the key."""
        return tuple(_PARAMETER.findall(self.key))

    def key_for(self, values: Mapping[str, object]) -> str | None:
        """The key of what a page with these parameters looks at; None if it looks at none.

        The values come from a browser, so they may be anything. What is no single segment of a path names no
        stream, lest it reach outside of the key's own place.
        """
        if not all(_is_segment(values.get(name)) for name in self.parameters):
            return None
        return _PARAMETER.sub(lambda found: str(values[found[1]]), self.key)


@dataclass(frozen=True)
class StreamSpec(Spec):
    """A durable state.

    Attributes:
        open: see `Spec`.
        initial: state before the first action, and what pages show until the app runs.
        model: how states travel as JSON.
    """

    open: Callable[[Provider, str], Handle[Any]]
    initial: Any
    model: Model


@dataclass(frozen=True)
class RoomSpec(Spec):
    """A room, where every tab is a person of its own.

    Attributes:
        open: looks on for the whole app, and shows nothing.
        join: takes a seat for one tab.
    """

    open: Callable[[Provider, str], Presence[Any]]
    join: Callable[[Provider, str], Presence[Any]]


def _is_segment(value: object) -> bool:
    return (
        isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and value.isprintable()
    )
