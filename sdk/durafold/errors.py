"""Every exception the SDK raises, under one root.

DurafoldError
├── ConfigurationError          wrong use of the API: fix the call
├── TransportError              no usable answer from the server
│   ├── ConnectFailed           nobody listens at that address
│   ├── TransportTimeout        the answer did not come in time
│   └── MalformedResponse       an answer that breaks the protocol
├── ServerRefused               an answer with an error status
│   ├── BadRequest              400
│   ├── Unauthorized            401
│   ├── Forbidden               403
│   ├── StreamNotFound          404
│   ├── StreamConflict          409, the stream exists with another configuration
│   ├── StreamClosed            409, no more appends are accepted
│   ├── SequenceConflict        409, Stream-Seq or Producer-Seq out of order
│   ├── StreamGone              410, deleted while forks live, or offset no longer retained
│   ├── PayloadTooLarge         413
│   ├── Unprocessable           422, the stream's reducer refuses the action
│   ├── TooManyRequests         429
│   ├── ServerUnavailable       5xx
│   ├── FencedError             403, a newer epoch owns this producer id
│   └── ProducerTaken           403, the producer id belongs to another identity
├── ProducerError               an idempotent producer, apart from what the server says
│   ├── BufferFull              too much waits to be sent already
│   └── ProducerClosed          it was closed
└── StateError                  the state layer
    ├── ActionRejected          the reducer, or middleware, said `Reject`
    ├── ActionLost              the stream was deleted before the action was confirmed
    ├── ConflictError           a functional update lost every round
    ├── InvalidAction           the action does not match its model or is no JSON
    └── ProviderClosed          used after its provider was closed
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ActionLost",
    "ActionRejected",
    "BadRequest",
    "BufferFull",
    "ConfigurationError",
    "ConflictError",
    "ConnectFailed",
    "DurafoldError",
    "FencedError",
    "Forbidden",
    "InvalidAction",
    "MalformedResponse",
    "PayloadTooLarge",
    "ProducerClosed",
    "ProducerError",
    "ProducerTaken",
    "ProviderClosed",
    "SequenceConflict",
    "ServerRefused",
    "ServerUnavailable",
    "StateError",
    "StreamClosed",
    "StreamConflict",
    "StreamGone",
    "StreamNotFound",
    "TooManyRequests",
    "TransportError",
    "TransportTimeout",
    "Unauthorized",
    "Unprocessable",
]


class DurafoldError(Exception):
    """Root of all errors of the SDK.

    Attributes:
        code: a stable word for programs to compare.
        stream: URL or key of the stream concerned, if any.
        offset: offset concerned, if any.
        hint: what to do next, if there is something to do.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        offset: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.stream = stream
        self.offset = offset
        self.hint = hint

    def __str__(self) -> str:
        where = f" [stream {self.stream}" + (f" at offset {self.offset}]" if self.offset else "]")
        text = self.message + (where if self.stream and self.stream not in self.message else "")
        return f"{text}. {self.hint}" if self.hint else text


class ConfigurationError(DurafoldError):
    """The API was used in a way that cannot work; nothing was sent."""

    code = "configuration"


class TransportError(DurafoldError):
    """No usable answer came from the server; the request may or may not have been carried out."""

    code = "transport"


class ConnectFailed(TransportError):
    """Nothing accepts connections at the address."""

    code = "connect_failed"


class TransportTimeout(TransportError):
    """The server did not answer in time."""

    code = "timeout"


class MalformedResponse(TransportError):
    """The answer breaks the protocol: a missing header, truncated JSON, a damaged event."""

    code = "malformed_response"


class ServerRefused(DurafoldError):
    """The server answered with an error status.

    Attributes:
        status: HTTP status code.
    """

    code = "refused"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        stream: str | None = None,
        offset: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, stream=stream, offset=offset, hint=hint)
        self.status = status


class BadRequest(ServerRefused):
    """400: the request is malformed."""

    code = "bad_request"


class Unauthorized(ServerRefused):
    """401: credentials are missing or no longer valid."""

    code = "unauthorized"


class Forbidden(ServerRefused):
    """403: this identity may not do this."""

    code = "forbidden"


class StreamNotFound(ServerRefused):
    """404: there is no such stream (never created, deleted, or expired)."""

    code = "not_found"


class StreamConflict(ServerRefused):
    """409: the stream exists with another configuration or content type (PROTOCOL §5.1, §5.2)."""

    code = "conflict"


class StreamClosed(ServerRefused):
    """409 with `Stream-Closed: true`: the stream takes no more appends (PROTOCOL §5.2).

    Attributes:
        final_offset: the stream's final tail, if the server named it.
    """

    code = "closed"

    def __init__(
        self,
        message: str,
        *,
        status: int = 409,
        final_offset: str | None = None,
        stream: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, stream=stream, offset=final_offset, hint=hint)
        self.final_offset = final_offset


class SequenceConflict(ServerRefused):
    """409: `Stream-Seq` regressed, or `Producer-Seq` left a gap (PROTOCOL §5.2, §5.2.1).

    Attributes:
        expected_seq: the next producer sequence number the server accepts, if it is a gap.
        received_seq: the one it received, if it is a gap.
    """

    code = "sequence_conflict"

    def __init__(
        self,
        message: str,
        *,
        status: int = 409,
        expected_seq: int | None = None,
        received_seq: int | None = None,
        stream: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, stream=stream, hint=hint)
        self.expected_seq = expected_seq
        self.received_seq = received_seq


class StreamGone(ServerRefused):
    """410: soft-deleted, or the offset is before the earliest retained one (PROTOCOL §5.6).

    Attributes:
        earliest_offset: where reading can go on, if the server says that this is all that is wrong: what was
            written between the offset and this one is no longer kept.
    """

    code = "gone"

    def __init__(
        self,
        message: str,
        *,
        status: int = 410,
        earliest_offset: str | None = None,
        stream: str | None = None,
        offset: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, stream=stream, offset=offset, hint=hint)
        self.earliest_offset = earliest_offset


class PayloadTooLarge(ServerRefused):
    """413: the body exceeds the server's limit."""

    code = "too_large"


class Unprocessable(ServerRefused):
    """422: the reducer bound to the stream refuses the action (durafold extension).

    Attributes:
        reason: why, in its own words; None if another server says no more than the status.
        verdict: `rejected` by its guard or itself, `poison` if it cannot handle the action, `unknown` if it
            knows no such actions, `foreign` if its id is another client's; None as for the reason, or if the
            state to judge by is not known.
        message_index: which message of the append it is about, from 0.
    """

    code = "unprocessable"

    def __init__(
        self,
        message: str,
        *,
        status: int = 422,
        reason: str | None = None,
        verdict: str | None = None,
        message_index: int | None = None,
        stream: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, stream=stream, hint=hint)
        self.reason = reason
        self.verdict = verdict
        self.message_index = message_index


class _TryLater(ServerRefused):
    """A refusal that may not last.

    Attributes:
        retry_after_s: seconds the server asked to wait, if it did.
    """

    usual_status: ClassVar[int] = 503

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        stream: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status or self.usual_status, stream=stream, hint=hint)
        self.retry_after_s = retry_after_s


class TooManyRequests(_TryLater):
    """429: slow down. `retry_after_s` is what the server asked to wait, in seconds, or None."""

    code = "too_many_requests"
    usual_status = 429


class ServerUnavailable(_TryLater):
    """5xx: the server cannot serve this now. `retry_after_s`: the wait it asked for, in seconds, or None."""

    code = "unavailable"


class FencedError(ServerRefused):
    """403 with `Producer-Epoch`: a newer epoch owns this producer id (PROTOCOL §5.2.1).

    Attributes:
        current_epoch: the epoch the server knows.
    """

    code = "fenced"

    def __init__(
        self,
        message: str,
        *,
        current_epoch: int,
        status: int = 403,
        stream: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, stream=stream, hint=hint)
        self.current_epoch = current_epoch


class ProducerTaken(ServerRefused):
    """403: the producer id belongs to another identity (durafold extension).

    On a stream that is bound to a reducer, a server that controls access lets only the identity that used a
    producer id first use it again.
    """

    code = "producer_taken"


class ProducerError(DurafoldError):
    """An idempotent producer cannot take or deliver a message."""

    code = "producer"


class BufferFull(ProducerError):
    """The messages that wait to be sent fill the producer's buffer; this one was not taken."""

    code = "buffer_full"


class ProducerClosed(ProducerError):
    """The producer was closed, or was cancelled before the message was confirmed."""

    code = "producer_closed"


class StateError(DurafoldError):
    """Something about shared state, not about transport."""

    code = "state"


class ActionRejected(StateError):
    """The reducer raised `Reject` when the action was folded at its place in the log, or on the server."""

    code = "rejected"


class ActionLost(StateError):
    """The stream was deleted and its provider closed before the action was confirmed."""

    code = "lost"


class ConflictError(StateError):
    """A functional update lost against other writers in every round it was given."""

    code = "update_conflict"


class InvalidAction(StateError):
    """The action or value does not match its model, or has no JSON form; nothing was sent."""

    code = "invalid_action"


class ProviderClosed(StateError):
    """The provider was closed."""

    code = "provider_closed"
