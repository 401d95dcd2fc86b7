"""Tells workers of a wake: a notification to a webhook, or an event in a wake stream (PROTOCOL §7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from durafold_server.clock import Clock
from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.model import Mode
from durafold_server.protocol.requests import parse_append
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure
from durafold_server.subscriptions import messages, tokens
from durafold_server.subscriptions.links import Links
from durafold_server.subscriptions.messages import Notification, WakeEvent
from durafold_server.subscriptions.signing import Signer
from durafold_server.subscriptions.values import Kind, Subscription, Wake

MAX_STREAMS: Final = 1000
"""Streams that one wake or claim names at most; those that wait longest come first."""

MAX_ANSWER_S: Final = 30.0
"""How long a webhook may take to answer. Longer work answers at once and calls back."""


class Answer(NamedTuple):
    """What a webhook answered. The body may be cut."""

    status: int
    body: bytes


class DeliveryFailed(Exception):
    """Nobody was told, or so it seems. The message says why, for the log."""


class Sender(Protocol):
    """Sends one notification."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> Answer:
        """Send a POST request.

        Raises:
            DeliveryFailed: no whole answer came within the time.
        """
        ...

    async def aclose(self) -> None:
        """Let go of threads."""
        ...


class Courier:
    """Composes and delivers what a wake says.

    Args:
        service: for appends to wake streams.
        token_secret: what callback tokens are signed with.
        clock: microseconds since 1970.
        sender: reaches webhooks; None: webhooks are off.
        signer: signs notifications; None: webhooks are off.
    """

    def __init__(
        self,
        service: StreamService,
        *,
        token_secret: bytes,
        clock: Clock,
        sender: Sender | None,
        signer: Signer | None,
    ) -> None:
        self._service = service
        self._token_secret = token_secret
        self._clock = clock
        self._sender = sender
        self._signer = signer

    def reaches(self, kind: Kind) -> bool:
        """Whether workers of this kind can be told at all."""
        return kind == "pull-wake" or self._sender is not None

    def compose(self, subscription: Subscription, generation: int, wake: Wake, links: Links) -> bytes:
        """The body that tells of a wake; the same wake always names the same work."""
        if subscription.config.kind == "pull-wake":
            named = wake.snapshot[0].path
            return msgspec.json.encode(WakeEvent(subscription.id, named, generation, self._clock() // 1000))
        return msgspec.json.encode(
            Notification(
                subscription_id=subscription.id,
                wake_id=wake.wake_id,
                generation=generation,
                streams=messages.pending_at_wake(links.in_order(MAX_STREAMS), wake.snapshot),
                callback_url=_callback_url(subscription),
                callback_token=tokens.for_wake(
                    self._token_secret, subscription.id, generation, wake.wake_id, self._now_s()
                ),
            )
        )

    async def deliver(self, subscription: Subscription, body: bytes) -> bool:
        """Tell of a wake; whether the work is done already.

        Raises:
            DeliveryFailed: nobody was told, or so it seems; the message says why.
        """
        config = subscription.config
        if config.wake_stream is not None:
            await self._announce(config.wake_stream, body)
            return False
        return await self._notify(config.webhook_url or "", body, config.lease_ttl_ms / 1000)

    async def aclose(self) -> None:
        """Let go of what reaches webhooks."""
        if self._sender is not None:
            await self._sender.aclose()

    async def _notify(self, url: str, body: bytes, lease_ttl_s: float) -> bool:
        if self._sender is None or self._signer is None:
            raise DeliveryFailed("webhooks are off")
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "durafold",
            "Webhook-Signature": self._signer.header(body, self._now_s()),
        }
        answer = await self._sender.post(url, headers, body, timeout_s=min(lease_ttl_s, MAX_ANSWER_S))
        if not 200 <= answer.status < 300:
            raise DeliveryFailed(f"it answered {answer.status}")
        return messages.is_done(answer.body)

    async def _announce(self, path: str, event: bytes) -> None:
        try:
            stream = await self._service.head(path)
            # Streams that are not JSON get one event a line.
            body = event if stream.mode is Mode.JSON else event + b"\n"
            await self._service.append(parse_append(path, {"content-type": stream.content_type}, body))
        except (ProtocolError, StoreFailure) as exc:
            raise DeliveryFailed(f"wake stream {path}: {exc}") from exc

    def _now_s(self) -> int:
        return self._clock() // 1_000_000


def _callback_url(subscription: Subscription) -> str:
    return f"{subscription.base_url}/__ds/subscriptions/{quote(subscription.id, safe='')}/callback"
