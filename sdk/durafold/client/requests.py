"""Requests of one stream: the user's headers and parameters, one attempt, and attempts until one works."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping

import anyio

from durafold.client.dynamic import Headers, Params, is_dynamic, note_refusal, resolve
from durafold.client.exchange import Reply, Request, merged_headers, with_query
from durafold.client.refusals import error_of
from durafold.client.settings import ClientSettings
from durafold.client.transport import Transport
from durafold.errors import (
    ConnectFailed,
    DurafoldError,
    MalformedResponse,
    ServerUnavailable,
    TooManyRequests,
    TransportError,
    Unauthorized,
)

__all__ = ["Requests", "was_not_carried_out"]

# Statuses with which a server says that it did not carry the request out. 502 and 504 come from gateways that
# do not know.
_NOT_CARRIED_OUT = frozenset({500, 503})


class Requests:
    """Makes and sends the requests of one stream.

    Args:
        url: the stream's address.
        headers: the user's.
        params: the user's.
        transport: carries them.
        settings: timeouts and limits.

    Attributes:
        url: as given, and so are the others.
        headers:
        params:
        transport:
        settings:
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | None,
        params: Params | None,
        transport: Transport,
        settings: ClientSettings,
    ) -> None:
        self.url = url
        self.headers = headers
        self.params = params
        self.transport = transport
        self.settings = settings

    async def call(
        self,
        method: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] = b"",
        offset: str | None = None,
        may_retry: Callable[[DurafoldError], bool] | None = None,
    ) -> Reply:
        """The answer of the first attempt that works, of as many as the settings allow.

        Args:
            method: in capitals.
            params: besides the user's, which they replace where names are equal.
            headers: besides the user's, likewise.
            content: the body.
            offset: the offset concerned, for messages.
            may_retry: whether another attempt may follow an error. Default: whenever it may pass, since the
                request does no harm when it is repeated.

        Raises:
            DurafoldError: the error of the last attempt.
        """
        may_pass = may_retry or _may_pass
        attempt = 0
        was_denied = False
        while True:
            try:
                return await self.attempt(method, params or {}, headers or {}, content, offset)
            except Unauthorized:
                # A token may have run out between two requests; a refusal has done nothing.
                if was_denied or not (is_dynamic(self.headers) or is_dynamic(self.params)):
                    raise
                was_denied = True
            except DurafoldError as exc:
                attempt += 1
                if attempt >= self.settings.max_attempts or not may_pass(exc):
                    raise
                await self._rest(attempt, exc)

    async def attempt(
        self,
        method: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        content: bytes | AsyncIterator[bytes],
        offset: str | None,
    ) -> Reply:
        """One attempt, with the arguments of `call`.

        Raises:
            DurafoldError: it did not work.
        """
        request = await self.prepare(method, params, headers, content)
        reply = await self.transport.exchange(request, self.settings)
        self.raise_refusal(request, reply, offset)
        return reply

    async def prepare(
        self,
        method: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        content: bytes | AsyncIterator[bytes] = b"",
    ) -> Request:
        """A request with the user's headers and parameters evaluated now; ours win where names are equal.

        Raises:
            ConfigurationError: what the user gave cannot be sent.
            TransportError: a function that the user gave raised.
        """
        given_headers = await resolve(self.headers, what="header")
        given_params = await resolve(self.params, what="query parameter")
        url = with_query(self.url, {**given_params, **params})
        given = (*given_headers.values(), *given_params.values())
        return Request(method, url, merged_headers(given_headers, headers), content, given)

    def raise_refusal(self, request: Request, reply: Reply, offset: str | None) -> None:
        """Nothing, if the answer is a 2xx.

        Raises:
            DurafoldError: what the answer stands for.
        """
        error = error_of(request, reply, offset=offset)
        if isinstance(error, Unauthorized):
            note_refusal(request.given)
        if error is not None:
            raise error

    async def _rest(self, attempt: int, error: DurafoldError) -> None:
        retry_after_s: float = getattr(error, "retry_after_s", None) or 0.0
        backoff = self.settings.backoff
        if retry_after_s > backoff.max_s:
            raise error
        await anyio.sleep(backoff.delay_s(attempt - 1, random.random(), retry_after_s))  # noqa: S311


def was_not_carried_out(error: DurafoldError) -> bool:
    """Whether an append that failed so may be sent again without the risk of appending it twice."""
    if isinstance(error, ServerUnavailable):
        return error.status in _NOT_CARRIED_OUT
    return isinstance(error, ConnectFailed | TooManyRequests)


def _may_pass(error: DurafoldError) -> bool:
    """Whether trying a harmless request again may help. A damaged answer is shown to the user instead."""
    if isinstance(error, MalformedResponse):
        return False
    return isinstance(error, TransportError | ServerUnavailable | TooManyRequests)
