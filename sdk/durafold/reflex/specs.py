"""What an app declares at import time: plain values that open nothing and know no tab."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from durafold.atoms import AtomFamily
from durafold.engine import Handle, Reading
from durafold.errors import ConfigurationError
from durafold.presence import Presence
from durafold.provider import Provider
from durafold.state.models import Model

__all__ = ["DerivedSpec", "FamilySpec", "Parameters", "RoomSpec", "Spec", "StreamSpec"]

Parameters: TypeAlias = Mapping[str, object]
"""What fills in the parameters of a key. From a browser mostly, so values may be anything."""

_PARAMETER: Final = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True)
class Spec:
    """Something declared that vars read, or one such thing for each value of its parameters.

    Attributes:
        key: what it is called; of a stream, its path below the server's URL. `[room]` in it stands for the
            parameter `room`, which the address of a tab's page fills in, or the app.
        open: brings the one of a key to life once there is a provider; is given the parameters, too.
        identity: what makes two declarations of one key the same.
    """

    key: str
    open: Callable[[Provider, str, Parameters], Reading[Any]]
    identity: tuple[object, ...]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the key."""
        return tuple(_PARAMETER.findall(self.key))

    def key_for(self, values: Parameters) -> str | None:
        """The key of what a page with these parameters looks at; None if it looks at none.

        What is no single segment of a path names no stream, lest it reach outside of the key's own place.
        """
        if not all(_is_segment(values.get(name)) for name in self.parameters):
            return None
        return self._filled({name: str(values[name]) for name in self.parameters})

    def _filled(self, values: Mapping[str, str]) -> str | None:
        return _PARAMETER.sub(lambda found: values.get(found[1], found[0]), self.key)


@dataclass(frozen=True)
class StreamSpec(Spec):
    """A durable state.

    Attributes:
        open: see `Spec`.
        initial: state before the first action, and what pages show until the app runs.
        model: how states travel as JSON.
    """

    open: Callable[[Provider, str, Parameters], Handle[Any]]
    initial: Any
    model: Model


@dataclass(frozen=True)
class RoomSpec(Spec):
    """A room, where every tab is a person of its own.

    Attributes:
        open: looks on for the whole app, and shows nothing.
        join: takes a seat for one tab.
    """

    open: Callable[[Provider, str, Parameters], Presence[Any]]
    join: Callable[[Provider, str], Presence[Any]]


@dataclass(frozen=True)
class FamilySpec(StreamSpec):
    """The members of an atom family, of which a parameter says which is meant.

    Attributes:
        family: knows their keys.
        parameter: its name.
    """

    family: AtomFamily[Any, Any]
    parameter: str

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return (self.parameter,)

    def _filled(self, values: Mapping[str, str]) -> str | None:
        try:
            return self.family(values[self.parameter]).key
        except ConfigurationError:  # no stream can have this key
            return None


@dataclass(frozen=True)
class DerivedSpec(Spec):
    """A computed value. Its key is not that of a stream, and whatever is in it is no parameter."""

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return ()


def _is_segment(value: object) -> bool:
    """Names that begin with `__` are the SDK's and the server's own, such as `__presence__`."""
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and "/" not in value
        and not value.startswith("__")
        and value.isprintable()
    )
