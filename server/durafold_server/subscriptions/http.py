"""Routes below `__ds`: subscriptions and the webhook key set (PROTOCOL §6, §7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from durafold_server.clock import Clock
from durafold_server.config import ServiceSettings
from durafold_server.protocol import caching
from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.requests import RESERVED_SEGMENT
from durafold_server.protocol.responses import HeaderList, Reply
from durafold_server.service import StreamService
from durafold_server.subscriptions import messages
from durafold_server.subscriptions.addresses import check_url
from durafold_server.subscriptions.courier import Courier
from durafold_server.subscriptions.errors import (
    InvalidSubscription,
    RouteNotAllowed,
    RouteNotFound,
    SubscriptionError,
    TokenInvalid,
    WebhookRejected,
)
from durafold_server.subscriptions.manager import SubscriptionManager
from durafold_server.subscriptions.messages import (
    MAX_NAME_LENGTH,
    AckBody,
    ClaimBody,
    CreateBody,
    SigningView,
    StreamsBody,
)
from durafold_server.subscriptions.records import Records
from durafold_server.subscriptions.signing import Signer
from durafold_server.subscriptions.values import Kind

_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", caching.NO_STORE.encode())
_JWK_SET: Final = [(b"content-type", b"application/jwk-set+json"), (b"cache-control", b"public, max-age=300")]


class ControlRequest(NamedTuple):
    """A request below `__ds`.

    Attributes:
        method: of HTTP.
        path: what follows the stream root, `__ds` included, percent-encoded as the client wrote it.
        headers: by lower-case name.
        body: the whole body.
        base_url: URL of the stream root as the client knows it.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str


class _Route(NamedTuple):
    """What a path names: a kind of resource, the subscription, the stream."""

    resource: str
    name: str = ""
    stream: str = ""


_ALLOWED: Final = {
    "keys": "GET",
    "subscription": "PUT, GET, DELETE",
    "streams": "POST",
    "stream": "DELETE",
    "callback": "POST",
    "claim": "POST",
    "ack": "POST",
    "release": "POST",
}
"""Resources, and the methods they have."""


class ControlApi:
    """Answers requests below `__ds`. Make it with `open`; `await aclose()` in the end."""

    def __init__(
        self, manager: SubscriptionManager, settings: ServiceSettings, signer: Signer | None
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._signer = signer

    @classmethod
    async def open(cls, service: StreamService, clock: Clock) -> ControlApi:
        """Take up the subscriptions of a service's store.

        Raises:
            StoreFailure: they cannot be read.
            SigningUnavailable: webhooks are on, but their extra is not installed.
        """
        records = Records(service.store)
        token_secret = await records.token_secret()
        signer = sender = None
        if service.settings.webhooks != "off":
            from durafold_server.subscriptions.delivery import HttpSender

            signer = Signer(await records.signing_seed())
            sender = HttpSender(service.settings.webhooks)
        courier = Courier(service, token_secret=token_secret, clock=clock, sender=sender, signer=signer)
        manager = SubscriptionManager(service, records, courier, token_secret=token_secret, clock=clock)
        await manager.start()
        return cls(manager, service.settings, signer)

    def stop(self) -> None:
        """End all deliveries now; they go on after the next start."""
        self._manager.stop()

    async def aclose(self) -> None:
        """Stop, and let go of everything but the store."""
        await self._manager.aclose()

    async def handle(self, request: ControlRequest) -> Reply:
        """The answer to a request; errors are JSON here.

        Raises:
            StoreFailure: the store cannot do it.
        """
        try:
            return await self._answer(request, _parse_route(request.path))
        except SubscriptionError as error:
            return _refused(error)
        except ProtocolError as error:
            return _refused(InvalidSubscription(error.message))

    async def _answer(self, request: ControlRequest, route: _Route) -> Reply:
        name = route.name
        match route.resource, "GET" if request.method == "HEAD" else request.method:
            case "keys", "GET":
                return self._keys()
            case "subscription", "PUT":
                return await self._create(name, request)
            case "subscription", "GET":
                return _json(200, self._manager.show(name, self._signing(request.base_url)))
            case "subscription", "DELETE":
                await self._manager.delete(name)
            case "streams", "POST":
                body = messages.decode(request.body, StreamsBody)
                await self._manager.add_streams(name, messages.paths_of(body.streams))
            case "stream", "DELETE":
                [path] = messages.paths_of([route.stream])
                await self._manager.remove_stream(name, path)
            case "claim", "POST":
                worker = messages.decode(request.body, ClaimBody).worker
                return _json(200, await self._manager.claim(name, worker))
            case ("callback" | "ack") as resource, "POST":
                kind: Kind = "webhook" if resource == "callback" else "pull-wake"
                token, ack = _bearer(request), messages.decode(request.body, AckBody)
                next_wake = await self._manager.acknowledge(name, kind, token, ack)
                return _json(200, {"ok": True, "next_wake": next_wake})
            case "release", "POST":
                token, ack = _bearer(request), messages.decode(request.body, AckBody)
                await self._manager.release(name, token, ack)
            case resource, _:
                raise RouteNotAllowed(_ALLOWED[resource])
        return Reply(204)

    async def _create(self, name: str, request: ControlRequest) -> Reply:
        config = messages.config_of(messages.decode(request.body, CreateBody))
        self._check_webhook(config.webhook_url)
        is_new = await self._manager.create(name, config, request.base_url)
        shown = self._manager.show(name, self._signing(request.base_url))
        return _json(201 if is_new else 200, shown)

    def _check_webhook(self, url: str | None) -> None:
        """PROTOCOL §12.8: as far as the URL tells; the address is checked when connecting."""
        if url is None:
            return
        if self._settings.webhooks == "off":
            raise WebhookRejected(
                "Webhooks are off on this server. Start it with --webhooks public, or --webhooks local for "
                "development; or use a pull-wake subscription."
            )
        check_url(url, self._settings.webhooks)

    def _keys(self) -> Reply:
        if self._signer is None:
            raise RouteNotFound("Webhooks are off on this server, so there are no keys.")
        return Reply(200, list(_JWK_SET), self._signer.jwks())

    def _signing(self, base_url: str) -> SigningView | None:
        if self._signer is None:
            return None
        return SigningView("ed25519", self._signer.kid, f"{base_url}/__ds/jwks.json")


def guarded_operation(path: str) -> tuple[Literal["subscribe", "claim"], str] | None:
    """What a request below `__ds` wants to do, and to which path; None if access control has no say.

    That is so for the public keys, and for workers that show the token of their wake, which is good for one
    subscription only (PROTOCOL §6.6).
    """
    try:
        route = _parse_route(path)
    except (SubscriptionError, ProtocolError):
        return "subscribe", path
    if route.resource in ("keys", "callback", "ack", "release"):
        return None
    operation: Literal["subscribe", "claim"] = "claim" if route.resource == "claim" else "subscribe"
    return operation, f"{RESERVED_SEGMENT}/subscriptions/{route.name}"


def _parse_route(path: str) -> _Route:
    match path.split("/")[1:]:
        case ["jwks.json"]:
            return _Route("keys")
        case ["subscriptions", name]:
            return _Route("subscription", _name(name))
        case ["subscriptions", name, "streams"]:
            return _Route("streams", _name(name))
        case ["subscriptions", name, "streams", *stream]:
            # PROTOCOL §6.4: the path is encoded as a whole, so what is left after decoding is as in a URL.
            return _Route("stream", _name(name), _decoded("/".join(stream)))
        case ["subscriptions", name, ("callback" | "claim" | "ack" | "release") as resource]:
            return _Route(resource, _name(name))
        case _:
            raise RouteNotFound("There is nothing here; subscriptions are below __ds/subscriptions/.")


def _name(segment: str) -> str:
    name = _decoded(segment)
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidSubscription(f"A subscription's id has 1 to {MAX_NAME_LENGTH} printable characters.")
    return name


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as exc:
        raise InvalidSubscription("The path is not UTF-8 after percent-decoding.") from exc


def _bearer(request: ControlRequest) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("Send the wake's token: `Authorization: Bearer <token>`.")
    return token.strip()


def _json(status: int, body: object) -> Reply:
    return Reply(status, [_JSON, _NO_STORE], msgspec.json.encode(body))


def _refused(error: SubscriptionError) -> Reply:
    headers: HeaderList = [_JSON, _NO_STORE]
    headers.extend((name.lower().encode(), value.encode()) for name, value in error.headers)
    return Reply(error.status, headers, messages.error(error))
