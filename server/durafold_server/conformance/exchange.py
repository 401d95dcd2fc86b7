"""One request and its answer as values, and what a check can expect of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn, Self, TypeAlias, cast

HeaderValue: TypeAlias = str | bytes
Headers: TypeAlias = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]
"""As a mapping, or as pairs where a name is to be sent twice. Text is sent as UTF-8."""

HeaderPairs: TypeAlias = tuple[tuple[str, HeaderValue], ...]

_PREVIEW_LENGTH: Final = 120
_TELLING: Final = ("content-type", "etag", "location", "cache-control", "producer-", "stream-", "x-content-")


def header_pairs(headers: Headers) -> HeaderPairs:
    """Headers as pairs, however they were given."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple(cast("Iterable[tuple[str, HeaderValue]]", pairs))


class Failure(Exception):
    """The server did something else than a check expects.

    Attributes:
        expected: what should have come.
        came: what came.
        exchange: the request and the answer that showed it, if it was one.
    """

    def __init__(self, expected: str, came: str, exchange: str = "") -> None:
        super().__init__(f"expected {expected}, came {came}")
        self.expected = expected
        self.came = came
        self.exchange = exchange


class Skipped(Exception):
    """A check cannot tell anything about this server; the message says why."""


class TooSlow(Exception):
    """The machine may have been too slow for what a check measures, so it is tried again.

    Args:
        failure: what to say if it is so each time; without it, the check is skipped then.
    """

    def __init__(self, failure: Failure | None = None) -> None:
        super().__init__("the machine is too slow to tell")
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, byte for byte.

    Attributes:
        method: the HTTP method.
        target: path and query as they are sent.
        headers: in order; a name may come twice.
        body: the body; empty for none.
        chunks: if not empty, sent instead of `body`, as a body of unknown length.
    """

    method: str
    target: str
    headers: HeaderPairs = ()
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        size_bytes = len(self.body) + sum(map(len, self.chunks))
        parts = [f"{self.method} {shortened(self.target)}", *(f"[{n}: {_text(v)}]" for n, v in self.headers)]
        return " ".join([*parts, f"({size_bytes} bytes)"] if size_bytes else parts)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. The `expect…` methods return it again, so that they can be chained.

    Attributes:
        request: what it answers.
        status: the HTTP status.
        headers: names in lower case, in order.
        body: all of it, decompressed.
    """

    request: Request
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """The value of a header; several are joined with commas (RFC 9110 §5.2)."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    def value(self, name: str) -> str:
        """The value of a header that has to be there."""
        found = self.get(name)
        if found is None:
            self.fail(f"a {name} header", "none")
        return found

    @property
    def next_offset(self) -> str:
        """The value of Stream-Next-Offset, which has to be there."""
        return self.value("Stream-Next-Offset")

    @property
    def is_closed(self) -> bool:
        """Whether the answer says that the stream has ended (PROTOCOL §4.1)."""
        return (self.get("Stream-Closed") or "").lower() == "true"

    @property
    def is_up_to_date(self) -> bool:
        """Whether the answer says that the tail is reached (PROTOCOL §5.6)."""
        return (self.get("Stream-Up-To-Date") or "").lower() == "true"

    def expect(self, *statuses: int) -> Self:
        """One of these statuses."""
        if self.status not in statuses:
            self.fail(" or ".join(map(_status, statuses)), _status(self.status))
        return self

    def expect_refusal(self) -> Self:
        """Any 4xx status."""
        if not 400 <= self.status < 500:
            self.fail("a 4xx status", _status(self.status))
        return self

    def expect_no_server_error(self) -> Self:
        """Any status but 5xx, except 501, which says that the server cannot do this."""
        if self.status >= 500 and self.status != HTTPStatus.NOT_IMPLEMENTED:
            self.fail("no server error", _status(self.status))
        return self

    def expect_header(self, name: str, value: str) -> Self:
        """This value of a header, exactly."""
        if self.get(name) != value:
            self.fail(f"{name}: {value}", self._shown(name))
        return self

    def expect_no_header(self, name: str) -> Self:
        """The header is absent."""
        if self.get(name) is not None:
            self.fail(f"no {name} header", self._shown(name))
        return self

    def expect_closed(self) -> Self:
        """Stream-Closed: true."""
        if not self.is_closed:
            self.fail("Stream-Closed: true", self._shown("Stream-Closed"))
        return self

    def expect_open(self) -> Self:
        """No Stream-Closed header."""
        return self.expect_no_header("Stream-Closed")

    def expect_up_to_date(self) -> Self:
        """Stream-Up-To-Date: true."""
        if not self.is_up_to_date:
            self.fail("Stream-Up-To-Date: true", self._shown("Stream-Up-To-Date"))
        return self

    def expect_body(self, body: bytes) -> Self:
        """Exactly these bytes."""
        if self.body != body:
            self.fail(f"the body {preview(body)}", difference(body, self.body))
        return self

    def json(self) -> Any:
        """The body's JSON value, which has to be one."""
        try:
            return json.loads(self.body)
        except ValueError as exc:
            self.fail("a JSON body", f"{preview(self.body)} ({exc})")

    def expect_json(self, value: object) -> Self:
        """A JSON body that means this."""
        came = self.json()
        if not same_json(came, value):
            self.fail(f"the JSON value {shortened(repr(value))}", shortened(repr(came)))
        return self

    def fail(self, expected: str, came: str) -> NoReturn:
        """Say that something else was expected of this answer.

        Raises:
            Failure: always.
        """
        raise Failure(expected, came, str(self))

    def __str__(self) -> str:
        telling = [f"[{n}: {v}]" for n, v in self.headers if n.startswith(_TELLING)]
        return " ".join([f"{self.request} -> {_status(self.status)}", *telling])

    def _shown(self, name: str) -> str:
        found = self.get(name)
        return f"no {name} header" if found is None else f"{name}: {found}"


def expect_that(condition: object, expected: str, came: object) -> None:
    """Expect something that no single answer shows.

    Raises:
        Failure: the condition does not hold.
    """
    if not condition:
        raise Failure(expected, shortened(str(came)))


def expect_equal(came: object, expected: object, what: str) -> None:
    """Expect a value.

    Raises:
        Failure: it is another one.
    """
    if came != expected:
        if isinstance(came, bytes) and isinstance(expected, bytes):
            raise Failure(f"{what} to be {preview(expected)}", difference(expected, came))
        raise Failure(f"{what} to be {shortened(repr(expected))}", shortened(repr(came)))


def same_json(one: object, other: object) -> bool:
    """Whether two JSON values are the same; unlike in Python, 1, 1.0 and true are not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def preview(data: bytes) -> str:
    """Bytes as they can be shown in a line."""
    return shortened(repr(data)[1:]) if len(data) <= _PREVIEW_LENGTH else f"{len(data)} bytes"


def difference(expected: bytes, came: bytes) -> str:
    """How some bytes differ from others, in a few words."""
    if max(len(expected), len(came)) <= _PREVIEW_LENGTH:
        return preview(came)
    at = next((i for i, (a, b) in enumerate(zip(expected, came, strict=False)) if a != b), None)
    if at is None:
        return f"{len(came)} bytes"
    return f"{len(came)} bytes that differ from byte {at} on: {preview(came[at : at + 16])}"


def shortened(text: str) -> str:
    """A text with its middle left out, if it is long."""
    if len(text) <= 2 * _PREVIEW_LENGTH:
        return text
    return f"{text[:_PREVIEW_LENGTH]} … {text[-_PREVIEW_LENGTH // 2 :]}"


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _text(value: HeaderValue) -> str:
    return shortened(value if isinstance(value, str) else repr(value)[1:])
