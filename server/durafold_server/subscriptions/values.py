"""The values that subscriptions are made of. All are immutable; times are milliseconds since 1970 (`_ms`)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from durafold_server.protocol.model import StreamState, Value

Kind: TypeAlias = Literal["webhook", "pull-wake"]
LinkType: TypeAlias = Literal["explicit", "glob"]
Status: TypeAlias = Literal["active", "failed"]

MIN_LEASE_MS: Final = 1_000
MAX_LEASE_MS: Final = 600_000
DEFAULT_LEASE_MS: Final = 30_000


class Config(Value, frozen=True):
    """What a client asked for, in normal form: equal requests have equal configurations (PROTOCOL §6.2).

    Attributes:
        kind: how workers are woken.
        pattern: glob over stream paths.
        streams: explicit stream paths, canonical, sorted, each once.
        webhook_url: where notifications go; None for pull-wake.
        wake_stream: path of the stream that takes wake events; None for webhooks.
        lease_ttl_ms: how long a worker holds a wake without a sign of life.
        description: for people.
    """

    kind: Kind
    pattern: str | None
    streams: tuple[str, ...]
    webhook_url: str | None
    wake_stream: str | None
    lease_ttl_ms: int
    description: str | None


class Cursor(Value, frozen=True):
    """How far a subscription has come in one incarnation of a stream: all bytes before `acked` are done.

    Attributes:
        stream_id: the incarnation; a path that is deleted and created anew gets another one.
        acked: position after the last byte acknowledged.
    """

    stream_id: int
    acked: int


class Link(Value, frozen=True):
    """One stream of a subscription.

    Attributes:
        path: canonical path of the stream.
        explicit: named by the client.
        glob: matched by the pattern.
        cursor: None while there is no such stream.
        stream: as last seen; None while there is none, or none was seen yet.
        recorded: the store holds a record of it.
    """

    path: str
    explicit: bool
    glob: bool
    cursor: Cursor | None = None
    stream: StreamState | None = None
    recorded: bool = False

    @property
    def has_pending(self) -> bool:
        """Whether the stream holds data that was not acknowledged."""
        return self.stream is not None and self.cursor is not None and self.stream.tail > self.cursor.acked

    @property
    def link_type(self) -> LinkType:
        """PROTOCOL §6.1: explicit takes precedence."""
        return "explicit" if self.explicit else "glob"


class Target(Value, frozen=True):
    """A stream with pending data as one wake names it: up to `tail`, and no further."""

    path: str
    stream_id: int
    tail: int


class Wake(Value, frozen=True):
    """A wake in flight.

    Attributes:
        wake_id: unique among all wakes ever.
        snapshot: what was pending when it was issued. A webhook that answers `done` acknowledges exactly
            this, however often it was sent; of a pull-wake only the stream that its event names is kept.
        told: the webhook has accepted it, or its event is in the wake stream, or it was claimed.
        holder: the worker that claimed it (pull-wake).
        lease_until_ms: until when somebody is taken to work on it; None: nobody does.
    """

    wake_id: str
    snapshot: tuple[Target, ...]
    told: bool = False
    holder: str | None = None
    lease_until_ms: int | None = None


class Delivery(Value, frozen=True):
    """How far waking the workers of one subscription has come.

    Attributes:
        generation: number of the latest wake; grows with every wake (PROTOCOL §7.3).
        wake: the wake in flight; None: the subscription is idle.
        failures: delivery attempts that failed since the last that did not.
        next_attempt_at_ms: no attempt before this time; None: no attempt has failed lately.
    """

    generation: int = 0
    wake: Wake | None = None
    failures: int = 0
    next_attempt_at_ms: int | None = None

    @property
    def status(self) -> Status:
        """PROTOCOL §6.3: `failed` while a retry is scheduled."""
        return "failed" if self.wake is not None and self.next_attempt_at_ms is not None else "active"


class Subscription(Value, frozen=True):
    """What hardly ever changes of a subscription.

    Attributes:
        id: chosen by the client.
        uid: unique to this incarnation of the id, so that nothing of a deleted one comes back.
        config: what was asked for.
        created_us: when, by the store's clock; streams with a greater id are younger.
        base_url: URL of the stream root as the client knows it; callbacks come back through it.
    """

    id: str
    uid: str
    config: Config
    created_us: int
    base_url: str
