"""`Voices`: what one process says in a room, of everybody it speaks for. Rules only: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from durafold.presence.messages import GONE, HERE, Message, gone, here, who

__all__ = ["Voices"]

M = TypeVar("M")


class Voices(Generic[M]):
    """Who is here because this process says so, and what of it is still to be said.

    What was shown and then replaced before it was said is never said.

    Examples:
        >>> voices = Voices("ann")
        >>> voices.show("ann", "reading", "reading")
        >>> voices.show("ann", "writing", "writing")
        >>> voices.take()
        [{'type': 'here', 'meta': {'client': 'ann'}, 'payload': 'writing'}]
        >>> voices.take()
        []
        >>> voices.leave("ann"), voices.take()
        (True, [{'type': 'gone', 'meta': {'client': 'ann'}}])

    Args:
        asker: in whose name it is asked who is here.

    Attributes:
        people: what each shows; another object after every change.
    """

    def __init__(self, asker: str) -> None:
        self.people: Mapping[str, M] = MappingProxyType({})
        self._asker = asker
        self._payloads: dict[str, Any] = {}
        self._asks = False
        self._due: set[str] = set()
        self._gone: set[str] = set()

    def show(self, person: str, value: M, payload: Any) -> None:
        """Somebody shows something else from now on; `payload` is its JSON form."""
        self.people = MappingProxyType({**self.people, person: value})
        self._payloads[person] = payload
        self._due.add(person)
        self._gone.discard(person)

    def leave(self, person: str) -> bool:
        """Somebody leaves. Returns whether they showed anything."""
        if person not in self.people:
            return False
        self.people = MappingProxyType({who: shown for who, shown in self.people.items() if who != person})
        del self._payloads[person]
        self._gone.add(person)
        return True

    def ask(self) -> None:
        """Ask soon who is here."""
        self._asks = True

    def repeat(self) -> None:
        """Say again what everybody shows: somebody asked, or it is time."""
        self._due |= self._payloads.keys()

    def take(self) -> list[Message]:
        """What is to be said now."""
        asking = [who(self._asker)] if self._asks else []
        coming = [here(person, shown) for person, shown in self._payloads.items() if person in self._due]
        leaving = [gone(person) for person in sorted(self._gone)]
        self._asks, self._due, self._gone = False, set(), set()
        return [*asking, *coming, *leaving]

    def put_back(self, messages: Sequence[Message]) -> None:
        """These could not be said; the next `take` brings them again, as far as they still hold."""
        by_kind: dict[str, list[str]] = {}
        for message in messages:
            by_kind.setdefault(message["type"], []).append(message["meta"]["client"])
        self._due |= self._payloads.keys() & by_kind.pop(HERE, ())
        self._gone |= set(by_kind.pop(GONE, ())) - self._payloads.keys()
        self._asks = self._asks or bool(by_kind)
