"""The subscription API for tests: in process with webhooks that answer as told, and a webhook over HTTP."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, cast

import anyio
import pytest

from durafold_server.clock import Clock
from durafold_server.config import ServiceSettings
from durafold_server.service import StreamService
from durafold_server.store.base import StreamStore
from durafold_server.subscriptions.courier import Answer, Courier, DeliveryFailed, Sender
from durafold_server.subscriptions.http import ControlApi, ControlRequest
from durafold_server.subscriptions.manager import SubscriptionManager
from durafold_server.subscriptions.records import Records
from durafold_server.subscriptions.signing import Signer
from support.server_requests import append_request, create_request
from support.waiting import PATIENCE_S, eventually

__all__ = [
    "BASE_URL",
    "DONE",
    "WEBHOOK_URL",
    "Api",
    "FakeWebhook",
    "JsonAnswer",
    "Notification",
    "WebhookServer",
    "acks",
    "api_on",
    "cursors_of",
    "running",
    "webhook",
]

BASE_URL: Final = "http://streams.test/v1/stream"
WEBHOOK_URL: Final = "https://worker.test/hook"
DONE: Final = b'{"done": true}'


class JsonAnswer(NamedTuple):
    """What the API answered."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of an error."""
        code: str = self.body["error"]["code"]
        return code


class FakeWebhook:
    """A `Sender` that notes what is sent, and answers from a list.

    Attributes:
        sent: URL, headers and body of each request.
        answers: what to answer next: an answer, one that is yet to come, or the failure to raise.
        default: what to answer after the end of the list.
        is_closed: whether it was let go of.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, str], bytes]] = []
        self.answers: deque[Answer | asyncio.Future[Answer] | DeliveryFailed] = deque()
        self.default = Answer(200, b"")
        self.is_closed = False

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> Answer:
        """See `Sender`."""
        self.sent.append((url, headers, body))
        answer = self.answers.popleft() if self.answers else self.default
        if isinstance(answer, DeliveryFailed):
            raise answer
        return await answer if isinstance(answer, asyncio.Future) else answer

    async def aclose(self) -> None:
        """See `Sender`."""
        self.is_closed = True

    @property
    def notifications(self) -> list[dict[str, Any]]:
        """The bodies that were sent."""
        return [json.loads(body) for _, _, body in self.sent]

    async def notification(self, number: int = 1) -> dict[str, Any]:
        """The body of that request, once it was sent; the first one is number 1."""
        await eventually(lambda: len(self.sent) >= number)
        return self.notifications[number - 1]


class Api:
    """A server's streams and subscriptions in this process, without HTTP.

    Attributes:
        service: the streams.
    """

    def __init__(self, control: ControlApi, service: StreamService) -> None:
        self._control = control
        self.service = service

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        base_url: str = BASE_URL,
    ) -> JsonAnswer:
        """A request below `__ds/`; a body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        reply = await self._control.handle(ControlRequest(method, f"__ds/{path}", headers, raw, base_url))
        return JsonAnswer(
            reply.status,
            json.loads(reply.body) if reply.body else None,
            {name.decode(): value.decode() for name, value in reply.headers},
        )

    async def subscribe(self, name: str = "sub", /, **config: object) -> JsonAnswer:
        """Create a subscription: a webhook's for `events/*`, unless the arguments say otherwise."""
        defaults = {"type": "webhook", "pattern": "events/*", "webhook": {"url": WEBHOOK_URL}}
        return await self.request("PUT", f"subscriptions/{name}", {**defaults, **config})

    async def subscribe_pull(self, name: str = "sub", /, **config: object) -> JsonAnswer:
        """Create a pull-wake subscription for `events/*` that announces in `wake/pool`."""
        return await self.subscribe(name, **{"type": "pull-wake", "wake_stream": "wake/pool", **config})

    async def get(self, name: str = "sub") -> dict[str, Any]:
        """A subscription, which must exist."""
        answer = await self.request("GET", f"subscriptions/{name}")
        assert answer.status == 200
        body: dict[str, Any] = answer.body
        return body

    async def until(self, condition: Callable[[dict[str, Any]], object], name: str = "sub") -> None:
        """Wait until a subscription, as it is shown, is as the condition says."""
        with anyio.fail_after(PATIENCE_S):
            while not condition(await self.get(name)):
                await anyio.sleep(0.005)

    async def look_again(self) -> None:
        """Have a subscription looked at: its own timer waits by a clock that tests do not move."""
        assert (await self.post("streams", {"streams": []})).status == 204

    async def until_status(self, status: str) -> None:
        """Wait until a retry is scheduled (`failed`), or none (`active`)."""
        await self.until(lambda subscription: subscription["status"] == status)

    async def cursors(self, name: str = "sub") -> dict[str, str]:
        """The acknowledged offset of each linked stream."""
        return cursors_of(await self.get(name))

    async def post(
        self, action: str, body: object, *, name: str = "sub", token: str | None = None
    ) -> JsonAnswer:
        """A POST to a subscription."""
        return await self.request("POST", f"subscriptions/{name}/{action}", body, token=token)

    async def claim(self, worker: str = "worker-1", name: str = "sub") -> JsonAnswer:
        """Claim a subscription."""
        return await self.post("claim", {"worker": worker}, name=name)

    async def create(self, path: str, body: bytes = b"", **headers: str) -> str:
        """Create a stream; returns its tail offset."""
        await self.service.create(create_request(path, body, **{"content_type": "text/plain", **headers}))
        return await self.tail(path)

    async def append(self, path: str, body: bytes = b"more") -> str:
        """Append to a stream; returns its tail offset."""
        await self.service.append(append_request(path, body, content_type="text/plain"))
        return await self.tail(path)

    async def tail(self, path: str) -> str:
        """The tail offset of a stream."""
        stream = await self.service.head(path)
        return stream.offset(stream.tail)


@asynccontextmanager
async def api_on(store: StreamStore, clock: Clock, sender: Sender | None = None) -> AsyncIterator[Api]:
    """The API over a store; webhooks are on if there is a sender. The store is not closed afterwards."""
    settings = ServiceSettings(webhooks="off" if sender is None else "public")
    service = StreamService(store, settings, clock=clock)
    records = Records(store)
    secret = await records.token_secret()
    signer = Signer(await records.signing_seed()) if sender is not None else None
    courier = Courier(service, token_secret=secret, clock=clock, sender=sender, signer=signer)
    manager = SubscriptionManager(service, records, courier, token_secret=secret, clock=clock)
    await manager.start()
    control = ControlApi(manager, settings, signer)
    try:
        yield Api(control, service)
    finally:
        await control.aclose()
        service.stop()


def cursors_of(subscription: dict[str, Any]) -> dict[str, str]:
    """The acknowledged offset of each linked stream of a subscription as it is shown."""
    return {link["path"]: link["acked_offset"] for link in subscription["streams"]}


def acks(
    wake: dict[str, Any], offsets: dict[str, str] | None = None, *, done: bool = False
) -> dict[str, Any]:
    """The body that acknowledges offsets, by stream, of a claim or notification."""
    return {
        "wake_id": wake["wake_id"],
        "generation": wake["generation"],
        "acks": [{"stream": stream, "offset": offset} for stream, offset in (offsets or {}).items()],
        "done": done,
    }


class Notification(NamedTuple):
    """A request that a webhook has received."""

    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The parsed body."""
        body: dict[str, Any] = json.loads(self.raw)
        return body


class WebhookServer(ThreadingHTTPServer):
    """A webhook on 127.0.0.1 that answers from a list; after its end, 200 and an empty object.

    Attributes:
        answers: status and body of what to answer next.
        extra_headers: of every answer.
        may_answer: cleared, answers wait until it is set.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.answers: deque[tuple[int, bytes]] = deque()
        self.extra_headers: dict[str, str] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._received: queue.Queue[Notification] = queue.Queue()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}/hook?key=1"

    def will_be_done(self) -> None:
        """From now on, answer that the work is done."""
        self.answers = deque([(200, DONE)] * 100)

    def take(self, notification: Notification) -> tuple[int, bytes]:
        """Note a request; returns what to answer."""
        answer = self.answers.popleft() if self.answers else (200, b"{}")
        self._received.put(notification)
        self.may_answer.wait(PATIENCE_S)
        return answer

    def next(self) -> Notification:
        """The next request that was not returned yet; waits for it."""
        return self._received.get(timeout=PATIENCE_S)

    @property
    def is_quiet(self) -> bool:
        """Whether every request was returned by `next`."""
        return self._received.empty()


class _WebhookHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        webhook = cast("WebhookServer", self.server)
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = webhook.take(Notification({**headers, ":path": self.path}, body))
        self.send_response(status)
        for name, value in webhook.extra_headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Not to stderr."""


@contextmanager
def running(server: WebhookServer) -> Iterator[WebhookServer]:
    """Serve in a thread."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    """A webhook over HTTP."""
    with running(WebhookServer()) as server:
        yield server
