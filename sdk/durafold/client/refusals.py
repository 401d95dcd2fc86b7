"""From answers to errors: the one table of what an error status means, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from durafold.client.exchange import Reply, Request, public_url
from durafold.client.replies import optional_next_offset
from durafold.errors import (
    BadRequest,
    DurafoldError,
    FencedError,
    Forbidden,
    PayloadTooLarge,
    ProducerTaken,
    SequenceConflict,
    ServerRefused,
    ServerUnavailable,
    StreamClosed,
    StreamConflict,
    StreamGone,
    StreamNotFound,
    TooManyRequests,
    TransportTimeout,
    Unauthorized,
    Unprocessable,
)
from durafold.wire import names

__all__ = ["error_of"]

_MAX_QUOTED_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error answer with what its error is made from."""

    request: Request
    reply: Reply
    offset: str | None

    @property
    def stream(self) -> str:
        return public_url(self.request.url)

    def message(self, what: str) -> str:
        words = " ".join(self.reply.body[: 4 * _MAX_QUOTED_CHARS].decode(errors="replace").split())
        quoted = f': "{words[:_MAX_QUOTED_CHARS]}"' if words and not words.startswith("<") else ""
        return f"{what} (HTTP {self.reply.status} to {self.request.method}{quoted})"


def error_of(request: Request, reply: Reply, *, offset: str | None = None) -> DurafoldError | None:
    """The error that an answer stands for, or None for a 2xx.

    Args:
        request: what was asked.
        reply: what came back.
        offset: the offset concerned, for the message.
    """
    if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    refusal = _Refusal(request, reply, offset)
    special = _SPECIAL.get(reply.status)
    if special is not None:
        return special(refusal)
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR and reply.status not in _PLAIN:
        return _unavailable(refusal)
    return _plain(refusal)


def _plain(refusal: _Refusal) -> ServerRefused:
    kind, what, hint = _PLAIN.get(
        refusal.reply.status, (ServerRefused, "The server refused the request", None)
    )
    return kind(
        refusal.message(what),
        status=refusal.reply.status,
        stream=refusal.stream,
        offset=refusal.offset,
        hint=hint,
    )


_PLAIN: Final[Mapping[int, tuple[type[ServerRefused], str, str | None]]] = {
    400: (BadRequest, "The server finds the request malformed", None),
    401: (Unauthorized, "The server wants credentials", "Pass headers with a valid token"),
    404: (StreamNotFound, "There is no such stream", None),
    405: (ServerRefused, "The stream does not support this operation", None),
    413: (PayloadTooLarge, "The data is larger than the server accepts", "Append it in smaller parts"),
    501: (ServerRefused, "The stream does not support this operation", None),
}


def _not_found(refusal: _Refusal) -> ServerRefused:
    if refusal.request.method != "PUT":
        return _plain(refusal)
    return StreamNotFound(
        refusal.message("Streams cannot be created there"),
        status=refusal.reply.status,
        stream=refusal.stream,
        hint=f"Does the URL contain {names.DEFAULT_PREFIX}?",
    )


def _forbidden(refusal: _Refusal) -> ServerRefused:
    epoch = refusal.reply.integer(names.PRODUCER_EPOCH)
    if epoch is None:
        document = _document(refusal.reply)
        if document.get("error") == ProducerTaken.code:
            return _producer_taken(refusal, document)
        return Forbidden(
            refusal.message("These credentials do not allow this"),
            status=refusal.reply.status,
            stream=refusal.stream,
        )
    return FencedError(
        refusal.message("A newer epoch owns this producer id"),
        current_epoch=epoch,
        stream=refusal.stream,
        hint="Another process writes under the same id: take a fresh one, or a higher epoch",
    )


def _producer_taken(refusal: _Refusal, document: dict[str, Any]) -> ProducerTaken:
    return ProducerTaken(
        refusal.message("This producer id belongs to another identity"),
        status=refusal.reply.status,
        stream=refusal.stream,
        hint=_text(document, "hint"),
    )


def _gone(refusal: _Refusal) -> StreamGone:
    earliest = refusal.reply.header(names.STREAM_EARLIEST_OFFSET)
    what, hint = "The stream was deleted, or this part of it is no longer kept", None
    if earliest is not None:
        what, hint = (
            "This part of the stream is no longer kept",
            f"Read on from {earliest}, or from the start",
        )
    return StreamGone(
        refusal.message(what),
        earliest_offset=earliest,
        stream=refusal.stream,
        offset=refusal.offset,
        hint=hint,
    )


def _conflict(refusal: _Refusal) -> ServerRefused:
    reply = refusal.reply
    if names.is_true(reply.header(names.STREAM_CLOSED)):
        return StreamClosed(
            refusal.message("The stream is closed"),
            final_offset=optional_next_offset(reply),
            stream=refusal.stream,
        )
    expected_seq = reply.integer(names.PRODUCER_EXPECTED_SEQ)
    if expected_seq is not None:
        return SequenceConflict(
            refusal.message(f"The server expects producer sequence number {expected_seq}"),
            expected_seq=expected_seq,
            received_seq=reply.integer(names.PRODUCER_RECEIVED_SEQ),
            stream=refusal.stream,
        )
    if names.STREAM_SEQ in refusal.request.headers:
        return SequenceConflict(
            refusal.message("Stream-Seq does not come after the last one"),
            stream=refusal.stream,
            hint="If it does, compare the stream's content type (head) with the one that was sent",
        )
    return _configuration_conflict(refusal)


def _configuration_conflict(refusal: _Refusal) -> StreamConflict:
    if refusal.request.method == "PUT":
        what, hint = "The stream exists with another configuration", "head() shows the one it has"
    else:
        sent = refusal.request.headers.get("Content-Type", "none")
        what, hint = (
            "The append does not fit the stream",
            f"It was sent as {sent}; head() shows the stream's type",
        )
    return StreamConflict(
        refusal.message(what), status=refusal.reply.status, stream=refusal.stream, hint=hint
    )


def _request_timeout(refusal: _Refusal) -> TransportTimeout:
    return TransportTimeout(
        refusal.message("The request did not reach the server in time"), stream=refusal.stream
    )


def _unprocessable(refusal: _Refusal) -> Unprocessable:
    what, document = "The stream's reducer refuses the action", _document(refusal.reply)
    reason, index = _text(document, "reason"), document.get("message")
    return Unprocessable(
        refusal.message(what) if reason is None else f"{what}: {reason}",
        status=refusal.reply.status,
        reason=reason,
        verdict=_text(document, "verdict"),
        message_index=index if type(index) is int else None,
        stream=refusal.stream,
        hint=_text(document, "hint"),
    )


def _document(reply: Reply) -> dict[str, Any]:
    """What a body in JSON says; nothing if it is none."""
    if not names.is_json(reply.header("Content-Type") or ""):
        return {}
    try:
        document = json.loads(reply.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None


def _too_many_requests(refusal: _Refusal) -> TooManyRequests:
    return TooManyRequests(
        refusal.message("The server wants fewer requests"),
        retry_after_s=_retry_after_s(refusal),
        stream=refusal.stream,
    )


def _unavailable(refusal: _Refusal) -> ServerUnavailable:
    return ServerUnavailable(
        refusal.message("The server cannot serve this now"),
        status=refusal.reply.status,
        retry_after_s=_retry_after_s(refusal),
        stream=refusal.stream,
    )


def _redirected(refusal: _Refusal) -> ServerRefused:
    target = refusal.reply.header("Location")
    return ServerRefused(
        refusal.message("The server redirects, which is not followed because it could leak credentials"),
        status=refusal.reply.status,
        stream=refusal.stream,
        hint=f"Use {public_url(target)} instead" if target else None,
    )


_SPECIAL: Final[Mapping[int, Callable[[_Refusal], DurafoldError]]] = {
    301: _redirected,
    302: _redirected,
    303: _redirected,
    307: _redirected,
    308: _redirected,
    403: _forbidden,
    404: _not_found,
    408: _request_timeout,
    409: _conflict,
    410: _gone,
    422: _unprocessable,
    429: _too_many_requests,
}


def _retry_after_s(refusal: _Refusal) -> float | None:
    value = refusal.reply.header("Retry-After")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - refusal.reply.received_at).total_seconds())
