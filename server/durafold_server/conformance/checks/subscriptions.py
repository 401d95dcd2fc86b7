"""Subscriptions (PROTOCOL §6, §7), which servers may leave out. Webhooks come to a receiver of our own."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlsplit

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Failure, Reply, Skipped, expect_equal, expect_that
from durafold_server.conformance.receiver import Notification, Receiver, receiver
from durafold_server.conformance.target import JSON, Server, Stream

_SIGNATURE: Final = re.compile(r"t=(\d+),\s*kid=([^,\s]+),\s*ed25519=([A-Za-z0-9_-]+)")
_GIVE_UP_S: Final = 5.0
_LEASE_MS: Final = 1000
_NOT_TAKEN: Final = (400, 403, 404, 501)
"""PROTOCOL §6.2 allows webhooks to this machine, but does not ask for them."""


class _Subscription:
    """One subscription of the server under test."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self.id = name
        self._path = f"{server.root}/__ds/subscriptions/{name}"

    async def send(self, method: str, action: str = "", value: Any = None, token: str = "") -> Reply:
        headers = {"Content-Type": JSON} if value is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body = b"" if value is None else json.dumps(value).encode()
        return await self._server.send(method, f"{self._path}{action}", body, headers=headers)

    async def put(self, **configuration: Any) -> Reply:
        return await self.send("PUT", value=configuration)

    async def get(self) -> dict[str, Any]:
        value: dict[str, Any] = (await self.send("GET")).expect(200).json()
        return value

    async def claim(self, worker: str = "worker-1") -> dict[str, Any]:
        value: dict[str, Any] = (await self.send("POST", "/claim", {"worker": worker})).expect(200).json()
        return value

    async def ack(self, claim: dict[str, Any], acks: list[dict[str, str]], **fields: Any) -> Reply:
        return await self.send("POST", "/ack", {**_wake(claim), "acks": acks, **fields}, str(claim["token"]))

    async def link(self, path: str) -> dict[str, Any] | None:
        """The link to a stream, or None."""
        return next((link for link in (await self.get())["streams"] if link["path"] == path), None)


@asynccontextmanager
async def _subscription(server: Server) -> AsyncIterator[_Subscription]:
    """An id of a subscription that is deleted in the end."""
    subscription = _Subscription(server, _relative(server.unused()).replace("/", "-"))
    try:
        yield subscription
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_GIVE_UP_S):
            await subscription.send("DELETE")


@asynccontextmanager
async def _webhook(
    server: Server, answer: dict[str, Any] | None = None
) -> AsyncIterator[tuple[_Subscription, Receiver, str]]:
    """A webhook subscription, its receiver, and the beginning of the paths that it matches."""
    _expect_same_machine(server)
    async with receiver(answer) as receiving, _subscription(server) as subscription:
        prefix = f"{_relative(server.unused())}-events"
        reply = await subscription.put(
            type="webhook", pattern=f"{prefix}/*", webhook={"url": receiving.url}, lease_ttl_ms=_LEASE_MS
        )
        if reply.status in _NOT_TAKEN:
            raise Skipped(f"the server takes no webhooks to 127.0.0.1 (PUT answers {reply.status})")
        reply.expect(201)
        yield subscription, receiving, prefix


@asynccontextmanager
async def _pull_wake(server: Server) -> AsyncIterator[tuple[_Subscription, Stream, Stream]]:
    """A pull-wake subscription, its wake stream, and a stream that it is linked to."""
    wakes = await server.create(JSON)
    stream = await server.create(JSON)
    async with _subscription(server) as subscription:
        reply = await subscription.put(
            type="pull-wake",
            streams=[_relative(stream)],
            wake_stream=_relative(wakes),
            lease_ttl_ms=_LEASE_MS,
        )
        reply.expect(201)
        yield subscription, wakes, stream


def _expect_same_machine(server: Server) -> None:
    host = server.connection.host
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise Skipped("webhooks cannot reach this machine from the server's")


def _relative(stream: Stream) -> str:
    return stream.path.removeprefix(f"{stream.server.root}/")


def _wake(claim: dict[str, Any]) -> dict[str, Any]:
    return {"wake_id": claim["wake_id"], "generation": claim["generation"]}


def _tail(snapshot: dict[str, Any], path: str) -> str:
    for link in snapshot["streams"]:
        if link["path"] == path:
            return str(link["tail_offset"])
    raise Failure(f"{path} among the streams of the wake", json.dumps(snapshot["streams"]))


def _expect_error(reply: Reply, status: int, code: str) -> None:
    error = reply.expect(status).json().get("error", {})
    expect_equal(error.get("code"), code, "error.code")


async def _wakes(wakes: Stream, subscription: _Subscription, count: int) -> list[dict[str, Any]]:
    """The wake events of a subscription, once there are so many."""
    found: list[dict[str, Any]] = []
    with anyio.move_on_after(_GIVE_UP_S):
        while len(found) < count:
            found = [m for m in await wakes.messages() if m.get("subscription_id") == subscription.id]
            await anyio.sleep(0.02)
    expect_that(len(found) >= count, f"{count} wake events", json.dumps(found))
    return found


async def _missing(server: Server) -> str | None:
    async with _subscription(server) as subscription:
        wakes = await server.create(JSON)
        reply = await subscription.put(
            type="pull-wake", streams=[_relative(wakes)], wake_stream=_relative(wakes)
        )
    if reply.status != 201:
        return f"the server has no subscriptions (PUT answers {reply.status})"
    # A server that knows nothing of them has made a stream.
    return None if b"pull-wake" in reply.body else "the server has no subscriptions (PUT makes a stream)"


SUBSCRIPTIONS: Final = Topic("subscriptions", "6", "Subscriptions (optional)", probe=_missing)


# Configuration


@SUBSCRIPTIONS.must("6.2")
async def creating_a_subscription_answers_201_and_again_200(server: Server) -> None:
    stream = await server.create(JSON)
    configuration = {
        "type": "pull-wake",
        "streams": [_relative(stream)],
        "wake_stream": "wake",
        "description": "x",
    }
    async with _subscription(server) as subscription:
        (await subscription.put(**configuration)).expect(201)
        (await subscription.put(**configuration)).expect(200)
        (await subscription.put(**{**configuration, "description": "y"})).expect(409)
        (await subscription.put(**{**configuration, "lease_ttl_ms": 5000})).expect(409)


@SUBSCRIPTIONS.must("6.3")
async def a_subscription_can_be_read(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        found = await subscription.get()
        expected = {"id": subscription.id, "type": "pull-wake", "lease_ttl_ms": _LEASE_MS, "status": "active"}
        expect_equal({name: found.get(name) for name in expected}, expected, "the subscription")
        expect_equal(found.get("wake_stream"), _relative(wakes), "wake_stream")
        link = await subscription.link(_relative(stream))
        expect_equal(link and link.get("link_type"), "explicit", "link_type")


@SUBSCRIPTIONS.must("6.3")
async def a_subscription_can_be_deleted(server: Server) -> None:
    async with _pull_wake(server) as (subscription, _, _):
        (await subscription.send("DELETE")).expect(204)
        (await subscription.send("GET")).expect(404)


@SUBSCRIPTIONS.must("6.2")
async def a_subscription_needs_a_pattern_or_streams(server: Server) -> None:
    async with _subscription(server) as subscription:
        (await subscription.put(type="pull-wake", wake_stream="wake")).expect(400)
        (await subscription.put(type="pull-wake", wake_stream="wake", streams=[])).expect(400)


@SUBSCRIPTIONS.must("6.2")
async def a_subscription_needs_a_known_type_and_what_belongs_to_it(server: Server) -> None:
    async with _subscription(server) as subscription:
        (await subscription.put(streams=["a"], wake_stream="wake")).expect(400)
        (await subscription.put(type="pigeon", streams=["a"], wake_stream="wake")).expect(400)
        (await subscription.put(type="pull-wake", streams=["a"])).expect(400)
        (await subscription.put(type="webhook", streams=["a"])).expect(400)


@SUBSCRIPTIONS.must("6.2")
async def a_lease_lasts_from_one_second_to_ten_minutes(server: Server) -> None:
    async with _subscription(server) as subscription:
        for lease_ms in (999, 600_001, -1, 0):
            reply = await subscription.put(
                type="pull-wake", streams=["a"], wake_stream="wake", lease_ttl_ms=lease_ms
            )
            reply.expect(400)


@SUBSCRIPTIONS.must("6.2")
async def existing_streams_are_linked_at_their_tail(server: Server) -> None:
    existing = await server.create(JSON, b"[1,2]", name="-group/existing")
    async with _subscription(server) as subscription:
        pattern = _relative(existing).replace("/existing", "/*")
        (await subscription.put(type="pull-wake", pattern=pattern, wake_stream="wake")).expect(201)
        link = await subscription.link(_relative(existing))
    expect_equal(link and link.get("link_type"), "glob", "link_type")
    expect_equal(link and link.get("acked_offset"), await existing.tail(), "acked_offset")


@SUBSCRIPTIONS.must("6.4")
async def streams_can_be_linked_and_unlinked(server: Server) -> None:
    other = await server.create(JSON, name="-a/b")
    async with _pull_wake(server) as (subscription, _, _):
        for _ in range(2):
            (await subscription.send("POST", "/streams", {"streams": [_relative(other)]})).expect(204)
        link = await subscription.link(_relative(other))
        expect_equal(link and link.get("link_type"), "explicit", "link_type")
        for _ in range(2):
            (await subscription.send("DELETE", f"/streams/{quote(_relative(other), safe='')}")).expect(204)
        expect_equal(await subscription.link(_relative(other)), None, "the link")


@SUBSCRIPTIONS.must("6.1, 6.4")
async def an_explicit_link_hides_a_glob_link_until_it_is_removed(server: Server) -> None:
    stream = await server.create(JSON, name="-group/one")
    path = _relative(stream)
    async with _subscription(server) as subscription:
        pattern = path.replace("/one", "/*")
        (
            await subscription.put(type="pull-wake", pattern=pattern, streams=[path], wake_stream="wake")
        ).expect(201)
        link = await subscription.link(path)
        expect_equal(link and link.get("link_type"), "explicit", "link_type")
        (await subscription.send("DELETE", f"/streams/{quote(path, safe='')}")).expect(204)
        link = await subscription.link(path)
        expect_equal(link and link.get("link_type"), "glob", "link_type")


# Webhooks


@SUBSCRIPTIONS.must("6.2, 12.8")
async def unsafe_webhook_urls_are_refused(server: Server) -> None:
    unsafe = (
        "http://10.0.0.1/hook", "https://10.0.0.1/hook", "https://192.168.1.1/", "https://172.16.0.1/",
        "https://169.254.169.254/latest/meta-data/", "http://example.com/hook", "ftp://example.com/", "file:///etc",
        "nonsense",
    )  # fmt: skip
    async with _subscription(server) as subscription:
        for url in unsafe:
            (await subscription.put(type="webhook", streams=["a"], webhook={"url": url})).expect(400)


@SUBSCRIPTIONS.quality("12.8")
async def unsafe_webhook_urls_in_disguise_are_refused(server: Server) -> None:
    unsafe = (
        "https://[::1]/", "https://[fd00::1]/", "https://[fe80::1]/", "https://[::ffff:10.0.0.1]/",
        "https://localhost./", "https://100.64.0.1/", "https://0.0.0.0/", "https://2130706433/", "https://0x7f.1/",
    )  # fmt: skip
    async with _subscription(server) as subscription:
        for url in unsafe:
            (await subscription.put(type="webhook", streams=["a"], webhook={"url": url})).expect(400)


@SUBSCRIPTIONS.must("6.2")
async def no_answer_holds_a_shared_secret(server: Server) -> None:
    async with _webhook(server) as (subscription, _, _):
        text = json.dumps(await subscription.get())
    expect_that("secret" not in text, "no secret", text)


@SUBSCRIPTIONS.must("6.5")
async def the_signing_keys_can_be_found(server: Server) -> None:
    async with _webhook(server) as (subscription, _, _):
        signing = (await subscription.get())["webhook"].get("signing", {})
    target = urlsplit(signing["jwks_url"]).path if "jwks_url" in signing else f"{server.root}/__ds/jwks.json"
    reply = (await server.send("GET", target)).expect(200)
    expect_equal(reply.value("Content-Type").partition(";")[0], "application/jwk-set+json", "Content-Type")
    keys = reply.json().get("keys")
    expect_that(keys, "at least one key", keys)
    for key in keys:
        parts = (key.get("kty"), key.get("crv"), key.get("alg"), key.get("use"))
        expect_equal(parts, ("OKP", "Ed25519", "EdDSA", "sig"), "kty, crv, alg and use")
        expect_that(key.get("kid") and key.get("x") and "d" not in key, "kid and x, and no private d", key)
    if "kid" in signing:
        expect_that(signing["kid"] in [key["kid"] for key in keys], "the active kid among the keys", keys)


@SUBSCRIPTIONS.must("7.1")
async def an_append_sends_a_webhook(server: Server) -> None:
    async with _webhook(server, {"done": True}) as (subscription, receiving, prefix):
        stream = server.at(f"{server.root}/{prefix}/one", content_type=JSON)
        (await stream.put(b"[1]")).expect(201)
        notification = await receiving.notification()
        body = notification.json()
        expect_equal(body.get("subscription_id"), subscription.id, "subscription_id")
        expect_that(
            body.get("wake_id") and isinstance(body.get("generation"), int), "wake_id, generation", body
        )
        expect_that(body.get("callback_token"), "a callback_token", body)
        expect_that(
            str(body.get("callback_url")).endswith(f"/{subscription.id}/callback"), "the callback_url", body
        )
        expect_equal(_tail(body, f"{prefix}/one"), await stream.tail(), "tail_offset")
        signature = notification.headers.get("webhook-signature", "")
        expect_that(_SIGNATURE.fullmatch(signature), "t=…,kid=…,ed25519=… as Webhook-Signature", signature)


@SUBSCRIPTIONS.must("7.1")
async def a_webhook_is_signed_by_a_published_key(server: Server) -> None:
    async with _webhook(server, {"done": True}) as (_, receiving, prefix):
        (await server.at(f"{server.root}/{prefix}/one", content_type=JSON).put(b"[1]")).expect(201)
        notification = await receiving.notification()
    keys = (await server.send("GET", f"{server.root}/__ds/jwks.json")).expect(200).json()["keys"]
    _expect_signature(notification, {key["kid"]: key["x"] for key in keys})


def _expect_signature(notification: Notification, keys: dict[str, str]) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError:
        raise Skipped("checking signatures needs: pip install cryptography") from None
    signature = notification.headers.get("webhook-signature", "")
    match = _SIGNATURE.fullmatch(signature)
    if match is None or match[2] not in keys:
        raise Failure(f"a signature by one of {list(keys)}", signature)
    try:
        key = Ed25519PublicKey.from_public_bytes(_base64url(keys[match[2]]))
        key.verify(_base64url(match[3]), match[1].encode() + b"." + notification.body)
    except (InvalidSignature, ValueError):
        raise Failure("a signature that fits the body", signature) from None


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@SUBSCRIPTIONS.must("7.1")
async def done_acknowledges_what_the_webhook_named(server: Server) -> None:
    async with _webhook(server, {"done": True}) as (subscription, receiving, prefix):
        (await server.at(f"{server.root}/{prefix}/one", content_type=JSON).put(b"[1]")).expect(201)
        tail = _tail((await receiving.notification()).json(), f"{prefix}/one")
        await _expect_acked(subscription, f"{prefix}/one", tail)


async def _expect_acked(subscription: _Subscription, path: str, offset: str) -> None:
    acked = ""
    with anyio.move_on_after(_GIVE_UP_S):
        while acked != offset:
            acked = str((await subscription.link(path) or {}).get("acked_offset"))
    expect_equal(acked, offset, "acked_offset")


@SUBSCRIPTIONS.must("7.1")
async def a_later_append_sends_another_webhook_of_a_higher_generation(server: Server) -> None:
    async with _webhook(server, {"done": True}) as (_, receiving, prefix):
        stream = server.at(f"{server.root}/{prefix}/one", content_type=JSON)
        (await stream.put(b"[1]")).expect(201)
        first = (await receiving.notification()).json()
        await stream.append(b"[2]")
        second = (await receiving.notification()).json()
        while _tail(second, f"{prefix}/one") != await stream.tail():
            second = (await receiving.notification()).json()
    expect_that(
        second["generation"] > first["generation"], f"more than generation {first['generation']}", second
    )
    expect_that(second["wake_id"] != first["wake_id"], "another wake_id", second)


@SUBSCRIPTIONS.must("7.1")
async def a_webhook_that_fails_is_sent_again(server: Server) -> None:
    async with _webhook(server, {"done": True}) as (subscription, receiving, prefix):
        receiving.failures = 1
        (await server.at(f"{server.root}/{prefix}/one", content_type=JSON).put(b"[1]")).expect(201)
        first = (await receiving.notification()).json()
        second = (await receiving.notification()).json()
        tail = _tail(first, f"{prefix}/one")
        expect_equal(_tail(second, f"{prefix}/one"), tail, "tail_offset")
        await _expect_acked(subscription, f"{prefix}/one", tail)


@SUBSCRIPTIONS.must("7.1, 7.3")
async def a_callback_acknowledges_once_and_is_fenced_afterwards(server: Server) -> None:
    async with _webhook(server) as (_, receiving, prefix):
        (await server.at(f"{server.root}/{prefix}/one", content_type=JSON).put(b"[1]")).expect(201)
        wake = (await receiving.notification()).json()
        acks = [{"stream": f"{prefix}/one", "offset": _tail(wake, f"{prefix}/one")}]
        value = {**_wake(wake), "acks": acks, "done": True}
        first = await _call_back(server, wake, value, str(wake["callback_token"]))
        first.expect(200).expect_json({"ok": True, "next_wake": False})
        _expect_error(await _call_back(server, wake, value, str(wake["callback_token"])), 409, "FENCED")


@SUBSCRIPTIONS.must("7.3, 12.9")
async def a_callback_needs_its_own_token_and_wake(server: Server) -> None:
    async with _webhook(server) as (_, receiving, prefix):
        (await server.at(f"{server.root}/{prefix}/one", content_type=JSON).put(b"[1]")).expect(201)
        wake = (await receiving.notification()).json()
        token = str(wake["callback_token"])
        (await _call_back(server, wake, {**_wake(wake), "acks": []}, "")).expect(401)
        (await _call_back(server, wake, {**_wake(wake), "acks": []}, token[:-4] + "AAAA")).expect(401)
        other_wake = {**_wake(wake), "wake_id": "w_other", "acks": []}
        _expect_error(await _call_back(server, wake, other_wake, token), 409, "FENCED")
        other_generation = {**_wake(wake), "generation": wake["generation"] + 1, "acks": []}
        _expect_error(await _call_back(server, wake, other_generation, token), 409, "FENCED")


async def _call_back(server: Server, wake: dict[str, Any], value: dict[str, Any], token: str) -> Reply:
    headers = {"Content-Type": JSON}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    target = urlsplit(str(wake["callback_url"])).path
    return await server.send("POST", target, json.dumps(value).encode(), headers=headers)


@SUBSCRIPTIONS.must("6.3")
async def a_callback_of_a_deleted_subscription_fails(server: Server) -> None:
    async with _webhook(server) as (subscription, receiving, prefix):
        (await server.at(f"{server.root}/{prefix}/one", content_type=JSON).put(b"[1]")).expect(201)
        wake = (await receiving.notification()).json()
        (await subscription.send("DELETE")).expect(204)
        value = {**_wake(wake), "acks": [], "done": True}
        (await _call_back(server, wake, value, str(wake["callback_token"]))).expect_refusal()


# Pull-wake


@SUBSCRIPTIONS.must("7.2")
async def an_append_writes_a_wake_event(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        await stream.append(b"[1]")
        (event, *_) = await _wakes(wakes, subscription, 1)
        expect_equal(event.get("type"), "wake", "type")
        expect_equal(event.get("stream"), _relative(stream), "stream")
        expect_that(isinstance(event.get("generation"), int), "a generation", event)


@SUBSCRIPTIONS.must("7.2")
async def one_worker_claims_and_others_learn_who_did(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        tail = (await stream.append(b"[1]")).next_offset
        await _wakes(wakes, subscription, 1)
        claim = await subscription.claim("worker-1")
        expect_equal(_tail(claim, _relative(stream)), tail, "tail_offset")
        reply = await subscription.send("POST", "/claim", {"worker": "worker-2"})
        _expect_error(reply, 409, "ALREADY_CLAIMED")
        expect_equal(reply.json()["error"].get("current_holder"), "worker-1", "current_holder")


@SUBSCRIPTIONS.must("7.2")
async def an_ack_that_is_done_ends_the_claim(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        tail = (await stream.append(b"[1]")).next_offset
        await _wakes(wakes, subscription, 1)
        claim = await subscription.claim()
        acks = [{"stream": _relative(stream), "offset": tail}]
        (await subscription.ack(claim, acks, done=True)).expect(200).expect_json(
            {"ok": True, "next_wake": False}
        )
        link = await subscription.link(_relative(stream))
        expect_equal(link and link.get("acked_offset"), tail, "acked_offset")
        _expect_error(await subscription.ack(claim, acks, done=True), 409, "FENCED")


@SUBSCRIPTIONS.must("7.2")
async def an_ack_that_is_not_done_keeps_the_claim(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        tail = (await stream.append(b"[1]")).next_offset
        await _wakes(wakes, subscription, 1)
        claim = await subscription.claim()
        for _ in range(3):
            await anyio.sleep(0.6)  # together longer than the lease
            (await subscription.ack(claim, [])).expect(200)
        busy = await subscription.send("POST", "/claim", {"worker": "worker-2"})
        _expect_error(busy, 409, "ALREADY_CLAIMED")
        (await subscription.ack(claim, [{"stream": _relative(stream), "offset": tail}], done=True)).expect(
            200
        )


@SUBSCRIPTIONS.must("7.2")
async def a_released_claim_wakes_again(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        await stream.append(b"[1]")
        await _wakes(wakes, subscription, 1)
        claim = await subscription.claim()
        (await subscription.send("POST", "/release", _wake(claim), str(claim["token"]))).expect(204)
        await _wakes(wakes, subscription, 2)
        again = await subscription.claim("worker-2")
        expect_that(again["generation"] > claim["generation"], "a higher generation", again["generation"])
        stale = await subscription.send("POST", "/release", _wake(claim), str(claim["token"]))
        _expect_error(stale, 409, "FENCED")


@SUBSCRIPTIONS.must("7.3")
async def an_expired_lease_wakes_again_and_fences_its_holder(server: Server) -> None:
    async with _pull_wake(server) as (subscription, wakes, stream):
        await stream.append(b"[1]")
        await _wakes(wakes, subscription, 1)
        claim = await subscription.claim("worker-1")
        await _wakes(wakes, subscription, 2)
        again = await subscription.claim("worker-2")
        expect_that(again["generation"] > claim["generation"], "a higher generation", again["generation"])
        _expect_error(await subscription.ack(claim, [], done=True), 409, "FENCED")
