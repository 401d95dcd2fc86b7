"""One class per condition that a request can run into, with its status and section of PROTOCOL.

ProtocolError
├── InvalidRequest            400   malformed header, parameter or path
│   ├── InvalidOffset         400
│   ├── InvalidJson           400
│   └── EmptyBody             400
├── Unauthorized              401   with WWW-Authenticate
├── Forbidden                 403   with WWW-Authenticate
├── NotFound                  404
├── MethodNotAllowed          405
├── Conflict                  409
│   ├── StreamExists          409   same path, other configuration
│   ├── ContentTypeMismatch   409
│   ├── StreamIsClosed        409   with Stream-Closed and the final offset
│   ├── StreamSeqRegressed    409
│   └── ProducerGap           409   with the expected and the received number
├── StaleEpoch                403   with the current epoch
├── ProducerTaken             403   the producer belongs to another identity
├── ReadOnly                  403   the server's own stream
├── Gone                      410   soft-deleted, or the offset belongs to an earlier stream
│   └── NotRetained           410   with the earliest retained offset
├── BodyTooLarge              413
├── PathTooLong               414
├── ActionRefused             422   the reducer bound to the stream refuses the append
│   └── StateUnknown          422   nobody knows the state that its reducer would judge by
├── ReducerBusy               503   the reducer took too long
│   └── ReducerStuck          503   it is not even called: earlier calls have not come back
├── StorageFull               507
├── StorageUnavailable        503
└── AccessUnknown             503   a hook of the embedding application failed
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from durafold.wire import names

Headers = tuple[tuple[str, str], ...]

_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


class ProtocolError(Exception):
    """A request that cannot be carried out; nothing was changed by it.

    Attributes:
        status: the HTTP status to answer with.
        section: the section of PROTOCOL that says so.
        code: the condition's name, `stream_is_closed` for `StreamIsClosed`; counted in metrics.
        headers: headers the answer must carry beside the usual ones.
        document: what a JSON body says instead of the message; None for a line of text.
    """

    status: ClassVar[int] = 400
    section: ClassVar[str] = "5"
    document: Mapping[str, object] | None = None

    code: ClassVar[str] = "protocol_error"

    def __init_subclass__(cls) -> None:
        cls.code = _CAPITAL.sub("_", cls.__name__).lower()

    def __init__(self, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers


class InvalidRequest(ProtocolError):
    """A header, query parameter or path is malformed."""


class InvalidOffset(InvalidRequest):
    """The offset is no token that this server hands out."""

    section = "8"


class InvalidJson(InvalidRequest):
    """The body of a JSON stream's append is no valid JSON."""

    section = "9.1.4"


class EmptyBody(InvalidRequest):
    """An append without data that does not close the stream."""

    section = "5.2"


class Unauthorized(ProtocolError):
    """Nobody known asks (PROTOCOL §12.1, RFC 6750 §3)."""

    status = 401
    section = "12.1"

    def __init__(self, *, has_credentials: bool) -> None:
        # RFC 6750 §3.1: who sent no credentials is told of no error.
        reason = ', error="invalid_token"' if has_credentials else ""
        super().__init__(
            "The credentials are not valid; send `Authorization: Bearer <token>` with a token of this server."
            if has_credentials
            else "This server wants credentials: send `Authorization: Bearer <token>`.",
            (("WWW-Authenticate", f'Bearer realm="durafold"{reason}'),),
        )


class Forbidden(ProtocolError):
    """Somebody known asks, but may not do this here (PROTOCOL §12.1, RFC 6750 §3.1)."""

    status = 403
    section = "12.1"

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"These credentials do not allow `{operation}` here; use some whose scope and prefix do.",
            (("WWW-Authenticate", 'Bearer realm="durafold", error="insufficient_scope"'),),
        )


class NotFound(ProtocolError):
    """There is no such stream: never created, deleted, or expired."""

    status = 404
    section = "5.6"


class MethodNotAllowed(ProtocolError):
    """The method is none of PUT, POST, GET, HEAD, DELETE, OPTIONS; or none of `allowed`, if given."""

    status = 405

    def __init__(self, method: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(
            f"{method} is no method of this address; use {' or '.join(allowed)}."
            if allowed
            else f"{method} is not an operation of a stream; use PUT, POST, GET, HEAD or DELETE.",
            (("Allow", ", ".join(allowed) or "GET, HEAD, POST, PUT, DELETE, OPTIONS"),),
        )


class Conflict(ProtocolError):
    """The request does not fit the state of the stream."""

    status = 409


class StreamExists(Conflict):
    """The path is taken by a stream of another configuration."""

    section = "5.1"


class ContentTypeMismatch(Conflict):
    """The body's type is not the stream's."""

    section = "5.2"


class StreamIsClosed(Conflict):
    """The stream takes no more appends."""

    section = "5.2"

    def __init__(self, final_offset: str) -> None:
        super().__init__(
            "The stream is closed and takes no more appends.",
            ((names.STREAM_CLOSED, "true"), (names.STREAM_NEXT_OFFSET, final_offset)),
        )


class StreamSeqRegressed(Conflict):
    """Stream-Seq is not greater than the last one."""

    section = "5.2"


class ProducerGap(Conflict):
    """A producer's sequence number skips at least one."""

    section = "5.2.1"

    def __init__(self, *, expected: int, received: int) -> None:
        super().__init__(
            f"Producer-Seq {received} leaves a gap: {expected} is next. Send the missing appends first.",
            ((names.PRODUCER_EXPECTED_SEQ, str(expected)), (names.PRODUCER_RECEIVED_SEQ, str(received))),
        )


class StaleEpoch(ProtocolError):
    """A newer epoch of this producer exists."""

    status = 403
    section = "5.2.1"

    def __init__(self, current: int) -> None:
        super().__init__(
            f"This producer was fenced: epoch {current} is current.",
            ((names.PRODUCER_EPOCH, str(current)),),
        )


class ProducerTaken(ProtocolError):
    """The producer belongs to another identity, on a stream that is bound to a reducer (an extension)."""

    status = 403
    section = "11"

    def __init__(self, producer_id: str) -> None:
        reason = f"producer {producer_id!r} belongs to another identity, which used it first on this stream"
        super().__init__(reason)
        self.document = {
            "error": self.code,
            "reason": reason,
            "hint": "Nothing was appended. Take a fresh Producer-Id, and begin the ids of messages with it; "
            "or send the credentials of the identity that it belongs to.",
        }


class ReadOnly(ProtocolError):
    """The stream is the server's own: clients may only read it."""

    status = 403
    section = "11"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is kept by the server itself: it can be read, but not created, written, closed, "
            "deleted or forked. Use another name."
        )


class Gone(ProtocolError):
    """Soft-deleted while forks live, or the offset belongs to an earlier stream of this path."""

    status = 410
    section = "5.6"


class NotRetained(Gone):
    """The offset lies before the earliest retained one."""

    def __init__(self, earliest_offset: str) -> None:
        super().__init__(
            f"The offset is no longer retained. The earliest retained offset is {earliest_offset}; "
            "read from there, or from -1.",
            ((names.STREAM_EARLIEST_OFFSET, earliest_offset),),
        )


class BodyTooLarge(ProtocolError):
    """The body exceeds the limit."""

    status = 413
    section = "5.2"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than the limit of {limit} bytes; send it in several appends.")


class PathTooLong(ProtocolError):
    """The path exceeds the limit."""

    status = 414


class ActionRefused(ProtocolError):
    """The reducer that the stream is bound to refuses the append (an extension); nothing of it was stored.

    Args:
        document: what to answer: `error`, `reason`, and what else helps the sender.
    """

    status = 422
    section = "11"

    def __init__(self, document: Mapping[str, object]) -> None:
        super().__init__(str(document["reason"]))
        self.document = document

    @property
    def verdict(self) -> str:
        """What became of the message that is to blame; the condition's name if it is none."""
        return str((self.document or {}).get("verdict", self.code))


class StateUnknown(ActionRefused):
    """The stream is bound to a reducer, but its state cannot be known."""


class ReducerBusy(ProtocolError):
    """The reducer that the stream is bound to did not answer in time; nothing was stored."""

    status = 503
    section = "11"

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"The stream's reducer gave no answer within {waited_s:g} s, so nothing was done. Try again.",
            (("Retry-After", "1"),),
        )


class ReducerStuck(ReducerBusy):
    """The reducer that the stream is bound to was not called: earlier calls have not come back."""

    def __init__(self, what: str) -> None:
        ProtocolError.__init__(
            self, f"{what}, so nothing was done. Try again later.", (("Retry-After", "5"),)
        )


class StorageFull(ProtocolError):
    """No room to make an append durable."""

    status = 507


class StorageUnavailable(ProtocolError):
    """The store cannot serve this now; whether the request took effect is unknown."""

    status = 503


class AccessUnknown(ProtocolError):
    """Whether this is allowed could not be found out, so it is not."""

    status = 503
    section = "12.1"
