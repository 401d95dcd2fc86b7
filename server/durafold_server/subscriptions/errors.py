"""One class per condition of the subscription API, with its status and the code that clients act on.

SubscriptionError
├── InvalidSubscription     400  INVALID_REQUEST
├── WebhookRejected         400  WEBHOOK_URL_REJECTED
├── TokenInvalid            401  TOKEN_INVALID
├── TokenExpired            401  TOKEN_EXPIRED
├── SubscriptionNotFound    404  SUBSCRIPTION_NOT_FOUND
├── RouteNotFound           404  NOT_FOUND
├── RouteNotAllowed         405  METHOD_NOT_ALLOWED
├── SubscriptionExists      409  SUBSCRIPTION_ALREADY_EXISTS
├── Fenced                  409  FENCED
├── AlreadyClaimed          409  ALREADY_CLAIMED, with the holder and its generation
├── NoPendingWork           409  NO_PENDING_WORK
└── InvalidAck              409  INVALID_OFFSET
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from durafold_server.protocol.errors import Headers

_CHALLENGE: Final = (("WWW-Authenticate", "Bearer"),)


class SubscriptionError(Exception):
    """A request of the subscription API that cannot be carried out.

    Attributes:
        status: the HTTP status to answer with.
        code: the machine-readable condition.
        message: what to do about it.
        details: further members of the error object.
        headers: headers the answer must carry beside the usual ones.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "INVALID_REQUEST"

    def __init__(
        self, message: str, details: Mapping[str, str | int | None] | None = None, headers: Headers = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        self.headers = headers


class InvalidSubscription(SubscriptionError):
    """The body or the path is malformed (PROTOCOL §6.2)."""


class WebhookRejected(SubscriptionError):
    """The webhook's URL is not one that this server sends to (PROTOCOL §6.2, §12.8)."""

    code = "WEBHOOK_URL_REJECTED"


class TokenInvalid(SubscriptionError):
    """No token, or not one that this server made for this subscription (PROTOCOL §12.9)."""

    status = 401
    code = "TOKEN_INVALID"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers=_CHALLENGE)


class TokenExpired(SubscriptionError):
    """The token is too old (PROTOCOL §12.9)."""

    status = 401
    code = "TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The token has expired; wait for the next wake.", headers=_CHALLENGE)


class SubscriptionNotFound(SubscriptionError):
    """There is no such subscription, or it was deleted (PROTOCOL §6.3)."""

    status = 404
    code = "SUBSCRIPTION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such subscription; create it with PUT.")


class RouteNotFound(SubscriptionError):
    """Nothing of the control API is at this path (PROTOCOL §6)."""

    status = 404
    code = "NOT_FOUND"


class RouteNotAllowed(SubscriptionError):
    """The path exists, but not with this method."""

    status = 405
    code = "METHOD_NOT_ALLOWED"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"Use {allowed} here.", headers=(("Allow", allowed),))


class SubscriptionExists(SubscriptionError):
    """The id is taken by a subscription of another configuration (PROTOCOL §6.2)."""

    status = 409
    code = "SUBSCRIPTION_ALREADY_EXISTS"


class Fenced(SubscriptionError):
    """The wake is over: done, released, expired, or superseded (PROTOCOL §7.3)."""

    status = 409
    code = "FENCED"

    def __init__(self) -> None:
        super().__init__("This wake is over, and its work may be another worker's now; stop working on it.")


class AlreadyClaimed(SubscriptionError):
    """Another worker holds the lease (PROTOCOL §7.2)."""

    status = 409
    code = "ALREADY_CLAIMED"

    def __init__(self, holder: str | None, generation: int) -> None:
        super().__init__(
            "Another worker holds this subscription; wait for the next wake event.",
            {"current_holder": holder, "generation": generation},
        )


class NoPendingWork(SubscriptionError):
    """There is nothing to claim."""

    status = 409
    code = "NO_PENDING_WORK"

    def __init__(self) -> None:
        super().__init__("No linked stream has pending data; wait for the next wake event.")


class InvalidAck(SubscriptionError):
    """An acknowledged offset is none of the linked stream, goes back, or lies beyond the tail."""

    status = 409
    code = "INVALID_OFFSET"
