"""A catalogue of faults for `BrokenServers`: each breaks one rule of the protocol, many as real servers did.

`BROKEN` and `BROKEN_WIRES` name them. Whatever is asked of a request or an answer is a condition,
a plain function of both, so that most faults are one line; faults that remember something are classes.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from support.broken_servers import Answer, Ask, Broken, Call, Wire

__all__ = ["BROKEN", "BROKEN_WIRES"]

Condition: TypeAlias = Callable[..., object]

_TYPE: Final = re.compile(r"[a-z-]+/[a-z0-9.+-]+(; ?[a-z]+=[^\t]+)?")
_JSON: Final = "application/json"
_PRODUCER: Final = ("producer-id", "producer-epoch", "producer-seq")
_FORK: Final = ("stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset")


class Rule(Broken):
    """A `Broken` made of functions, plain or async."""

    def __init__(
        self,
        *,
        request: Callable[[Call, Ask], Call | Answer | Awaitable[Call | Answer]] | None = None,
        answer: Callable[[Call, Answer, Ask], Answer | Awaitable[Answer]] | None = None,
        frame: Callable[[Call, bytes], bytes] | None = None,
    ) -> None:
        self._request = request
        self._answer = answer
        self._frame = frame

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        """See `Broken`."""
        return call if self._request is None else await _settled(self._request(call, ask))

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        """See `Broken`."""
        return answer if self._answer is None else await _settled(self._answer(call, answer, ask))

    def frame(self, call: Call, data: bytes) -> bytes:
        """See `Broken`."""
        return data if self._frame is None else self._frame(call, data)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


# Conditions


def always(*_: object) -> bool:
    return True


def method(*names: str) -> Condition:
    return lambda call, *_: call.method in names


def live(*modes: str) -> Condition:
    """A read in one of these modes; an empty one is catch-up."""
    return lambda call, *_: call.method == "GET" and call.live in modes


def has(header: str) -> Condition:
    return lambda call, *_: header in dict(call.headers)


def answered(*statuses: int) -> Condition:
    return lambda _, answer: answer.status in statuses


def told(header: str) -> Condition:
    """The answer has a header."""
    return lambda _, answer: bool(answer.get(header))


def no(condition: Condition) -> Condition:
    return lambda *exchange: not condition(*exchange)


def both(*conditions: Condition) -> Condition:
    return lambda *exchange: all(condition(*exchange) for condition in conditions)


def _is_json(call: Call, *_: object) -> bool:
    return call.get("content-type").startswith(_JSON)


def control(call: Call, *_: object) -> bool:
    """A request to the control APIs (PROTOCOL §6)."""
    return call.name.startswith("__ds/")


def registry(call: Call, *_: object) -> bool:
    """About the stream of streams."""
    return call.name == "__registry__"


def from_now(call: Call, *_: object) -> bool:
    return call.offset == "now"


def closing(call: Call, *_: object) -> bool:
    return call.method == "POST" and call.get("stream-closed").lower() == "true"


def empty(call: Call, *_: object) -> bool:
    return not call.body


CREATE: Final = method("PUT")
APPEND: Final = method("POST")
READ: Final = method("GET")
HEAD: Final = method("HEAD")
CATCH_UP: Final = live("")
LONG_POLL: Final = live("long-poll")
SSE: Final = live("sse")
PRODUCED: Final = has("producer-id")


# How rules are broken


def turns(was: int, into: int, when: Condition = always) -> Rule:
    """Another status."""
    return Rule(answer=lambda c, a, _: replace(a, status=into) if a.status == was and when(c, a) else a)


def drops(*headers: str, when: Condition = always) -> Rule:
    """Answers lack headers."""
    return Rule(answer=lambda c, a, _: a.without(*headers) if when(c, a) else a)


def sets(header: str, value: str, when: Condition = always) -> Rule:
    """Answers have another value of a header."""
    return Rule(answer=lambda c, a, _: a.having(header, value) if when(c, a) else a)


def ignores(*headers: str, when: Condition = always) -> Rule:
    """Headers of requests are not looked at."""
    return Rule(request=lambda c, _: c.without(*headers) if when(c) else c)


def replies(status: int, when: Condition) -> Rule:
    """Requests are not looked at."""
    return Rule(request=lambda c, _: Answer(status) if when(c) else c)


def takes_for(change: Callable[[Call], Call], when: Condition = always) -> Rule:
    """Requests are taken for others."""
    return Rule(request=lambda c, _: change(c) if when(c) else c)


def stores(change: Callable[[bytes], bytes], when: Condition = always) -> Rule:
    """Bodies of requests are changed."""
    return takes_for(lambda c: replace(c, body=change(c.body)), when)


def gives(change: Callable[[bytes], bytes], when: Condition = always) -> Rule:
    """Bodies of answers are changed."""
    return Rule(answer=lambda c, a, _: replace(a, body=change(a.body)) if when(c, a) else a)


def sends(change: Callable[[bytes], bytes]) -> Rule:
    """Parts of event streams are changed."""
    return Rule(frame=lambda _, data: change(data))


def tells(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Rule:
    """Control events are changed."""

    def changed(match: re.Match[bytes]) -> bytes:
        fields = json.dumps(change(json.loads(match[1])), separators=(",", ":"))
        return b"event: control\ndata:" + fields.encode() + b"\n\n"

    return sends(lambda data: re.sub(rb"(?m)^event: control\ndata:(.*)\n\n", changed, data))


def in_json(change: Callable[[Any], Any], when: Condition) -> Rule:
    """Objects in answers are changed; what cannot be changed so stays."""

    def changed(body: bytes) -> bytes:
        try:
            return json.dumps(change(json.loads(body))).encode()
        except (KeyError, TypeError, ValueError):
            return body

    return gives(changed, when)


def in_registry(change: Callable[[Any], Any]) -> Rule:
    """The registry tells something else."""
    return in_json(change, both(READ, registry))


def _without_operation(operation: str) -> Callable[[Any], Any]:
    return lambda told: [message for message in told if message["headers"]["operation"] != operation]


def in_links(change: Callable[[Any], Any]) -> Rule:
    """The links of subscriptions are changed."""
    return in_json(
        lambda value: {**value, "streams": [change(link) for link in value["streams"]]}, both(READ, control)
    )


def with_header(header: str, change: Callable[[str], str]) -> Callable[[Call], Call]:
    """A request with a changed header, if it has it."""
    return lambda call: call.having(header, change(call.get(header))) if has(header)(call) else call


def with_query(pattern: str, value: str) -> Callable[[Call], Call]:
    """A request with a changed query."""
    return lambda call: replace(call, query=re.sub(pattern, value, call.query))


def with_name(change: Callable[[str], str]) -> Callable[[Call], Call]:
    """A request for another stream."""
    return lambda call: replace(call, name=change(call.name))


def _without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda fields: {name: value for name, value in fields.items() if name not in names}


async def _head(call: Call, ask: Ask) -> Answer:
    return await ask(Call("HEAD", call.name, "", (), b""))


async def _tail(call: Call, ask: Ask) -> tuple[tuple[str, str], ...]:
    return (("stream-next-offset", (await _head(call, ask)).get("stream-next-offset")),)


# Faults of JSON


def _rewritten(dumps: Callable[[Any], str], **how: Any) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        try:
            return dumps(json.loads(body, **how)).encode()
        except (ValueError, RecursionError):
            return body

    return change


def _null_for_nan(value: Any) -> str:
    return re.sub(r"\bNaN\b|-?\bInfinity\b", "null", json.dumps(value))


def _flat(value: Any) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    return json.dumps([part for item in value for part in (item if isinstance(item, list) else [item])])


def _tolerant(body: bytes) -> bytes:
    """Takes what is almost JSON for what was meant, and the first of several values for all."""
    text = body.decode("utf-8", "replace")
    text = re.sub(r"/\*.*?\*/|//.*", "", text)
    text = re.sub(r",\s*([\]}])", r"\1", re.sub(r"([\[{,])\s*,+", r"\1", text)).replace("'", '"')
    text = re.sub(r"\\(?![\"\\/bfnrtu])|\\u(?![0-9a-fA-F]{4})", "", text)
    text = re.sub(r"([{,]\s*)([a-z]+):", r'\1"\2":', re.sub(r"(?<![\d.\w\"])[+0]+(?=\d)", "", text))
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", re.sub(r"(\d)\.(?!\d)", r"\1", text))
    try:
        return json.dumps(json.JSONDecoder(strict=False).raw_decode(text.strip())[0]).encode()
    except (ValueError, RecursionError):
        return body


# Faults of event streams


def _in_data_events(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: re.sub(
        rb"(?s)(?<=event: data\n)data:.*?(?=\n\nevent: control)", lambda match: change(match[0]), data
    )


def _unsplit(lines: bytes) -> bytes:
    return b"data:" + lines.removeprefix(b"data:").replace(b"\ndata:", b"\n")


def _python_lines(lines: bytes) -> bytes:
    text = lines.removeprefix(b"data:").replace(b"\ndata:", b"\n").decode("utf-8", "replace")
    return b"\n".join(b"data:" + line.encode() for line in text.splitlines())


def _in_base64(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return _in_data_events(lambda lines: b"data:" + change(lines.removeprefix(b"data:")))


def _bare_control(data: bytes) -> bytes:
    return re.sub(rb"(?s)event: data\n.*?\n\n(?=event: control)", b"", data)


def _end_first(data: bytes) -> bytes:
    return data[data.index(b"event: control") :] if b'"streamClosed":true' in data else data


def _one_control_event(data: bytes) -> bytes:
    return (
        data.replace(b"event: data", b"event: data\ndata:\n\nevent: data") if b"event: data" in data else data
    )


# Faults that remember something


class Racing(Broken):
    """An append is lost if another one to the same stream is under way."""

    def __init__(self) -> None:
        self._busy: set[str] = set()

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if call.method != "POST" or not call.body or call.get("stream-seq"):
            return call
        if call.name in self._busy:
            return Answer(200 if PRODUCED(call) else 204, await _tail(call, ask))
        self._busy.add(call.name)
        try:
            await asyncio.sleep(0.005)
            return await ask(call)
        finally:
            self._busy.discard(call.name)


class CheckThenAct(Broken):
    """What is checked and what is done are two steps with a pause between, so equal requests all pass."""

    def __init__(self, *checked: str) -> None:
        self._checked = checked
        self._busy: dict[tuple[str, ...], int] = {}

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if call.method != "POST" or not all(has(header)(call) for header in self._checked):
            return call
        key = (call.name, *(call.get(header) for header in self._checked))
        self._busy[key] = self._busy.get(key, 0) + 1
        try:
            await asyncio.sleep(0.02)
            is_alone = self._busy[key] == 1
            answer = await ask(call if is_alone else call.without(*self._checked))
            return (
                answer
                if is_alone or answer.status != 204 or not PRODUCED(call)
                else replace(answer, status=200)
            )
        finally:
            self._busy[key] -= 1


class HastyProducers(Broken):
    """A number counts as used before the append is known to be good."""

    def __init__(self) -> None:
        self._used: set[tuple[str, ...]] = set()

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if call.method != "POST" or not PRODUCED(call):
            return call
        key = (call.name, *(call.get(header) for header in _PRODUCER))
        if key in self._used:
            return Answer(204, (("producer-epoch", key[2]), ("producer-seq", key[3])))
        self._used.add(key)
        return call


class SharedProducers(Broken):
    """Producers are known by their name alone, whatever stream they write to and whether it was deleted."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, ...]] = set()

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if call.method != "POST" or not PRODUCED(call):
            return call
        check = call.name.split("-")[2]  # the names of streams begin with the run and the check
        key = (check, *(call.get(header) for header in _PRODUCER))
        if key in self._seen:
            return Answer(204, (("producer-epoch", key[2]), ("producer-seq", key[3])))
        self._seen.add(key)
        return call


class Stale(Broken):
    """Each read is answered for ever as it was first."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Answer] = {}

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        return self._known.get((call.name, call.query), call) if CATCH_UP(call) else call

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        if CATCH_UP(call) and answer.status == 200:
            self._known[call.name, call.query] = answer
        return answer


class Fickle(Broken):
    """Every second read of JSON is spelt differently."""

    def __init__(self) -> None:
        self._reads = 0

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        self._reads += 1
        return replace(answer, body=answer.body + b"\n" * (self._reads % 2)) if CATCH_UP(call) else answer


class Undead(Broken):
    """A deleted stream is only hidden until somebody creates it anew."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if call.method == "PUT" and call.name in self._hidden:
            self._hidden.discard(call.name)
            return replace(await _head(call, ask), status=201)
        if call.name in self._hidden:
            return Answer(404)
        if call.method == "DELETE" and (await _head(call, ask)).status == 200:
            self._hidden.add(call.name)
            return Answer(204)
        return call


class OwnLifetimes(Broken):
    """TTLs are kept by itself: streams end a time after the last of some kinds of requests."""

    def __init__(self, renews: Condition) -> None:
        self._renews = renews
        self._ttl_s: dict[str, int] = {}
        self._deadlines: dict[str, float] = {}

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        now = time.monotonic()
        if call.method == "PUT" and re.fullmatch(r"[1-9]\d?", call.get("stream-ttl")):
            self._ttl_s[call.name] = int(call.get("stream-ttl"))
            self._deadlines[call.name] = now + self._ttl_s[call.name]
            return call.having("stream-ttl", "3600")
        if call.name not in self._deadlines:
            return call
        if now > self._deadlines[call.name]:
            return Answer(404)
        if self._renews(call):
            self._deadlines[call.name] = now + self._ttl_s[call.name]
        return call


class ForksThatFollow(Broken):
    """What is appended to a source shows up in its forks too."""

    def __init__(self) -> None:
        self._forks: dict[str, list[str]] = {}

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        source = call.get("stream-forked-from").partition("/v1/stream/")[2]
        if call.method == "PUT" and source:
            self._forks.setdefault(source, []).append(call.name)
        if call.method in ("POST", "DELETE"):
            for fork in self._forks.get(call.name, ()):
                await ask(replace(call, name=fork))
        return call


class ForksThatInherit(Broken):
    """A fork knows the producers and the Stream-Seq of its source."""

    def __init__(self) -> None:
        self._source: dict[str, str] = {}
        self._seen: dict[str, set[tuple[str, ...]]] = {}

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        source = call.get("stream-forked-from").partition("/v1/stream/")[2]
        if call.method == "PUT" and source:
            self._source[call.name] = source
        if call.method != "POST":
            return call
        key = tuple(call.get(header) for header in ("producer-id", "stream-seq"))
        if any(key):
            self._seen.setdefault(call.name, set()).add(key)
            if self._seen.get(self._source.get(call.name, ""), set()):
                return Answer(409)
        return call


class LeakyForks(Broken):
    """Each try to fork a stream counts as one more fork of it, even if it is refused or was there before."""

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if call.method == "PUT" and has("stream-forked-from")(call):
            counted = call.without(*_FORK, "stream-ttl", "content-type")
            source = ("stream-forked-from", call.get("stream-forked-from"))
            await ask(replace(counted, name=f"{call.name}-counted", headers=(*counted.headers, source)))
        return call


class ForksThatClean(Broken):
    """When a fork is deleted, its source goes with it."""

    def __init__(self) -> None:
        self._source: dict[str, str] = {}

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        source = call.get("stream-forked-from").partition("/v1/stream/")[2]
        if call.method == "PUT" and source:
            self._source[call.name] = source
        if call.method == "DELETE" and call.name in self._source:
            answer = await ask(call)
            await ask(replace(call, name=self._source[call.name]))
            return answer
        return call


class SpeltOffsets(Broken):
    """Offsets look different, and are understood if they come back as they were given."""

    def __init__(self, given: Callable[[str], str], meant: Callable[[str], str]) -> None:
        self._given = given
        self._meant = meant

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        if has("stream-fork-offset")(call):
            call = call.having("stream-fork-offset", self._meant(call.get("stream-fork-offset")))
        return replace(call, query=re.sub(r"(?<=offset=)[^&]*", lambda m: self._meant(m[0]), call.query))

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        offset = answer.get("stream-next-offset")
        return answer.having("stream-next-offset", self._given(offset)) if offset else answer

    def frame(self, call: Call, data: bytes) -> bytes:
        pattern = rb'(?<="streamNextOffset":")[^"]*'
        return re.sub(pattern, lambda match: self._given(match[0].decode()).encode(), data)


def _at_start(offset: str) -> bool:
    return offset.endswith("_" + "0" * 16)


def _bare(offset: str) -> str:
    return re.sub(r"_0*(?=\d)", "_", offset)


def _padded(offset: str) -> str:
    return re.sub(r"_(\d+)$", lambda match: f"_{int(match[1]):016d}", offset)


class ReusedOffsets(Broken):
    """Offsets begin anew when a stream does: they say nothing of which stream they belong to."""

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        token = (await _head(call, ask)).get("stream-next-offset").partition("_")[0]
        return replace(call, query=re.sub(r"(?<=offset=)\d{16}", token or "0", call.query))

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        return (
            answer.having("etag", re.sub(r"\d+:", "1:", answer.get("etag"), count=1))
            if answer.get("etag")
            else answer
        )


# Faults that ask the good server something


async def _creates_what_it_refuses(call: Call, answer: Answer, ask: Ask) -> Answer:
    if call.method == "PUT" and answer.status in (400, 404, 409):
        await ask(
            Call("PUT", call.name, "", (("content-type", call.get("content-type") or "text/plain"),), b"")
        )
    return answer


async def _creates_what_is_not_there(call: Call, answer: Answer, ask: Ask) -> Answer:
    if call.method in ("POST", "HEAD") and answer.status == 404:
        await ask(Call("PUT", call.name, "", (("content-type", "text/plain"),), b""))
    return answer


async def _appends_on_confirmation(call: Call, answer: Answer, ask: Ask) -> Answer:
    if call.method == "PUT" and answer.status == 200:
        await ask(Call("POST", call.name, "", call.headers, call.body or b"again"))
    return answer


async def _stores_what_it_refuses(call: Call, answer: Answer, ask: Ask) -> Answer:
    if call.method == "POST" and answer.status in (400, 403, 409) and call.body:
        stored = await _head(call, ask)
        body = b'"refused"' if stored.get("content-type").startswith(_JSON) else call.body
        await ask(Call("POST", call.name, "", (("content-type", stored.get("content-type")),), body))
    return answer


async def _closes_what_it_refuses(call: Call, answer: Answer, ask: Ask) -> Answer:
    if closing(call) and answer.status in (400, 403, 409):
        await ask(Call("POST", call.name, "", (("stream-closed", "true"),), b""))
    return answer


async def _closes_once(call: Call, ask: Ask) -> Call | Answer:
    is_closed = closing(call) and (await _head(call, ask)).get("stream-closed")
    return Answer(409) if is_closed and not call.body else call


async def _remembers_refused_seq(call: Call, answer: Answer, ask: Ask) -> Answer:
    if call.get("stream-seq") and answer.status in (400, 409):
        stored = await _head(call, ask)
        seq = (("stream-seq", call.get("stream-seq")), ("content-type", stored.get("content-type")))
        await ask(Call("POST", call.name, "", seq, b"x"))
    return answer


async def _takes_any_type(call: Call, ask: Ask) -> Call:
    if call.method != "POST":
        return call
    return call.having("content-type", (await _head(call, ask)).get("content-type"))


async def _compares_types_by_letter(call: Call, ask: Ask) -> Call | Answer:
    given, known = call.get("content-type"), (await _head(call, ask)).get("content-type")
    return Answer(409) if call.body and known and given != known and given.lower() == known.lower() else call


async def _checks_closed_last(call: Call, answer: Answer, ask: Ask) -> Answer:
    if call.method == "POST" and answer.status == 409 and answer.get("stream-closed"):
        return Answer(409) if call.get("content-type") == _JSON or call.get("stream-seq") else answer
    return answer


async def _tail_before(call: Call, ask: Ask) -> Call | Answer:
    if call.method not in ("PUT", "POST") or not call.body:
        return call
    before = await _tail(call, ask)
    answer = await ask(call)
    return answer.having(*before[0]) if before[0][1] and answer.status in (200, 204) else answer


async def _head_renews(call: Call, ask: Ask) -> Call:
    if call.method == "HEAD":
        await ask(Call("GET", call.name, "", (), b""))
    return call


async def _closed_before_the_end(call: Call, answer: Answer, ask: Ask) -> Answer:
    if LONG_POLL(call) and answer.status == 200 and answer.get("stream-closed"):
        return replace(answer, status=204, body=b"").having("stream-next-offset", call.offset)
    return answer


async def _closed_on_every_page(call: Call, answer: Answer, ask: Ask) -> Answer:
    closed = READ(call) and answer.status == 200 and (await _head(call, ask)).get("stream-closed")
    return answer.having("stream-closed", "true") if closed else answer


async def _waits_with_news(call: Call, answer: Answer, ask: Ask) -> Answer:
    if LONG_POLL(call) and (answer.status == 200 or answer.get("stream-closed")):
        await asyncio.sleep(0.7)  # longer than any poll of the good server
    return answer


async def _fork_of_closed_is_closed(call: Call, ask: Ask) -> Call:
    source = call.get("stream-forked-from").partition("/v1/stream/")[2]
    if source and (await _head(replace(call, name=source), ask)).get("stream-closed"):
        return call.having("stream-closed", "true")
    return call


def _numeric_seq(call: Call) -> Call:
    seq = call.get("stream-seq")
    return (
        call.having("stream-seq", f"{int(seq):08d}")
        if seq.isdigit()
        else call.having("stream-seq", seq.lower())
    )


def _ttl_number(text: str) -> str:
    """What a lenient parser makes of a TTL."""
    match = re.search(r"\d+", text)
    return str(int(match[0])) if match else "60"


def _path_that_breaks(call: Call, *_: object) -> bool:
    name = unquote(call.name)
    return not name.isascii() or not name.isprintable() or len(name) > 1500


BROKEN: Final[Mapping[str, Broken]] = {
    # Statuses
    "creations-answer-200": turns(201, 200, CREATE),
    "confirmations-answer-201": turns(200, 201, CREATE),
    "conflicts-are-confirmed": turns(409, 200, CREATE),
    "confirmations-are-conflicts": turns(200, 409, CREATE),
    "appends-answer-200": turns(204, 200, both(APPEND, no(PRODUCED))),
    "new-data-of-producers-answers-204": turns(200, 204, APPEND),
    "duplicates-answer-200": turns(204, 200, both(APPEND, PRODUCED)),
    "fenced-answers-409": turns(403, 409),
    "deletes-answer-200": turns(204, 200, method("DELETE")),
    "soft-deleted-is-404": turns(410, 404),
    "bad-requests-are-500": turns(400, 500),
    "bad-reads-are-200": turns(400, 200, READ),
    "bad-appends-are-204": turns(400, 204, APPEND),
    "conflicts-are-taken": turns(409, 204, APPEND),
    "unknown-is-empty": turns(404, 200, method("GET", "HEAD")),
    "unknown-appends-are-taken": turns(404, 204, APPEND),
    "unknown-deletes-answer-204": turns(404, 204, method("DELETE")),
    "too-large-is-500": turns(413, 500),
    "no-preflight": turns(204, 405, method("OPTIONS")),
    # Headers of answers
    "no-next-offset": drops("stream-next-offset"),
    "no-up-to-date": drops("stream-up-to-date"),
    "no-closed": drops("stream-closed"),
    "no-cursor": drops("stream-cursor"),
    "no-etag": drops("etag"),
    "no-location": drops("location"),
    "no-content-type": drops("content-type", when=method("PUT", "HEAD", "GET")),
    "no-producer-numbers": drops("producer-epoch", "producer-seq"),
    "no-gap-numbers": drops("producer-expected-seq", "producer-received-seq"),
    "no-nosniff": drops("x-content-type-options"),
    "no-resource-policy": drops("cross-origin-resource-policy"),
    "no-allowed-origin": drops("access-control-allow-origin"),
    "no-exposed-headers": drops("access-control-expose-headers"),
    "few-allowed-headers": sets("access-control-allow-headers", "content-type", when=method("OPTIONS")),
    "no-lifetimes-in-head": drops("stream-ttl", "stream-expires-at"),
    "no-base64-header": drops("stream-sse-data-encoding"),
    "base64-header-everywhere": sets("stream-sse-data-encoding", "base64"),
    "never-closed-but-says-false": sets("stream-closed", "false", when=no(told("stream-closed"))),
    "always-up-to-date": sets("stream-up-to-date", "true"),
    "forks-are-shown": sets("stream-forked-from", "/v1/stream/somewhere"),
    "lifetimes-for-all": sets("stream-ttl", "0", when=both(HEAD, no(told("stream-ttl")))),
    "wrong-expiry": sets("stream-expires-at", "2000-01-01T00:00:00Z", when=told("stream-expires-at")),
    "everything-may-be-cached": sets("cache-control", "public, max-age=60"),
    "nothing-may-be-cached": sets("cache-control", "no-store"),
    "one-etag": sets("etag", '"same"', when=both(READ, told("etag"))),
    "now-is-nowhere": sets("stream-next-offset", "-1", when=from_now),
    "etags-on-now": sets("etag", '"now"', when=from_now),
    "etags-without-quotes": Rule(
        answer=lambda _, a, __: a.having("etag", a.get("etag").strip('"')) if a.get("etag") else a
    ),
    "no-etag-on-304": drops("etag", when=answered(304)),
    "one-cursor": sets("stream-cursor", "7", when=told("stream-cursor")),
    "cursor-of-words": sets("stream-cursor", "later", when=told("stream-cursor")),
    "location-elsewhere": sets("location", "/v1/stream/elsewhere", when=told("location")),
    "octets-everywhere": sets("content-type", "application/octet-stream", when=no(SSE)),
    "events-are-plain-text": sets("content-type", "text/plain", when=SSE),
    "parameters-are-cut": Rule(
        answer=lambda _, a, __: a.having("content-type", a.get("content-type").split(";")[0])
    ),
    # Headers of requests
    "stream-seq-is-ignored": ignores("stream-seq"),
    "producers-are-ignored": ignores(*_PRODUCER),
    "ttl-is-ignored": ignores("stream-ttl"),
    "closed-at-creation-is-ignored": ignores("stream-closed", when=CREATE),
    "if-none-match-is-ignored": ignores("if-none-match"),
    "every-etag-matches": takes_for(with_header("if-none-match", lambda _: "*")),
    "forks-are-ignored": ignores(*_FORK),
    "fork-offset-is-ignored": ignores("stream-fork-offset"),
    "sub-offset-is-ignored": ignores("stream-fork-sub-offset"),
    "fork-type-is-ignored": ignores("content-type", when=has("stream-forked-from")),
    "fork-lifetime-is-ignored": ignores("stream-ttl", "stream-expires-at", when=has("stream-forked-from")),
    "any-closed-closes": takes_for(with_header("stream-closed", lambda _: "true")),
    "only-lower-case-true-closes": takes_for(
        lambda c: c if c.get("stream-closed") == "true" else c.without("stream-closed")
    ),
    "lenient-ttl": takes_for(with_header("stream-ttl", _ttl_number)),
    "lenient-expiry": ignores(
        "stream-expires-at",
        when=lambda c, *_: not re.fullmatch(r"20\d\d-0[1-6]-.*", c.get("stream-expires-at")),
    ),
    "ttl-wins-over-expiry": ignores("stream-expires-at", when=has("stream-ttl")),
    "local-expiry": takes_for(
        with_header("stream-expires-at", lambda text: re.sub(r"[+-]\d\d:\d\d$", "Z", text))
    ),
    "expiry-is-a-ttl": takes_for(
        lambda c: (
            c.without("stream-expires-at").having("stream-ttl", "3") if has("stream-expires-at")(c) else c
        )
    ),
    "lenient-numbers": takes_for(
        lambda c: (
            c.having("producer-epoch", _ttl_number(c.get("producer-epoch") or "0")).having(
                "producer-seq", _ttl_number(c.get("producer-seq") or "0")
            )
            if PRODUCED(c)
            else c
        )
    ),
    "partial-producers-are-ignored": ignores(
        *_PRODUCER, when=lambda c, *_: not all(has(h)(c) for h in _PRODUCER)
    ),
    "empty-producers-are-ignored": ignores(
        *_PRODUCER, when=lambda c, *_: not all(c.get(h) for h in _PRODUCER)
    ),
    "producers-in-lower-case": takes_for(with_header("producer-id", str.lower)),
    "epochs-are-ignored": takes_for(with_header("producer-epoch", lambda _: "0")),
    "seq-without-zeros-in-front": takes_for(with_header("stream-seq", lambda seq: seq.lstrip("0"))),
    "seq-is-a-number": takes_for(_numeric_seq, has("stream-seq")),
    "any-type-is-taken": Rule(request=_takes_any_type),
    "types-are-compared-by-letter": Rule(request=_compares_types_by_letter),
    "types-are-compared-by-closes": replies(
        409, both(closing, empty, lambda c, *_: c.get("content-type") == _JSON)
    ),
    "types-with-parameters-are-conflicts": replies(
        409, both(APPEND, lambda c, *_: ";" in c.get("content-type"))
    ),
    "odd-types-are-500": replies(
        500, lambda c, *_: has("content-type")(c) and not _TYPE.fullmatch(c.get("content-type"))
    ),
    "unknown-headers-are-refused": replies(400, has("stream-something-new")),
    "text-is-the-default": takes_for(
        lambda c: c.having("content-type", "text/plain"), both(CREATE, no(has("content-type")))
    ),
    "unknown-parameters-are-refused": replies(400, lambda c, *_: "unknown=" in c.query),
    "empty-appends-are-taken": stores(lambda body: body or b" ", both(APPEND, no(closing))),
    "later-headers-win": takes_for(lambda c: replace(c, headers=tuple(dict(c.headers).items()))),
    # Queries
    "offset-is-ignored": takes_for(with_query(r"offset=(?!now)[^&]*", "offset=-1"), READ),
    "now-is-the-start": takes_for(with_query("offset=now", "offset=-1")),
    "bad-offsets-are-the-start": takes_for(
        with_query(r"offset=(?!\d{16}_\d{16}|now|-1)[^&]*(&offset=.*)?", "offset=-1")
    ),
    "any-live-mode-waits": takes_for(with_query("live=(bogus|SSE)", "live=long-poll")),
    "the-last-offset-wins": takes_for(with_query(r"offset=[^&]*&(?=offset)", "")),
    # Bodies
    "chunked-bodies-are-lost": stores(lambda _: b"", has("transfer-encoding")),
    "bodies-are-utf-8": stores(lambda body: body.decode("utf-8", "replace").encode()),
    "line-ends-are-unified": stores(lambda body: body.replace(b"\r\n", b"\n")),
    "bodies-are-cut": stores(lambda body: body[:50_000]),
    "messages-are-not-flattened": stores(
        lambda body: b"[" + body + b"]" if body.lstrip()[:1] == b"[" else body, APPEND
    ),
    "messages-are-flattened-twice": stores(_rewritten(_flat), _is_json),
    "json-by-python": stores(_rewritten(_null_for_nan), _is_json),
    "json-by-javascript": stores(_rewritten(json.dumps, parse_int=float), _is_json),
    "json-is-tolerant": stores(_tolerant, _is_json),
    "json-everywhere": takes_for(
        lambda c: c.having("content-type", _JSON), lambda c, *_: "json" in c.get("content-type")
    ),
    "json-without-parameters-only": takes_for(
        with_header("content-type", lambda text: "text/plain" if text.startswith(f"{_JSON};") else text)
    ),
    "only-arrays-and-objects-are-messages": replies(
        400, both(_is_json, APPEND, lambda c, *_: c.body.strip()[:1] not in b"[{")
    ),
    "deep-json-is-refused": replies(400, both(_is_json, lambda c, *_: c.body.count(b"[") > 5)),
    "long-numbers-are-500": replies(500, both(_is_json, lambda c, *_: re.search(rb"\d{1000}", c.body))),
    "pages-lose-a-byte": gives(lambda body: body[:-1], CATCH_UP),
    "old-data-is-changed": gives(lambda body: b"#" + body[1:] if len(body) > 13 else body, CATCH_UP),
    "pages-of-json-are-lines": gives(
        lambda body: body.strip(b"[]").replace(b",", b"\n"),
        lambda c, a: READ(c) and a.get("content-type") == _JSON,
    ),
    "polls-lose-a-byte": gives(lambda body: body[:-1], LONG_POLL),
    "compressed-answers-are-cut": gives(
        lambda body: body[:10], lambda c, *_: "gzip" in c.get("accept-encoding")
    ),
    # Event streams
    "no-control-events": sends(lambda data: re.sub(rb"event: control\ndata:.*\n\n", b"", data)),
    "two-data-events-in-a-row": sends(_one_control_event),
    "controls-without-up-to-date": tells(_without("upToDate")),
    "controls-without-closed": tells(_without("streamClosed")),
    "controls-always-closed": tells(lambda fields: {**fields, "streamClosed": True}),
    "controls-always-up-to-date": tells(lambda fields: {**fields, "upToDate": True}),
    "controls-at-the-start": tells(lambda fields: {**fields, "streamNextOffset": "-1"}),
    "controls-with-a-number": tells(lambda fields: {**fields, "streamCursor": 7}),
    "data-are-lost": sends(lambda data: re.sub(rb"(?s)event: data\n.*?\n\n(?=event: control)", b"", data)),
    "data-come-twice": sends(
        lambda data: re.sub(rb"(?s)(event: data\n.*?\n\n)(?=event: control)", rb"\1\1", data)
    ),
    "line-breaks-are-not-split": sends(_in_data_events(_unsplit)),
    "line-breaks-are-lost": sends(
        _in_data_events(lambda lines: b"data:" + lines.replace(b"\ndata:", b"").removeprefix(b"data:"))
    ),
    "a-space-is-lost": sends(_in_data_events(lambda lines: lines.replace(b"data:  ", b"data: "))),
    "data-is-ascii": sends(lambda data: data.decode("utf-8", "replace").encode("ascii", "replace")),
    "lines-end-where-python-ends-them": sends(_in_data_events(_python_lines)),
    "json-events-are-bare": sends(
        _in_data_events(lambda lines: lines.replace(b"data:[", b"data:").removesuffix(b"]"))
    ),
    "base64-without-padding": sends(_in_base64(lambda text: text.rstrip(b"="))),
    "base64-for-urls": sends(_in_base64(lambda text: text.replace(b"+", b"-").replace(b"/", b"_"))),
    "the-end-comes-first": sends(_end_first),
    # The order of things
    "the-end-comes-first-in-polls": Rule(answer=_closed_before_the_end),
    "closed-on-every-page": Rule(answer=_closed_on_every_page),
    "polls-always-wait": Rule(answer=_waits_with_news),
    "creates-what-it-refuses": Rule(answer=_creates_what_it_refuses),
    "creates-what-is-not-there": Rule(answer=_creates_what_is_not_there),
    "appends-on-confirmation": Rule(answer=_appends_on_confirmation),
    "stores-what-it-refuses": Rule(answer=_stores_what_it_refuses),
    "closes-what-it-refuses": Rule(answer=_closes_what_it_refuses),
    "remembers-refused-seq": Rule(answer=_remembers_refused_seq),
    "closing-again-is-a-conflict": Rule(request=_closes_once),
    "closed-is-checked-last": Rule(answer=_checks_closed_last),
    "the-tail-lags": Rule(request=_tail_before),
    "racing-appends-are-lost": Racing(),
    "producers-are-not-serialised": CheckThenAct(*_PRODUCER),
    "stream-seq-is-not-serialised": CheckThenAct("stream-seq"),
    "producers-are-shared": SharedProducers(),
    "refused-numbers-are-used": HastyProducers(),
    "reads-are-stale": Stale(),
    "reads-are-fickle": Fickle(),
    "deleted-is-hidden": Undead(),
    "offsets-are-reused": ReusedOffsets(),
    "offsets-are-plain-counts": SpeltOffsets(_bare, _padded),
    "offsets-hold-a-slash": SpeltOffsets(
        lambda o: o.replace("_", "/"), lambda o: unquote(o).replace("/", "_")
    ),
    "offsets-are-long": SpeltOffsets(lambda o: f"{'-' * 300}{o}", lambda o: o.removeprefix("-" * 300)),
    "the-start-is-now": SpeltOffsets(lambda o: "now" if _at_start(o) else o, str),
    "the-start-is-minus-1": SpeltOffsets(lambda o: "-1" if _at_start(o) else o, str),
    # Lifetimes
    "head-renews": Rule(request=_head_renews),
    "lifetimes-are-refused": replies(
        400, both(CREATE, lambda c, *_: has("stream-ttl")(c) or has("stream-expires-at")(c))
    ),
    "only-appends-renew": OwnLifetimes(both(APPEND, no(closing))),
    "only-catch-up-renews": OwnLifetimes(both(CATCH_UP, no(from_now))),
    "refused-appends-renew": OwnLifetimes(method("GET", "POST", "HEAD")),
    # Forks
    "forks-follow-their-source": ForksThatFollow(),
    "forks-inherit-writers": ForksThatInherit(),
    "forks-leak": LeakyForks(),
    "forks-take-their-source-along": ForksThatClean(),
    "forks-of-closed-are-closed": Rule(request=_fork_of_closed_is_closed),
    # Subscriptions
    "subscriptions-are-always-new": turns(200, 201, both(CREATE, control)),
    "anything-is-a-subscription": turns(400, 201, both(CREATE, control)),
    "subscriptions-cannot-be-deleted": replies(204, both(method("DELETE"), control)),
    "links-are-never-acknowledged": in_links(lambda link: {**link, "acked_offset": "-1"}),
    "links-are-all-explicit": in_links(lambda link: {**link, "link_type": "explicit"}),
    "links-are-all-glob": in_links(lambda link: {**link, "link_type": "glob"}),
    "secrets-are-shown": in_json(lambda value: {**value, "webhook_secret": "s"}, both(READ, control)),
    "private-keys-are-shown": in_json(
        lambda value: {"keys": [{**key, "d": "x"} for key in value["keys"]]}, both(READ, control)
    ),
    "fenced-is-ok": turns(409, 200, both(APPEND, control)),
    "tokens-are-not-checked": turns(401, 200, both(APPEND, control)),
    "claims-name-nobody": in_json(
        lambda value: {"error": {"code": value["error"]["code"]}}, both(APPEND, control)
    ),
    "acks-say-nothing": in_json(lambda _: {}, lambda c, *_: c.name.endswith(("/ack", "/callback"))),
    "releases-answer-200": turns(204, 200, lambda c, *_: c.name.endswith("/release")),
    "nobody-is-woken": stores(
        lambda body: re.sub(rb'(?<="pattern": )"[^"]*"', b'"nothing/*"', body), both(CREATE, control)
    ),
    "wakes-are-lost": gives(lambda body: body.replace(b"wake", b"sleep"), CATCH_UP),
    # Paths
    "paths-are-lower-case": takes_for(with_name(str.lower)),
    "encoded-slashes-are-slashes": takes_for(with_name(lambda name: name.replace("%2F", "/"))),
    "paths-have-one-segment": takes_for(with_name(lambda name: name.split("/")[0])),
    "paths-are-compared-by-letter": takes_for(with_name(lambda name: name.replace("%c3%a9", "%c3%a8"))),
    "odd-paths-are-500": replies(500, _path_that_breaks),
    "methods-are-appends": takes_for(
        lambda c: replace(c, method="POST", body=b"data").having("content-type", "text/plain"),
        method("PATCH", "PROPFIND", "LOCK", "TRACE"),
    ),
    "tracebacks": Rule(
        answer=lambda _, a, __: (
            replace(a, body=b'Traceback (most recent call last):\n  File "/app.py"') if a.status == 400 else a
        )
    ),
    "headers-can-be-injected": sets("x-injected", "yes", when=lambda c, _: "X-Injected" in c.name),
    "events-can-be-injected": sets("event", "control", when=SSE),
    "the-root-is-500": replies(500, lambda c, *_: not c.name or c.name.startswith("/")),
    # Registry
    "the-registry-is-text": sets("content-type", "text/plain", registry),
    "the-registry-has-its-own-form": in_registry(lambda told: [{**m, "type": "created"} for m in told]),
    "the-registry-forgets-creations": in_registry(_without_operation("insert")),
    "the-registry-forgets-deletions": in_registry(_without_operation("delete")),
    "the-registry-forgets-forks": in_registry(
        lambda told: [m for m in told if "forkedFrom" not in m.get("value", ())]
    ),
    "the-registry-tells-twice": in_registry(lambda told: [m for m in told for _ in range(2)]),
    "the-registry-counts-seconds": in_registry(
        lambda told: [
            {**m, "value": {**m["value"], "createdAt": m["value"]["createdAt"] // 1000}}
            for m in told
            if "value" in m
        ]
    ),
    "the-registry-cannot-be-followed": Rule(
        frame=lambda call, data: _bare_control(data) if registry(call) else data
    ),
}


class HeadWithABody(Wire):
    """The answer to HEAD has a body."""

    def answer(self, request: bytes, answer: bytes) -> bytes:
        return answer + b"a body" if request.startswith(b"HEAD ") else answer


class StumblingWire(Wire):
    """What is no good HTTP is answered with 500."""

    def reply(self, received: bytes, *, is_over: bool) -> bytes:
        head = received.partition(b"\r\n\r\n")[0] + b"\r\n"
        good = re.match(rb"[A-Z]+ [^ ]+ HTTP/1\.[01]\r\n", head) and re.search(
            rb"(?i)\r\nhost: *[^\s:]", head
        )
        is_fine = good and len(head) < 65536
        return (
            b"" if is_fine or b"\r\n" not in received else b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"
        )


class HastyWire(Wire):
    """What has come of a body is taken for all of it, when the client leaves or its length makes no sense."""

    def request(self, received: bytes, *, is_over: bool) -> bytes:
        head, end, body = received.partition(b"\r\n\r\n")
        makes_sense = re.search(rb"(?i)\r\ncontent-length: *\d{1,9}\r\n", head + end)
        if not end or not body or (makes_sense and not is_over):
            return super().request(received, is_over=is_over)
        kept = re.sub(rb"(?i)\r\n(content-length|transfer-encoding):[^\r]*", b"", head)
        return kept + b"\r\nContent-Length: %d" % len(body) + end + body


BROKEN_WIRES: Final[Mapping[str, Wire]] = {
    "head-has-a-body": HeadWithABody(),
    "bad-http-is-500": StumblingWire(),
    "broken-off-bodies-are-taken": HastyWire(),
}
