"""The HTTP request to a webhook: to checked addresses only, bounded in time and size, no redirects.

The only module of the server that speaks HTTP as a client. It uses httpcore, which does exactly one exchange:
no proxies from the environment, no redirects, no cookies, no authentication by `.netrc`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

import httpcore

from durafold_server.subscriptions.addresses import Policy, check_address, check_url
from durafold_server.subscriptions.courier import Answer, DeliveryFailed
from durafold_server.subscriptions.errors import WebhookRejected

MAX_ANSWER_BYTES: Final = 64 * 1024
_CONNECT_TIMEOUT_S: Final = 10.0
_RESOLVER_THREADS: Final = 4
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host name, port) → IP addresses. Raises OSError."""


class HttpSender:
    """A `Sender` over HTTP/1.1, with a connection of its own for every request.

    Args:
        policy: which addresses are allowed.
        resolve: turns names into addresses; None: the system's resolver.
        network: opens connections to addresses; None: TCP.
        ssl_context: what servers' certificates must satisfy; None: the usual authorities.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy: Policy = policy
        # pyright takes AnyIOBackend for the stand-in that httpcore has where anyio is missing.
        self._network = network or cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        # Lookups that hang must not use up the threads that read from disk.
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="durafold-resolver")
        self._resolve = resolve or self._system_resolve
        # Made once: loading the authorities takes a tenth of a second.
        self._ssl_context = ssl_context or httpcore.default_ssl_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> Answer:
        """See `Sender`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._post(url, headers, body)
        except TimeoutError as exc:
            raise DeliveryFailed(f"no answer within {timeout_s:g} s") from exc
        except WebhookRejected as exc:
            raise DeliveryFailed(exc.message) from exc
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as exc:
            raise DeliveryFailed(str(exc) or type(exc).__name__) from exc

    async def aclose(self) -> None:
        """See `Sender`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = check_url(url, self._policy)
        host = parts.hostname or ""
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        backend = _CheckedBackend(self._network, self._resolve, parts.scheme)
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._ssl_context, network_backend=backend, max_keepalive_connections=0
            ) as pool,
            pool.stream(
                "POST",
                httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target),
                headers=[("Host", parts.netloc), ("Connection", "close"), *headers.items()],
                content=body,
                extensions={"timeout": {"connect": _CONNECT_TIMEOUT_S}},
            ) as response,
        ):
            return Answer(response.status, await _limited(response))

    async def _system_resolve(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to a name: nobody can change it in between."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, resolve: Resolve, scheme: str) -> None:
        self._network = network
        self._resolve = resolve
        self._scheme = scheme

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._checked(host, port)
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        """The host's addresses. One that is forbidden spoils them all: such a name is not to be trusted.

        Raises:
            WebhookRejected: one is forbidden.
            OSError: there is none.
        """
        addresses = await self._resolve(host, port)
        if not addresses:
            raise OSError(f"{host} has no address")
        for address in addresses:
            check_address(ipaddress.ip_address(address), self._scheme)
        return addresses


async def _limited(response: httpcore.Response) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_stream():
        chunks.append(chunk[: MAX_ANSWER_BYTES - size])
        size += len(chunk)
        if size >= MAX_ANSWER_BYTES:
            break
    return b"".join(chunks)
