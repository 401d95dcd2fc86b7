"""Access control of requests: asks who sends one and whether they may, and refuses with 401 or 403."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from durafold.wire import names
from durafold_server.access import (
    Authenticate,
    Authorize,
    Identity,
    Operation,
    StaticTokens,
    Token,
    by_grants,
)
from durafold_server.http.exchange import enter_task
from durafold_server.protocol import registry
from durafold_server.protocol.errors import (
    AccessUnknown,
    Forbidden,
    MethodNotAllowed,
    ProtocolError,
    Unauthorized,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """How access is controlled. Without any of these, everybody may do everything.

    Attributes:
        tokens: static bearer tokens; they are looked at before `authenticate`.
        authenticate: who sends a request, by its headers.
        authorize: whether they may; by the grants of their identity if None.
        metrics_open: `/metrics` is answered without being asked about.
    """

    tokens: tuple[Token, ...] = ()
    authenticate: Authenticate | None = None
    authorize: Authorize | None = None
    metrics_open: bool = False

    @property
    def is_controlled(self) -> bool:
        """Whether anybody is asked at all."""
        return bool(self.tokens) or self.authenticate is not None or self.authorize is not None


class Guard:
    """Meets the senders of requests."""

    def __init__(self, access: Access) -> None:
        self._tokens = StaticTokens(access.tokens)
        self._authenticate = access.authenticate
        self._authorize = access.authorize
        self.metrics_open = access.metrics_open

    async def meet(self, headers: Mapping[str, str]) -> Visitor:
        """Who sends a request with these headers.

        Raises:
            AccessUnknown: `authenticate` failed.
        """
        identity = self._tokens(headers)
        if identity is None and self._authenticate is not None:
            identity = await _answer("authenticate", self._authenticate, headers)
        return Visitor(identity, self._authorize, has_credentials="authorization" in headers)


class Visitor:
    """The sender of one request."""

    __slots__ = ("_authorize", "_has_credentials", "identity")

    def __init__(
        self, identity: Identity | None, authorize: Authorize | None, *, has_credentials: bool
    ) -> None:
        self.identity = identity
        self._authorize = authorize
        self._has_credentials = has_credentials

    async def check(self, operation: Operation, path: str) -> None:
        """Return if they may do it.

        Args:
            operation: what they want to do.
            path: canonical path of the stream, below the prefix.

        Raises:
            Unauthorized: nobody known asks, and it is not for everybody.
            Forbidden: somebody known asks, but may not.
            AccessUnknown: `authorize` failed, so nobody may.
        """
        if self._authorize is None:
            allowed = by_grants(self.identity, operation, path)
        else:
            # Only True lets in: a hook that forgets to return anything must not open the door.
            allowed = await _answer("authorize", self._authorize, self.identity, operation, path) is True
        if allowed:
            return
        if self.identity is None:
            raise Unauthorized(has_credentials=self._has_credentials)
        raise Forbidden(operation)


def operation_of(method: str, path: str, headers: Mapping[str, str]) -> Operation:
    """What a request to a stream wants to do, as far as its head tells.

    Raises:
        MethodNotAllowed: there is no such operation.
    """
    match method:
        case "POST":
            return "close" if names.is_true(headers.get("stream-closed")) else "append"
        case "GET":
            # The registry is the stream of streams: to read it is to list them.
            return "list" if path == registry.PATH else "read"
        case "HEAD":
            return "head"
        case "PUT":
            return "create"
        case "DELETE":
            return "delete"
        case _:
            raise MethodNotAllowed(method)


async def _answer(name: str, hook: Callable[..., Any], *args: object) -> Any:
    """What a hook of the embedding application answers, plain or async."""
    try:
        answer: Any = hook(*args)
        # Most answers are plain, and `isawaitable` is not cheap.
        if isinstance(answer, (bool, Identity, NoneType)) or not inspect.isawaitable(answer):
            return answer
        await enter_task()
        return await answer
    except ProtocolError:
        raise
    except Exception:
        logger.exception("%s failed; the request is refused", name)
        raise AccessUnknown("Whether this is allowed could not be found out; try again.") from None
