"""What a check is, and the topics that checks belong to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from durafold_server.conformance.target import Server


class Level(StrEnum):
    """How binding a check is."""

    MUST = "MUST"
    """PROTOCOL says MUST, or names one answer to a condition and no other."""
    SHOULD = "SHOULD"
    """PROTOCOL or an RFC that it builds on recommends it."""
    QUALITY = "quality"
    """PROTOCOL does not ask for it, but users are harmed without it."""


CheckFunction = Callable[[Server], Awaitable[None]]
Probe = Callable[[Server], Awaitable[str | None]]
"""Says why the server does not offer a topic's feature, or None if it does."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a server does right or wrong.

    Attributes:
        name: unique; a sentence with underscores for spaces.
        topic: name of the topic it belongs to.
        section: where it comes from: a section of PROTOCOL, or of an RFC.
        level: how binding it is.
        function: does it; raises `Failure`, or `Skipped` if the server cannot be judged.
    """

    name: str
    topic: str
    section: str
    level: Level
    function: CheckFunction

    @property
    def title(self) -> str:
        """The name as a sentence."""
        return self.name.replace("_", " ")


Decorator = Callable[[CheckFunction], CheckFunction]


class Topic:
    """Checks of one section of PROTOCOL, which are in one file.

    Args:
        name: one word, to choose it by.
        number: of the section.
        title: for tables.
        probe: for a feature that servers may leave out.
        sleeps: whether its checks mostly wait for time to pass, so that all of them may run at once.
    """

    def __init__(
        self, name: str, number: str, title: str, *, probe: Probe | None = None, sleeps: bool = False
    ) -> None:
        self.name = name
        self.number = number
        self.title = title
        self.probe = probe
        self.sleeps = sleeps
        self.checks: list[Check] = []

    def must(self, section: str) -> Decorator:
        """Make a function a check of level MUST."""
        return self._add(section, Level.MUST)

    def should(self, section: str) -> Decorator:
        """Make a function a check of level SHOULD."""
        return self._add(section, Level.SHOULD)

    def quality(self, section: str) -> Decorator:
        """Make a function a check of what users need beyond PROTOCOL."""
        return self._add(section, Level.QUALITY)

    def _add(self, section: str, level: Level) -> Decorator:
        def decorate(function: CheckFunction) -> CheckFunction:
            self.checks.append(Check(function.__name__, self.name, section, level, function))
            return function

        return decorate
