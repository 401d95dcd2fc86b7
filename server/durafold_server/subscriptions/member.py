"""One subscription in memory: what the store has of it, its links, and who is busy with it."""

from __future__ import annotations

import asyncio

from durafold_server.subscriptions.links import Links
from durafold_server.subscriptions.values import Config, Delivery, Subscription


class Member:
    """One subscription.

    Attributes:
        subscription: what was asked for.
        delivery: the state of its wakes. The store has it too, or will before anybody is told of it.
        links: its streams.
        lock: held by whoever changes the subscription. Links also move with their streams, without it.
        ready: its creation is durable; until then nobody finds it, and no wake is issued.
        removed: it was deleted, or its creation failed.
        attempting: id of the wake that a running task tells of.
        queued: a task that brings it up to date waits for its turn.
        timer: brings it up to date when something is due.
        paused_until_s: by the loop's clock; the store has failed, so nothing is begun before this time.
    """

    __slots__ = (
        "attempting",
        "delivery",
        "links",
        "lock",
        "paused_until_s",
        "queued",
        "ready",
        "removed",
        "subscription",
        "timer",
    )

    def __init__(self, subscription: Subscription, delivery: Delivery, links: Links) -> None:
        self.subscription = subscription
        self.delivery = delivery
        self.links = links
        self.lock = asyncio.Lock()
        self.ready = False
        self.removed = False
        self.attempting: str | None = None
        self.queued = False
        self.timer: asyncio.TimerHandle | None = None
        self.paused_until_s = 0.0

    @property
    def id(self) -> str:
        """Chosen by the client."""
        return self.subscription.id

    @property
    def uid(self) -> str:
        """Unique to this incarnation of the id."""
        return self.subscription.uid

    @property
    def config(self) -> Config:
        """What was asked for."""
        return self.subscription.config

    def disarm(self) -> None:
        """Cancel the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
