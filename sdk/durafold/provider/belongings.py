"""What others bring to a provider: things to open on it, and things that end with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from durafold.provider.core import Provider

__all__ = ["Attached", "Openable"]

H_co = TypeVar("H_co", covariant=True)


class Openable(Protocol[H_co]):
    """Something declared that a provider can bring to life: an atom, a derived value."""

    def open_on(self, provider: Provider, /) -> H_co:
        """What users hold of it on this provider."""
        ...


class Attached(Protocol):
    """Something alive that belongs to a provider and ends with it."""

    def stop(self) -> None:
        """End at once; called by the provider, perhaps more than once."""
