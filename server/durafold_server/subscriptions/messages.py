"""The JSON of the subscription API: request bodies → values, values → response and notification bodies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from durafold_server.protocol.model import Value
from durafold_server.protocol.offsets import ZERO
from durafold_server.protocol.requests import parse_path
from durafold_server.subscriptions.errors import InvalidSubscription, SubscriptionError
from durafold_server.subscriptions.patterns import Pattern
from durafold_server.subscriptions.values import (
    DEFAULT_LEASE_MS,
    MAX_LEASE_MS,
    MIN_LEASE_MS,
    Config,
    Kind,
    Link,
    LinkType,
    Status,
    Subscription,
    Target,
)

MAX_NAME_LENGTH: Final = 256
"""Longest subscription id and worker name, in characters."""

_MAX_DESCRIPTION_LENGTH: Final = 4096

_Path = Annotated[str, msgspec.Meta(min_length=1)]
_Generation = Annotated[int, msgspec.Meta(ge=0)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]

B = TypeVar("B")


class WebhookBody(Value, frozen=True):
    """Where notifications go."""

    url: str


class CreateBody(Value, frozen=True):
    """PUT of a subscription (PROTOCOL §6.2)."""

    type: Kind
    pattern: str | None = None
    streams: list[_Path] | None = None
    webhook: WebhookBody | None = None
    wake_stream: str | None = None
    lease_ttl_ms: Annotated[int, msgspec.Meta(ge=MIN_LEASE_MS, le=MAX_LEASE_MS)] = DEFAULT_LEASE_MS
    description: Annotated[str, msgspec.Meta(max_length=_MAX_DESCRIPTION_LENGTH)] | None = None


class StreamsBody(Value, frozen=True):
    """POST of explicit streams (PROTOCOL §6.4)."""

    streams: list[_Path]


class ClaimBody(Value, frozen=True):
    """POST of a claim (PROTOCOL §7.2)."""

    worker: _Name


class AckItem(Value, frozen=True):
    """One acknowledged offset."""

    stream: _Path
    offset: str


class AckBody(Value, frozen=True):
    """POST of a callback, an acknowledgement or a release (PROTOCOL §7.1, §7.2)."""

    wake_id: str
    generation: _Generation
    acks: tuple[AckItem, ...] = ()
    done: bool = False


class StreamView(Value, frozen=True):
    """A link as subscriptions show it (PROTOCOL §6.3)."""

    path: str
    link_type: LinkType
    acked_offset: str


class PendingView(Value, frozen=True):
    """A link as wakes and claims show it (PROTOCOL §7.1)."""

    path: str
    link_type: LinkType
    acked_offset: str
    tail_offset: str
    has_pending: bool


class SigningView(Value, frozen=True):
    """How notifications are signed (PROTOCOL §6.3)."""

    alg: Literal["ed25519"]
    kid: str
    jwks_url: str


class WebhookView(Value, frozen=True, omit_defaults=True):
    """The webhook of a subscription; never a secret."""

    url: str
    signing: SigningView | None = None


class SubscriptionView(Value, frozen=True):
    """A subscription (PROTOCOL §6.3)."""

    id: str
    subscription_id: str
    type: Kind
    pattern: str | None
    streams: Sequence[StreamView]
    webhook: WebhookView | None
    wake_stream: str | None
    lease_ttl_ms: int
    created_at: str
    status: Status
    description: str | None


class ClaimView(Value, frozen=True):
    """A successful claim (PROTOCOL §7.2)."""

    wake_id: str
    generation: int
    token: str
    streams: Sequence[PendingView]
    lease_ttl_ms: int


class Notification(Value, frozen=True):
    """What is sent to a webhook (PROTOCOL §7.1)."""

    subscription_id: str
    wake_id: str
    generation: int
    streams: Sequence[PendingView]
    callback_url: str
    callback_token: str


class WakeEvent(Value, frozen=True, tag_field="type", tag="wake"):
    """What is appended to a wake stream (PROTOCOL §7.2); `ts` in milliseconds since 1970."""

    subscription_id: str
    stream: str
    generation: int
    ts: int


def decode(body: bytes, kind: type[B]) -> B:
    """A request body.

    Raises:
        InvalidSubscription: it is no JSON of this form; the message says where.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidSubscription(f"The body is not what is expected here: {exc}.") from exc


def config_of(body: CreateBody) -> Config:
    """The configuration that a request asks for, in normal form. The webhook's URL is not checked yet.

    Raises:
        InvalidSubscription: something that its type requires is missing.
        ProtocolError: a path cannot be a stream's (see `parse_path`).
    """
    pattern = Pattern(_relative(body.pattern)) if body.pattern else None
    streams = tuple(sorted(set(paths_of(body.streams or ()))))
    if pattern is None and not streams:
        raise InvalidSubscription("A subscription needs a pattern, or streams, or both.")
    url = wake_stream = None
    if body.type == "webhook":
        if body.webhook is None:
            raise InvalidSubscription("A webhook subscription needs webhook.url.")
        url = body.webhook.url
    else:
        if not body.wake_stream:
            raise InvalidSubscription("A pull-wake subscription needs wake_stream.")
        wake_stream = _path(body.wake_stream)
    return Config(
        kind=body.type,
        pattern=pattern.text if pattern is not None else None,
        streams=streams,
        webhook_url=url,
        wake_stream=wake_stream,
        lease_ttl_ms=body.lease_ttl_ms,
        description=body.description,
    )


def paths_of(texts: Iterable[str]) -> list[str]:
    """Stream paths of a body in canonical form.

    Raises:
        ProtocolError: one cannot be a stream's (see `parse_path`).
    """
    return [_path(text) for text in texts]


def acks_of(body: AckBody) -> dict[str, str]:
    """Acknowledged offsets by path. Of several for one stream the last one in the stream counts.

    Raises:
        ProtocolError: a path cannot be a stream's (see `parse_path`).
    """
    acks: dict[str, str] = {}
    for item in body.acks:
        path = _path(item.stream)
        acks[path] = max(item.offset, acks.get(path, ""))
    return acks


def is_done(body: bytes) -> bool:
    """Whether a webhook's answer says that the work is done (PROTOCOL §7.1). Anything else does not."""
    try:
        return msgspec.json.decode(body, type=_Done).done
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def view(
    subscription: Subscription, status: Status, links: Iterable[Link], signing: SigningView | None
) -> SubscriptionView:
    """A subscription as clients see it, its streams in order of path."""
    config = subscription.config
    in_order = sorted(links, key=lambda link: link.path)
    webhook = WebhookView(config.webhook_url, signing) if config.webhook_url is not None else None
    return SubscriptionView(
        id=subscription.id,
        subscription_id=subscription.id,
        type=config.kind,
        pattern=config.pattern,
        streams=[StreamView(link.path, link.link_type, _acked_offset(link)) for link in in_order],
        webhook=webhook,
        wake_stream=config.wake_stream,
        lease_ttl_ms=config.lease_ttl_ms,
        created_at=_iso(subscription.created_us),
        status=status,
        description=config.description,
    )


def pending_now(links: Iterable[Link]) -> list[PendingView]:
    """Links with their tails as they are."""
    return [_pending_view(link, link.stream.tail if link.stream is not None else 0) for link in links]


def pending_at_wake(links: Iterable[Link], snapshot: Iterable[Target]) -> list[PendingView]:
    """Links with their tails as a wake found them: those that it does not name had nothing pending."""
    tails = {target.stream_id: target.tail for target in snapshot}
    return [
        _pending_view(link, tails.get(link.stream.id, 0) if link.stream is not None else 0) for link in links
    ]


def error(exc: SubscriptionError) -> bytes:
    """The body of an error."""
    return msgspec.json.encode({"error": {"code": exc.code, "message": exc.message, **exc.details}})


class _Done(Value, frozen=True):
    done: bool = False


def _pending_view(link: Link, tail: int) -> PendingView:
    """A link with this tail, or with none beyond what is acknowledged."""
    acked = link.cursor.acked if link.cursor is not None else 0
    return PendingView(
        link.path,
        link.link_type,
        _acked_offset(link),
        link.stream.offset(max(acked, tail)) if link.stream is not None else ZERO,
        has_pending=tail > acked,
    )


def _acked_offset(link: Link) -> str:
    if link.stream is None or link.cursor is None:
        return ZERO
    return link.stream.offset(link.cursor.acked)


def _path(text: str) -> str:
    return parse_path(_relative(text))


def _relative(text: str) -> str:
    """Paths are relative to the stream root (PROTOCOL §6); a slash before them means the same."""
    return text.lstrip("/")


def _iso(time_us: int) -> str:
    moment = datetime.fromtimestamp(time_us / 1_000_000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
