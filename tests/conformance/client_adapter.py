"""Our client behind the JSON lines that the protocol's client conformance suite speaks.

The suite starts this program, writes one command a line to it and expects one result a line::

    python tests/conformance/client_adapter.py             the asynchronous face
    python tests/conformance/client_adapter.py --blocking   the blocking face

Both faces run the same code: the blocking one behind `Blocking`, which makes its methods awaitable.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from typing import Any, Final, Self

import anyio

from durafold import blocking, client
from durafold.client import START, Backoff, ClientSettings, Page
from durafold.errors import (
    BadRequest,
    ConfigurationError,
    DurafoldError,
    MalformedResponse,
    SequenceConflict,
    ServerRefused,
    StreamClosed,
    StreamConflict,
    StreamNotFound,
    TransportError,
    TransportTimeout,
)

Command = Mapping[str, Any]
Result = dict[str, Any]

FEATURES: Final = {
    "batching": True,
    "sse": True,
    "longPoll": True,
    "auto": True,
    "streaming": True,
    "dynamicHeaders": True,
    "strictZeroValidation": True,
}
CODES: Final[tuple[tuple[type[DurafoldError], str], ...]] = (
    (ConfigurationError, "INVALID_ARGUMENT"),
    (MalformedResponse, "PARSE_ERROR"),
    (TransportTimeout, "TIMEOUT"),
    (TransportError, "NETWORK_ERROR"),
    (StreamNotFound, "NOT_FOUND"),
    (StreamClosed, "STREAM_CLOSED"),
    (SequenceConflict, "SEQUENCE_CONFLICT"),
    (StreamConflict, "CONFLICT"),
    (BadRequest, "INVALID_OFFSET"),
    (ServerRefused, "UNEXPECTED_STATUS"),
)
SETTINGS: Final = ClientSettings(backoff=Backoff(first_s=0.05, max_s=1.0))
DEFAULT_TYPE: Final = "application/octet-stream"


class Blocking:
    """An object of the blocking face, with its methods awaitable."""

    RENAMED: Final = {"aclose": "disconnect"}

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, self.RENAMED.get(name, name))
        if not callable(value):
            return value

        async def call(*args: Any, **options: Any) -> Any:
            return await anyio.to_thread.run_sync(lambda: value(*args, **options))

        return call

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self.target.__enter__)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await anyio.to_thread.run_sync(self.target.__exit__, *exc_info)


class Face:
    """How to make the objects of one face."""

    def __init__(self, *, is_blocking: bool) -> None:
        self.is_blocking = is_blocking
        self.name = "durafold-blocking" if is_blocking else "durafold"

    def stream(self, url: str, **options: Any) -> Any:
        """A handle of a stream."""
        made: type[Any] = blocking.DurableStream if self.is_blocking else client.DurableStream
        handle = made(url, settings=SETTINGS, **options)
        return Blocking(handle) if self.is_blocking else handle

    def producer(self, stream: Any, producer_id: str, **options: Any) -> Any:
        """A producer, to be entered."""
        if not self.is_blocking:
            return client.IdempotentProducer(stream, producer_id, **options)
        return Blocking(blocking.IdempotentProducer(stream.target, producer_id, **options))

    def follow(self, stream: Any, *args: Any, **options: Any) -> Any:
        """A follower."""
        follower = (stream.target if self.is_blocking else stream).follow(*args, **options)
        return Blocking(follower) if self.is_blocking else follower

    async def outcome(self, delivery: Any) -> Any:
        """What became of a message."""
        return await (anyio.to_thread.run_sync(delivery.wait) if self.is_blocking else delivery)


class Adapter:
    """Carries commands out, one after the other."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.is_done = False
        self._server_url = ""
        self._types: dict[str, str] = {}
        self._dynamic: dict[str, dict[str, Callable[[], str]]] = {"header": {}, "param": {}}
        self._sent: dict[str, dict[str, str]] = {"header": {}, "param": {}}
        self._producers: dict[tuple[str, str, int], Any] = {}
        self._closed: set[tuple[str, str, int]] = set()  # by these producers
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._open.aclose()

    async def answer(self, command: Command) -> Result:
        """The result of a command; an error is a result too."""
        kind = str(command["type"])
        carry_out: Callable[[Command], Awaitable[Result]] | None
        carry_out = getattr(self, f"do_{kind.replace('-', '_')}", None)
        if carry_out is None:
            return failure(kind, "NOT_SUPPORTED", f"There is no command {kind!r}")
        try:
            result = await carry_out(command)
            return {"type": kind, "success": True, **result}
        except DurafoldError as exc:
            code = next((code for error, code in CODES if isinstance(exc, error)), "INTERNAL_ERROR")
            return failure(kind, code, str(exc), getattr(exc, "status", None))

    # ---- about the adapter ----

    async def do_init(self, command: Command) -> Result:
        self._server_url = command["serverUrl"]
        return {"clientName": self.face.name, "clientVersion": version("durafold"), "features": FEATURES}

    async def do_shutdown(self, command: Command) -> Result:
        self.is_done = True
        return {}

    async def do_set_dynamic_header(self, command: Command) -> Result:
        self._dynamic["header"][command["name"]] = self._dynamic_value("header", command)
        return {}

    async def do_set_dynamic_param(self, command: Command) -> Result:
        self._dynamic["param"][command["name"]] = self._dynamic_value("param", command)
        return {}

    async def do_clear_dynamic(self, command: Command) -> Result:
        self._dynamic = {"header": {}, "param": {}}
        return {}

    def _dynamic_value(self, where: str, command: Command) -> Callable[[], str]:
        count = 0

        def value() -> str:
            nonlocal count
            count += 1
            made = {
                "counter": str(count),
                "timestamp": str(int(time.time() * 1000)),
                "token": command.get("initialValue") or "",
            }[command["valueType"]]
            self._sent[where][command["name"]] = made
            return made

        return value

    def _what_was_sent(self) -> Result:
        sent = {"headersSent": self._sent["header"], "paramsSent": self._sent["param"]}
        return {name: values for name, values in sent.items() if values}

    def _stream(self, command: Command, content_type: str | None = None) -> Any:
        self._sent = {"header": {}, "param": {}}
        return self.face.stream(
            self._server_url + command["path"],
            headers={**self._dynamic["header"], **(command.get("headers") or {})},
            params=dict(self._dynamic["param"]),
            content_type=content_type or self._types.get(command["path"]),
        )

    # ---- a stream as a whole ----

    async def do_create(self, command: Command) -> Result:
        kind = command.get("contentType") or DEFAULT_TYPE
        data = command.get("data")
        body = json.loads(data) if data and kind == "application/json" else data
        async with self._stream(command, kind) as stream:
            info = await stream.create(
                ttl_s=command.get("ttlSeconds"),
                expires_at=command.get("expiresAt"),
                closed=bool(command.get("closed")),
                body=body or None,
            )
        self._types[command["path"]] = info.content_type
        return {"status": 201 if info.created else 200, "offset": info.next_offset}

    async def do_connect(self, command: Command) -> Result:
        return await self.do_head(command)

    async def do_head(self, command: Command) -> Result:
        async with self._stream(command) as stream:
            info = await stream.head()
        self._types[command["path"]] = info.content_type
        return {
            "status": 200,
            "offset": info.next_offset,
            "contentType": info.content_type,
            "streamClosed": info.closed,
            **({} if info.ttl_s is None else {"ttlSeconds": info.ttl_s}),
        }

    async def do_delete(self, command: Command) -> Result:
        async with self._stream(command) as stream:
            await stream.delete()
        self._types.pop(command["path"], None)
        return {"status": 200}

    async def do_close(self, command: Command) -> Result:
        kind = command.get("contentType") or self._types.get(command["path"]) or DEFAULT_TYPE
        async with self._stream(command, kind) as stream:
            if not command.get("data"):
                return {"finalOffset": (await stream.close()).final_offset}
            result = await stream.append_bytes(one_message(command["data"].encode(), kind), close=True)
            return {"finalOffset": result.next_offset}

    # ---- writing ----

    async def do_append(self, command: Command) -> Result:
        kind = self._types.get(command["path"]) or DEFAULT_TYPE
        text = command["data"]
        raw = base64.b64decode(text) if command.get("binary") else text.encode()
        seq = command.get("seq")
        async with self._stream(command, kind) as stream:
            result = await stream.append_bytes(one_message(raw, kind), seq=None if seq is None else str(seq))
            sent = self._what_was_sent()
        return {"status": 200, "offset": result.next_offset, **sent}

    async def do_idempotent_append(self, command: Command) -> Result:
        producer = await self._producer(command)
        delivery = await producer.append(encoded=command["data"].encode())
        result = await self.face.outcome(delivery)
        return {"status": 200, "offset": result.next_offset, "duplicate": result.duplicate}

    async def do_idempotent_append_batch(self, command: Command) -> Result:
        max_in_flight = command.get("maxInFlight") or 1
        is_concurrent = max_in_flight > 1
        async with self._stream(command, self._types.get(command["path"]) or DEFAULT_TYPE) as stream:
            producer = self.face.producer(
                stream,
                command["producerId"],
                epoch=command["epoch"],
                auto_claim=bool(command.get("autoClaim")),
                max_in_flight=max_in_flight,
                max_batch_bytes=1 if is_concurrent else 1024 * 1024,
                linger_s=0 if is_concurrent else 1,
            )
            async with producer:
                for item in command["items"]:
                    await producer.append(encoded=item.encode())
                await producer.flush()
        return {"status": 200}

    async def do_idempotent_close(self, command: Command) -> Result:
        producer = await self._producer(command)
        data = command.get("data")
        kind = self._types.get(command["path"]) or DEFAULT_TYPE
        last = json.loads(data) if data and kind == "application/json" else data
        try:
            result = await producer.close_stream(last)
        except StreamClosed as exc:
            if self._producer_key(command) not in self._closed:
                raise
            return {"status": 200, "finalOffset": exc.final_offset}
        if result.already_closed:
            # To us a close that finds the stream closed is a success that says so; to the suite, an error.
            return failure("idempotent-close", "STREAM_CLOSED", "Another writer has closed the stream", 409)
        self._closed.add(self._producer_key(command))
        return {"status": 200, "finalOffset": result.final_offset}

    async def do_idempotent_detach(self, command: Command) -> Result:
        producer = await self._producer(command)
        await producer.flush()
        del self._producers[self._producer_key(command)]
        return {"status": 200}

    def _producer_key(self, command: Command) -> tuple[str, str, int]:
        return command["path"], command["producerId"], command["epoch"]

    async def _producer(self, command: Command) -> Any:
        key = self._producer_key(command)
        if key not in self._producers:
            stream = self._stream(command, self._types.get(command["path"]) or DEFAULT_TYPE)
            producer = self.face.producer(
                await self._open.enter_async_context(stream),
                command["producerId"],
                epoch=command["epoch"],
                auto_claim=bool(command.get("autoClaim")),
                max_in_flight=1,
            )
            self._producers[key] = await self._open.enter_async_context(Unraised(producer))
        return self._producers[key]

    # ---- reading ----

    async def do_read(self, command: Command) -> Result:
        async with self._stream(command) as stream:
            if command.get("live"):
                return await self._read_live(stream, command)
            return await self._read_to_tail(stream, command)

    async def _read_to_tail(self, stream: Any, command: Command) -> Result:
        offset = command.get("offset") or START
        chunks = []
        while True:
            page = await stream.read(offset)
            chunks += chunk_of(page)
            offset = page.next_offset
            if page.up_to_date or len(chunks) >= (command.get("maxChunks") or 100):
                return self._read_result(chunks, offset, page.up_to_date, page.closed)

    async def _read_live(self, stream: Any, command: Command) -> Result:
        live = "auto" if command["live"] is True else command["live"]
        damaged = Damaged()
        follower = self.face.follow(stream, command.get("offset") or START, live=live, on_status=damaged.seen)
        damaged.follower = follower
        chunks: list[Result] = []
        is_up_to_date = False
        until_s = anyio.current_time() + (command.get("timeoutMs") or 5000) / 1000
        try:
            while len(chunks) < (command.get("maxChunks") or 100):
                if not await follower.ready(max(0, until_s - anyio.current_time())):
                    break
                page = follower.target.take() if self.face.is_blocking else follower.take()
                chunks += chunk_of(page)
                is_up_to_date = page.up_to_date
                if page.up_to_date and command.get("waitForUpToDate"):
                    break
        except TimeoutError:
            is_up_to_date = True
        finally:
            await (
                anyio.to_thread.run_sync(follower.target.close)
                if self.face.is_blocking
                else follower.aclose()
            )
        result = self._read_result(chunks, follower.offset, is_up_to_date, follower.closed)
        # The status of the last answer, which our client does not show: of an empty long-poll it is 204.
        return result if chunks or live != "long-poll" else {**result, "status": 204}

    def _read_result(self, chunks: list[Result], offset: str, up_to_date: bool, closed: bool) -> Result:
        return {
            "status": 200,
            "chunks": chunks,
            "offset": offset,
            "upToDate": up_to_date,
            "streamClosed": closed,
            **self._what_was_sent(),
        }

    # ---- checking arguments ----

    async def do_validate(self, command: Command) -> Result:
        target = command["target"]
        if target["target"] != "idempotent-producer":
            raise ConfigurationError(f"Nothing is known of {target['target']}")
        stream = self.face.stream(f"{self._server_url}/validate", content_type=DEFAULT_TYPE)
        options = {"epoch": target.get("epoch"), "max_batch_bytes": target.get("maxBatchBytes")}
        given = {name: value for name, value in options.items() if value is not None}
        try:
            self.face.producer(stream, target.get("producerId", "tester"), **given)
        except ConfigurationError as exc:
            # The suite looks for the name of the argument as TypeScript writes it.
            message = str(exc).replace("max_batch_bytes", "maxBatchBytes")
            return failure("validate", "INVALID_ARGUMENT", message)
        return {}


class Unraised:
    """A producer kept open between commands, whose failures were answers already."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def __aenter__(self) -> Any:
        return await self._producer.__aenter__()

    async def __aexit__(self, *exc_info: object) -> None:
        with suppress(DurafoldError):
            await self._producer.__aexit__(None, None, None)


class Damaged:
    """Ends a follower at the first damaged event. Left alone it would ask for it again, for ever."""

    follower: Any = None

    def seen(self, status: str) -> None:
        error = self.follower.error
        if status == "reconnecting" and isinstance(error, MalformedResponse):
            raise error


def one_message(raw: bytes, content_type: str) -> bytes:
    """A body with ready data as one message, also if it is a JSON array."""
    return b"[" + raw + b"]" if content_type == "application/json" and raw else raw


def chunk_of(page: Page) -> list[Result]:
    """The page as the suite wants to see it."""
    if not page.data:
        return []
    if page.content_type == "application/json":
        text = json.dumps(page.json(), ensure_ascii=False, separators=(",", ":"))
        return [{"data": text, "offset": page.next_offset}]
    try:
        return [{"data": page.data.decode(), "offset": page.next_offset}]
    except UnicodeDecodeError:
        encoded = base64.b64encode(page.data).decode()
        return [{"data": encoded, "binary": True, "offset": page.next_offset}]


def failure(command_type: str, code: str, message: str, status: int | None = None) -> Result:
    """The result of a command that did not work."""
    result = {
        "type": "error",
        "success": False,
        "commandType": command_type,
        "errorCode": code,
        "message": message,
    }
    return result if status is None else {**result, "status": status}


async def serve(face: Face) -> None:
    """Answer the commands that come in, until `shutdown` or the end of the input."""
    async with Adapter(face) as adapter:
        while not adapter.is_done and (line := await anyio.to_thread.run_sync(sys.stdin.readline)):
            result = await adapter.answer(json.loads(line))
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    anyio.run(serve, Face(is_blocking="--blocking" in sys.argv[1:]))
