"""`Shown`: what the users of a stream see, and who is told when it changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from durafold.client import Offset
from durafold.engine.definition import Definition
from durafold.engine.listeners import Listeners
from durafold.errors import ConfigurationError
from durafold.state.replica import Confirmed, Replica, new_replica

__all__ = ["Shown"]

S = TypeVar("S")


class Shown(Generic[S]):
    """The replica of a stream, and those who look at it.

    Whoever changes `replica` says so with `announce`, once the whole change is done.

    Args:
        definition: what the key means.
        hydrated: a state to start with.
        strict: check that nobody changes the value in place.
        report: is given what a listener raises.

    Attributes:
        definition: as given.
        replica: the present state of affairs.
        listeners: who is told of changes.
        lives: how often the stream was found to be another one than before.
    """

    def __init__(
        self,
        definition: Definition[S],
        hydrated: Confirmed[S] | None,
        *,
        strict: bool,
        report: Callable[[Exception], None],
    ) -> None:
        self.definition = definition
        self.replica: Replica[S] = new_replica(hydrated or Confirmed(definition.initial))
        self.listeners = Listeners(report)
        self.lives = 0
        self._strict = strict
        self._pristine: tuple[Any, Any] = (None, None)
        self._keep_pristine()

    @property
    def view(self) -> S:
        """What users see: pending over confirmed.

        Raises:
            ConfigurationError: strict mode found that somebody changed it in place.
        """
        if self._strict and self._pristine[1] != self.replica.view:
            raise ConfigurationError(
                f"The value of {self.definition.key!r} was changed in place",
                hint="Treat values as immutable: make a new one, and set or dispatch it",
            )
        return self.replica.view

    @property
    def confirmed(self) -> Confirmed[S]:
        """The fold of the stream."""
        return self.replica.confirmed

    @property
    def offset(self) -> Offset:
        """Where the next message will be."""
        return Offset(self.replica.confirmed.offset)

    def announce(self, before: Replica[S]) -> None:
        """Tell that the replica, or how the stream is doing, is not what it was before."""
        self._keep_pristine()
        self.listeners.notify(value=self.replica.version != before.version)

    async def read_upto(self, tail: Offset) -> None:
        """Wait until everything before the offset was folded, or the stream is another one."""
        life = self.lives
        while self.lives == life and self.offset < tail:  # offsets sort as strings (PROTOCOL §8)
            await self.listeners.changed()

    def _keep_pristine(self) -> None:
        if self._strict and self._pristine[0] is not self.replica.view:
            self._pristine = (self.replica.view, copy.deepcopy(self.replica.view))
