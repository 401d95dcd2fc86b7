"""Exit codes, and which error ends a command with which of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from durafold.errors import (
    BadRequest,
    ConfigurationError,
    ConflictError,
    DurafoldError,
    FencedError,
    Forbidden,
    InvalidAction,
    MalformedResponse,
    ProducerTaken,
    SequenceConflict,
    ServerUnavailable,
    StreamClosed,
    StreamConflict,
    StreamGone,
    StreamNotFound,
    TooManyRequests,
    TransportError,
    Unauthorized,
)

__all__ = [
    "AUTH",
    "CONFLICT",
    "FAILED",
    "GONE",
    "INTERRUPTED",
    "MEANINGS",
    "NOT_FOUND",
    "OK",
    "OUTPUT_CLOSED",
    "UNREACHABLE",
    "USAGE",
    "CommandFailed",
    "exit_code_of",
]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
AUTH: Final = 5
UNREACHABLE: Final = 6
GONE: Final = 7
INTERRUPTED: Final = 130
OUTPUT_CLOSED: Final = 141

MEANINGS: Final[Mapping[int, str]] = {
    OK: "success, and the orderly end of `serve` and `demo`",
    FAILED: "failure of another kind",
    USAGE: "wrong usage: an option, an argument, input that does not fit the stream",
    NOT_FOUND: "there is no such stream",
    CONFLICT: "conflict: other configuration, closed, out of order, or fenced by another producer",
    AUTH: "the credentials are missing, wrong, or do not allow it",
    UNREACHABLE: "the server cannot be reached, or did not answer in time",
    GONE: "the stream was deleted while forks of it live, or this part of it is no longer kept",
    INTERRUPTED: "Ctrl-C",
    OUTPUT_CLOSED: "the reader of the output left, as `| head` does",
}
"""What each code means, for the reference page."""


class CommandFailed(DurafoldError):
    """A command cannot do its work, for a reason that is neither wrong usage nor the server's."""

    code: ClassVar[str] = "failed"


# The first class that fits decides, so that subclasses come before their bases.
_CODES: Final[tuple[tuple[type[DurafoldError], int], ...]] = (
    (ConfigurationError, USAGE),
    (InvalidAction, USAGE),
    (BadRequest, USAGE),
    (StreamNotFound, NOT_FOUND),
    (StreamConflict, CONFLICT),
    (StreamClosed, CONFLICT),
    (SequenceConflict, CONFLICT),
    (FencedError, CONFLICT),
    (ProducerTaken, CONFLICT),
    (ConflictError, CONFLICT),
    (Unauthorized, AUTH),
    (Forbidden, AUTH),
    (MalformedResponse, FAILED),
    (TransportError, UNREACHABLE),
    (ServerUnavailable, UNREACHABLE),
    (TooManyRequests, UNREACHABLE),
    (StreamGone, GONE),
)


def exit_code_of(error: DurafoldError) -> int:
    """The exit code of a command that ends with this error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
