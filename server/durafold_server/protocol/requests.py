"""Method, headers and query of an HTTP request → a typed request, or the error to answer with.

Headers arrive as a mapping of lower-case names to text, query parameters as a mapping of names to all their
values. Whatever a rule needs later is parsed here, once; nothing below looks at text again.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from durafold.wire import names
from durafold.wire.offsets import is_valid_token
from durafold_server.protocol import json_mode, producers
from durafold_server.protocol.errors import (
    EmptyBody,
    InvalidOffset,
    InvalidRequest,
    NotFound,
    PathTooLong,
    ProtocolError,
)
from durafold_server.protocol.lifetimes import parse_lifetime
from durafold_server.protocol.model import (
    NO_PAYLOAD,
    Lifetime,
    Mode,
    Payload,
    ProducerClaim,
    Retention,
    Value,
)
from durafold_server.protocol.retention import parse_retention

HeaderMap = Mapping[str, str]
Query = Mapping[str, Sequence[str]]

LARGE_BODY_BYTES: Final = json_mode.LARGE_BODY_BYTES
MAX_PATH_CHARS: Final = 2048
MAX_LISTED: Final = 1000
USUALLY_LISTED: Final = 100
RESERVED_SEGMENT: Final = "__ds"
"""First path segment of the protocol's control APIs (PROTOCOL §6); never a stream."""

_SAFE_PATH: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]+", re.ASCII)
_SAFE_IN_SEGMENT: Final = "-._~!$&'()*+,;=:@"
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_SUB_OFFSET: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
# RFC 9110 §8.3.1: type/subtype of token characters, then parameters.
_CONTENT_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[\t\x20-\x7e]*)?", re.ASCII)
_MAX_CONTENT_TYPE_LENGTH: Final = 256
_MAX_SEQ_LENGTH: Final = 1024


class ForkRequest(Value, frozen=True):
    """The fork headers of a create request (PROTOCOL §4.2)."""

    source_path: str
    offset: str | None
    sub_offset: int


class CreateRequest(Value, frozen=True):
    """PUT (PROTOCOL §5.1). `content_type` is None when the client named none.

    `checked` is what the body holds if it is JSON, or what is wrong with it then, where that is known.
    """

    path: str
    content_type: str | None
    lifetime: Lifetime
    closed: bool
    body: bytes
    fork: ForkRequest | None
    max_json_depth: int = json_mode.MAX_DEPTH
    retention: Retention | None = None
    checked: Payload | ProtocolError | None = None


class AppendRequest(Value, frozen=True):
    """POST (PROTOCOL §5.2). `payload` is the error instead, if the body is bad.

    A bad body is reported only once the stream is known to exist and to be open, because those
    conditions take precedence. `sender` is as for `producers.owner_after`.
    """

    path: str
    content_type: str | None
    payload: Payload | ProtocolError
    close: bool
    seq: str | None
    claim: ProducerClaim | None
    sender: bytes | None = None


class ReadRequest(Value, frozen=True):
    """GET (PROTOCOL §5.6–5.8). `offset` is the token as sent, None for the start."""

    path: str
    offset: str | None
    live: Literal["long-poll", "sse"] | None
    cursor: str | None
    if_none_match: str | None


class ListRequest(Value, frozen=True):
    """GET of the stream root itself (an extension): streams in order of path, from beyond `after`."""

    prefix: str
    after: str | None
    limit: int


def check_large_json(
    headers: HeaderMap,
    body: bytes,
    max_json_depth: int = json_mode.MAX_DEPTH,
    *,
    allow_empty: bool = False,
) -> Generator[None, None, Payload | ProtocolError | None]:
    """What a large JSON body holds, worked out in steps, so that others can be served in between.

    Returns:
        (as a generator does) its data, or what is wrong with it; None if no JSON is expected.
    """
    content_type = headers.get("content-type")
    inherits = not content_type and "stream-forked-from" in headers
    if not inherits and not names.is_json(content_type or names.DEFAULT_CONTENT_TYPE):
        return None
    try:
        return (
            yield from json_mode.flatten_in_steps(body, allow_empty=allow_empty, max_depth=max_json_depth)
        )
    except ProtocolError as error:
        return error


def parse_create(
    path: str,
    headers: HeaderMap,
    body: bytes,
    *,
    root: str,
    checked: Payload | ProtocolError | None = None,
    max_json_depth: int = json_mode.MAX_DEPTH,
) -> CreateRequest:
    """A create request.

    Args:
        path: canonical path of the stream to create.
        headers: the request's.
        body: the request's.
        root: URL path that all streams are below, as clients write it; a fork's source is named with it.
        checked: what `check_large_json` said, with `allow_empty`.
        max_json_depth: deepest nesting of a message, should the stream be in JSON mode.

    Raises:
        InvalidRequest: a header is malformed, or fork headers come without their source.
    """
    return CreateRequest(
        path=path,
        content_type=_content_type(headers),
        lifetime=parse_lifetime(headers.get("stream-ttl"), headers.get("stream-expires-at")),
        closed=names.is_true(headers.get("stream-closed")),
        body=body,
        fork=_parse_fork(headers, root),
        max_json_depth=max_json_depth,
        retention=parse_retention(headers.get("stream-retention-bytes"), headers.get("stream-retention-age")),
        checked=checked,
    )


def parse_append(
    path: str,
    headers: HeaderMap,
    body: bytes,
    *,
    checked: Payload | ProtocolError | None = None,
    max_json_depth: int = json_mode.MAX_DEPTH,
    sender: bytes | None = None,
) -> AppendRequest:
    """An append, a close, or both; JSON is nested at most `max_json_depth` levels deep.

    `checked` is what `check_large_json` said, `sender` who sends it, if it matters.

    Raises:
        InvalidRequest: a header is malformed.
    """
    close = names.is_true(headers.get("stream-closed"))
    seq = headers.get("stream-seq")
    if seq is not None and not 0 < len(seq) <= _MAX_SEQ_LENGTH:
        raise InvalidRequest(f"{names.STREAM_SEQ} must have 1 to {_MAX_SEQ_LENGTH} characters.")
    # PROTOCOL §5.2: the type of an empty body is nobody's business.
    content_type = _content_type(headers) if body else None
    return AppendRequest(
        path=path,
        content_type=content_type,
        payload=_payload(body, content_type, max_json_depth, close=close) if checked is None else checked,
        close=close,
        seq=seq,
        claim=producers.parse_claim(
            headers.get("producer-id"), headers.get("producer-epoch"), headers.get("producer-seq")
        ),
        sender=sender,
    )


def parse_read(path: str, headers: HeaderMap, query: Query) -> ReadRequest:
    """A read in any of the three modes; unknown parameters are ignored.

    Raises:
        InvalidOffset: the offset is empty, repeated, or cannot be a token.
        InvalidRequest: an unknown live mode, or a live read without an offset.
    """
    offset = _single(query, names.OFFSET_PARAM, InvalidOffset)
    if offset is not None and not is_valid_token(offset):
        raise InvalidOffset(
            f"The offset is malformed; use one from {names.STREAM_NEXT_OFFSET}, or -1, or now."
        )
    live = _single(query, names.LIVE_PARAM, InvalidRequest)
    if live is not None and live not in (names.LONG_POLL, names.SSE):
        raise InvalidRequest(f"live must be {names.LONG_POLL} or {names.SSE}.")
    if live is not None and offset is None:
        raise InvalidRequest("A live read needs an offset; use -1 for the start or now for the tail.")
    return ReadRequest(
        path=path,
        offset=offset,
        live=_live_mode(live),
        cursor=query.get(names.CURSOR_PARAM, (None,))[0],
        if_none_match=headers.get("if-none-match"),
    )


def parse_list(query: Query) -> ListRequest:
    """A listing of streams; unknown parameters are ignored.

    Raises:
        InvalidRequest: a parameter is repeated or empty, or the limit is no number from 1 to 1,000.
    """
    limit = _single(query, names.LIMIT_PARAM, InvalidRequest)
    if limit is not None and not (_LIMIT.fullmatch(limit) and int(limit) <= MAX_LISTED):
        raise InvalidRequest(f"{names.LIMIT_PARAM} must be a whole number from 1 to {MAX_LISTED}.")
    return ListRequest(
        prefix=_single(query, names.PREFIX_PARAM, InvalidRequest, may_be_empty=True) or "",
        after=_single(query, names.AFTER_PARAM, InvalidRequest),
        limit=int(limit) if limit is not None else USUALLY_LISTED,
    )


def parse_state(query: Query, *, max_chars: int = MAX_PATH_CHARS) -> tuple[str, str | None]:
    """Whose folded state is asked for (an extension): the stream's path, and the offset that it is to be at.

    Raises:
        InvalidRequest: a parameter is repeated or empty, or the path is none.
        InvalidOffset: the offset cannot be one.
        PathTooLong: see `parse_path`.
    """
    path = _single(query, names.STATE_PARAM, InvalidRequest)
    at = _single(query, names.AT_PARAM, InvalidOffset)
    if at is not None and not is_valid_token(at):
        raise InvalidOffset(f"{names.AT_PARAM} is malformed; use an offset from {names.STREAM_NEXT_OFFSET}.")
    return parse_path(path or "", max_chars=max_chars), at


def parse_path(raw: str, *, max_chars: int = MAX_PATH_CHARS) -> str:
    """The canonical form of a stream's path below the root, percent-encoded as little as possible.

    `%2F` stays apart from `/`; `%61` and `a` are the same path.

    Raises:
        InvalidRequest: empty, not UTF-8, a control character, or a `.` or `..` segment.
        PathTooLong: more than `max_chars` characters, as sent or in canonical form.
    """
    if not raw:
        raise InvalidRequest("The path names no stream: add a name after the stream root.")
    path = raw if _SAFE_PATH.fullmatch(raw) else "/".join(_canonical(segment) for segment in raw.split("/"))
    # The canonical form counts too: it is what `Location` names.
    if max(len(raw), len(path)) > max_chars:
        raise PathTooLong(f"A stream's path has at most {max_chars} characters.")
    segments = path.split("/")
    if "." in segments or ".." in segments:
        raise InvalidRequest("A stream's path has no `.` or `..` segments.")
    if segments[0] == RESERVED_SEGMENT:
        raise InvalidRequest(f"Paths below {RESERVED_SEGMENT} are reserved (PROTOCOL §6).")
    return path


def initial_payload(request: CreateRequest, mode: Mode) -> Payload:
    """The data that a create request begins the stream with (PROTOCOL §5.1, §9.1.3).

    Raises:
        InvalidJson: the stream is in JSON mode and the body is no JSON.
    """
    if not request.body:
        return NO_PAYLOAD
    if mode is Mode.JSON:
        if isinstance(request.checked, ProtocolError):
            raise request.checked
        if request.checked is not None:
            return request.checked
        return json_mode.flatten(request.body, allow_empty=True, max_depth=request.max_json_depth)
    return Payload(request.body, 1)


def _payload(
    body: bytes, content_type: str | None, max_json_depth: int, *, close: bool
) -> Payload | ProtocolError:
    if not body:
        return (
            NO_PAYLOAD
            if close
            else EmptyBody(
                f"The body is empty; send data, or {names.STREAM_CLOSED}: true to close the stream."
            )
        )
    if content_type is None:
        return InvalidRequest("Content-Type is missing; send the stream's own.")
    if not names.is_json(content_type):
        return Payload(body, 1)
    try:
        return json_mode.flatten(body, max_depth=max_json_depth)
    except ProtocolError as error:
        return error


def _parse_fork(headers: HeaderMap, root: str) -> ForkRequest | None:
    source = headers.get("stream-forked-from")
    offset = headers.get("stream-fork-offset")
    sub_offset = headers.get("stream-fork-sub-offset")
    if source is None:
        if offset is not None or sub_offset is not None:
            raise InvalidRequest(f"Fork headers need {names.STREAM_FORKED_FROM}.")
        return None
    if sub_offset is not None and not _SUB_OFFSET.fullmatch(sub_offset):
        raise InvalidRequest(f"{names.STREAM_FORK_SUB_OFFSET} must be a whole number without leading zeros.")
    if offset is not None and not is_valid_token(offset):
        raise InvalidOffset(
            f"{names.STREAM_FORK_OFFSET} is malformed; use one from {names.STREAM_NEXT_OFFSET}."
        )
    beyond = int(sub_offset or 0)
    if beyond and offset is None:
        raise InvalidRequest(
            f"{names.STREAM_FORK_SUB_OFFSET} counts from {names.STREAM_FORK_OFFSET}: send both."
        )
    return ForkRequest(_source_path(source, root), offset, beyond)


def _source_path(source: str, root: str) -> str:
    """PROTOCOL §4.2: the path component of the source's URL."""
    below = source.removeprefix(f"{root}/")
    if below == source:
        raise NotFound(f"{names.STREAM_FORKED_FROM} must be the path of a stream of this server: {root}/…")
    return parse_path(below)


def _content_type(headers: HeaderMap) -> str | None:
    value = headers.get("content-type")
    if value is None or value == "":
        return None
    if len(value) > _MAX_CONTENT_TYPE_LENGTH or not _CONTENT_TYPE.fullmatch(value):
        raise InvalidRequest("Content-Type is malformed; write it like text/plain or application/json.")
    return value


def _single(
    query: Query, name: str, error: type[InvalidRequest], *, may_be_empty: bool = False
) -> str | None:
    values = query.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise error(f"The parameter {name} is given more than once.")
    if not values[0] and not may_be_empty:
        raise error(f"The parameter {name} is empty.")
    return values[0]


def _live_mode(text: str | None) -> Literal["long-poll", "sse"] | None:
    if text is None:
        return None
    return "sse" if text == names.SSE else "long-poll"


def _canonical(segment: str) -> str:
    if _PERCENT.search(segment):
        raise InvalidRequest("The path holds a % that is followed by no two hexadecimal digits.")
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeError as exc:
        raise InvalidRequest("The path is not UTF-8 after percent-decoding.") from exc
    if any(character < " " or character == "\x7f" for character in text):
        raise InvalidRequest("The path holds a control character.")
    return quote(text, safe=_SAFE_IN_SEGMENT)
