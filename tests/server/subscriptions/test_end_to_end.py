"""Subscriptions of a real server process, with a webhook over HTTP and a kill in between (PROTOCOL §7)."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from durafold.testing import ServerProcess
from support.ports import free_port
from support.subscriptions import WebhookServer, acks, cursors_of
from support.waiting import PATIENCE_S


class Client:
    """Speaks HTTP with a server process."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._http = httpx.Client(trust_env=False, timeout=PATIENCE_S)

    def close(self) -> None:
        self._http.close()

    def url(self, path: str) -> str:
        return f"{self._server.url}/{path}"

    def put(self, path: str, body: object = None) -> str:
        """Create a JSON stream; returns its tail."""
        answer = self._http.put(self.url(path), json=[] if body is None else body)
        assert answer.status_code == 201
        return answer.headers["stream-next-offset"]

    def append(self, path: str, body: object) -> str:
        """Append to a stream; returns its tail."""
        answer = self._http.post(self.url(path), json=body)
        assert answer.status_code == 204
        return answer.headers["stream-next-offset"]

    def read(self, path: str) -> Any:
        return self._http.get(self.url(path)).json()

    def subscribe(self, **config: object) -> Any:
        answer = self._http.put(self.url("__ds/subscriptions/sub"), json={"pattern": "events/*", **config})
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    def subscription(self) -> Any:
        return self._http.get(self.url("__ds/subscriptions/sub")).json()

    def post(self, url: str, body: object, token: str = "none") -> httpx.Response:
        return self._http.post(url, json=body, headers={"authorization": f"Bearer {token}"})

    def action(self, action: str, body: object, token: str = "none") -> httpx.Response:
        return self.post(self.url(f"__ds/subscriptions/sub/{action}"), body, token)

    def until(self, condition: Callable[[Any], bool]) -> None:
        """Wait until the subscription is as the condition says."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.subscription()):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "streams", port=free_port(), options=["--webhooks", "local"]) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.close()


def test_a_webhook_that_is_done_at_once(client: Client, webhook: WebhookServer) -> None:
    webhook.answers.append((200, b'{"done": true}'))
    client.subscribe(type="webhook", webhook={"url": webhook.url})

    tail = client.put("events/a", {"n": 1})

    body = webhook.next().body
    assert body["subscription_id"] == "sub"
    assert [(s["path"], s["tail_offset"]) for s in body["streams"]] == [("events/a", tail)]
    client.until(lambda subscription: cursors_of(subscription) == {"events/a": tail})


def test_a_webhook_that_calls_back(client: Client, webhook: WebhookServer) -> None:
    client.subscribe(type="webhook", webhook={"url": webhook.url})
    tail = client.put("events/a", {"n": 1})
    body = webhook.next().body

    working = client.post(body["callback_url"], acks(body), body["callback_token"])
    done = client.post(
        body["callback_url"], acks(body, {"events/a": tail}, done=True), body["callback_token"]
    )
    stale = client.post(body["callback_url"], acks(body), body["callback_token"])

    assert (working.status_code, working.json()) == (200, {"ok": True, "next_wake": False})
    assert (done.status_code, done.json()) == (200, {"ok": True, "next_wake": False})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "FENCED")
    assert cursors_of(client.subscription()) == {"events/a": tail}


def test_a_webhook_that_fails_is_tried_again(client: Client, webhook: WebhookServer) -> None:
    webhook.answers.extend([(500, b"oops"), (200, b'{"done": true}')])
    client.subscribe(type="webhook", webhook={"url": webhook.url})
    tail = client.put("events/a", {"n": 1})

    first, second = webhook.next().body, webhook.next().body

    assert (second["wake_id"], second["generation"]) == (first["wake_id"], first["generation"])
    client.until(lambda subscription: cursors_of(subscription) == {"events/a": tail})
    client.until(lambda subscription: subscription["status"] == "active")


def test_a_webhook_that_never_calls_back_is_told_again_after_its_lease(
    client: Client, webhook: WebhookServer
) -> None:
    client.subscribe(type="webhook", webhook={"url": webhook.url}, lease_ttl_ms=4000)  # to call back in
    tail = client.put("events/a", {"n": 1})

    first, second = webhook.next().body, webhook.next().body
    late = client.post(
        first["callback_url"], acks(first, {"events/a": tail}, done=True), first["callback_token"]
    )
    done = client.post(
        second["callback_url"], acks(second, {"events/a": tail}, done=True), second["callback_token"]
    )

    assert second["generation"] == first["generation"] + 1
    assert second["wake_id"] != first["wake_id"]
    assert (late.status_code, late.json()["error"]["code"]) == (409, "FENCED")
    assert done.status_code == 200


def test_a_retry_goes_on_after_a_kill(client: Client, server: ServerProcess, webhook: WebhookServer) -> None:
    webhook.answers.extend([(500, b"")] * 100)
    client.subscribe(type="webhook", webhook={"url": webhook.url})
    tail = client.put("events/a", {"n": 1})
    webhook.next()
    first = webhook.next().body
    client.until(lambda subscription: subscription["status"] == "failed")

    server.kill()
    webhook.will_be_done()
    server.restart()

    again = webhook.next().body
    assert (again["wake_id"], again["generation"]) == (first["wake_id"], first["generation"])
    assert again["streams"] == first["streams"]
    client.until(lambda subscription: cursors_of(subscription) == {"events/a": tail})


def test_appends_that_were_acknowledged_before_a_kill_wake_after_it(
    client: Client, server: ServerProcess, webhook: WebhookServer
) -> None:
    webhook.answers.extend([(500, b"")] * 100)
    client.subscribe(type="webhook", webhook={"url": webhook.url})
    client.put("events/a", {"n": 1})
    webhook.next()
    tails = {"events/b": client.put("events/b", {"n": 2}), "events/a": client.append("events/a", {"n": 3})}

    server.kill()
    webhook.will_be_done()
    server.restart()

    client.until(lambda subscription: cursors_of(subscription) == tails)


def test_a_stop_in_the_middle_of_a_delivery_takes_no_time_and_loses_nothing(
    client: Client, server: ServerProcess, webhook: WebhookServer
) -> None:
    webhook.may_answer.clear()
    client.subscribe(type="webhook", webhook={"url": webhook.url})
    client.put("events/a", {"n": 1})
    first = webhook.next().body

    exit_code = server.terminate()
    webhook.may_answer.set()
    server.start()

    assert exit_code == 0
    assert webhook.next().body["wake_id"] == first["wake_id"]


def test_notifications_are_signed_with_a_published_key_that_survives_a_restart(
    client: Client, server: ServerProcess, webhook: WebhookServer
) -> None:
    signing = client.subscribe(type="webhook", webhook={"url": webhook.url})["webhook"]["signing"]
    server.restart()
    client.put("events/a", {"text": "é"})

    notification = webhook.next()

    jwks = httpx.get(signing["jwks_url"], trust_env=False)
    match = re.fullmatch(r"t=(\d+),kid=([^,]+),ed25519=([\w-]+)", notification.headers["webhook-signature"])
    assert match is not None
    assert jwks.headers["content-type"] == "application/jwk-set+json"
    assert jwks.headers["cache-control"] == "public, max-age=300"
    [key] = [key for key in jwks.json()["keys"] if key["kid"] == match[2]]
    assert key["kid"] == signing["kid"]
    public_key = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public_key.verify(decoded(match[3]), match[1].encode() + b"." + notification.raw)


def test_workers_of_a_pull_wake_subscription(client: Client, server: ServerProcess) -> None:
    client.put("wake/pool")
    client.subscribe(type="pull-wake", wake_stream="wake/pool", lease_ttl_ms=600_000)
    tail = client.put("events/a", {"n": 1})
    live = httpx.get(
        f"{client.url('wake/pool')}?offset=-1&live=long-poll", trust_env=False, timeout=PATIENCE_S
    )
    assert [event["subscription_id"] for event in live.json()] == ["sub"]

    claim = client.action("claim", {"worker": "worker-1"}).json()
    server.kill()
    server.restart()
    busy = client.action("claim", {"worker": "worker-2"})
    released = client.action("release", acks(claim), claim["token"])
    claim = client.action("claim", {"worker": "worker-2"}).json()
    done = client.action("ack", acks(claim, {"events/a": tail}, done=True), claim["token"])

    assert (busy.status_code, busy.json()["error"]["current_holder"]) == (409, "worker-1")
    assert released.status_code == 204
    assert claim["generation"] == 2
    assert (done.status_code, done.json()) == (200, {"ok": True, "next_wake": False})
    assert client.action("claim", {"worker": "worker-1"}).json()["error"]["code"] == "NO_PENDING_WORK"


def test_a_server_without_webhooks_refuses_them_and_keeps_pull_wakes(
    webhook: WebhookServer,
) -> None:
    with ServerProcess() as plain:
        url = f"{plain.url}/__ds/subscriptions/sub"
        refused = httpx.put(
            url,
            json={"type": "webhook", "pattern": "a", "webhook": {"url": webhook.url}},
            trust_env=False,
        )
        created = httpx.put(
            url, json={"type": "pull-wake", "pattern": "a", "wake_stream": "w"}, trust_env=False
        )

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "WEBHOOK_URL_REJECTED")
    assert created.status_code == 201


@pytest.mark.parametrize(
    ("url", "status"), [("http://127.0.0.1:1/", 201), ("http://localhost:1/", 201), ("http://10.0.0.1/", 400)]
)
def test_a_local_server_sends_to_this_machine_and_to_no_other(client: Client, url: str, status: int) -> None:
    answer = httpx.put(
        client.url("__ds/subscriptions/sub"),
        json={"type": "webhook", "pattern": "a", "webhook": {"url": url}},
        trust_env=False,
    )

    assert answer.status_code == status


def test_a_reserved_path_is_never_a_stream(client: Client) -> None:
    created = httpx.put(client.url("__ds/anything"), content=b"data", trust_env=False)
    encoded = httpx.put(client.url("%5F%5Fds/subscriptions/x"), content=b"data", trust_env=False)

    assert created.status_code == 404
    assert encoded.status_code == 400


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
