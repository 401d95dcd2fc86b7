"""`Server`: a whole server in this process, on its own socket. `durafold serve` runs one, and tests may."""

from __future__ import annotations

import ipaddress
import os
import socket
from types import TracebackType
from typing import Final, Self

from durafold_server import settings as table
from durafold_server.access import Authenticate, Authorize
from durafold_server.config import InspectorSettings, ServeSettings
from durafold_server.http.access_log import AccessLog
from durafold_server.http.cors import CorsPolicy
from durafold_server.http.guard import Access
from durafold_server.http.handler import Handler
from durafold_server.http.wire import WireServer
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.store.memory import MemoryStore

_SHUTDOWN_S: Final = 4.0
_BACKLOG: Final = 2048


class ServerError(Exception):
    """The server cannot start. The message says why, and what to do."""


class CannotListen(ServerError):
    """The address cannot be had."""


class UnsafeBind(ServerError):
    """Other machines could do everything."""


class Server:
    """A server on a socket, as a context manager:

        async with Server(data=tmp_path, long_poll_timeout_s=0.5) as server:
            await client.put(f"{server.url}/todos")

    It runs on the loop that enters it, listens on a free port of 127.0.0.1 and keeps streams in memory,
    unless told otherwise. At the end it ends live readers, lets what is under way finish, and takes 5 seconds
    at most.

    Args:
        settings: what `durafold serve` takes; None for the defaults above.
        store: where streams are kept, instead of what the settings say. It is closed at the end.
        authenticate: see `create_app`.
        authorize: see `create_app`.
        **options: settings by name, as in the file: `port=8080`, `data="streams"`, `tokens=["s3cr3t=read"]`.

    Raises:
        InvalidSetting: there is no such setting, it does not take that value, or the tokens' file is wrong.
        SigningUnavailable: webhooks are on, but their extra is not installed.
        UnknownReducer: one that is named cannot be found or used.
    """

    def __init__(
        self,
        settings: ServeSettings | None = None,
        *,
        store: StreamStore | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        **options: object,
    ) -> None:
        base = settings or ServeSettings(port=0, data_dir=None)
        chosen = self._settings = table.apply(base, table.checked(options))
        tokens = (*chosen.tokens, *(table.read_tokens(chosen.tokens_file) if chosen.tokens_file else ()))
        self._store = store
        self._access = Access(tokens, authenticate, authorize, chosen.metrics_open)
        self._handler = Handler(
            self._open_store,
            prefix=chosen.prefix,
            cors=CorsPolicy(chosen.cors_origins) if chosen.cors else None,
            access=self._access,
            access_log=AccessLog(chosen.access_log) if chosen.access_log != "off" else None,
            settings=chosen.service,
            inspector=InspectorSettings(chosen.inspector, chosen.reducers),
        )
        self._wire: WireServer | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Base URL of the streams, such as `http://127.0.0.1:40123/v1/stream`: no slash at its end.

        Raises:
            ServerError: it was not started.
        """
        if not self._url:
            raise ServerError("The server was not started: use `async with Server() as server:`.")
        return self._url

    async def service(self) -> StreamService:
        """The operations on its streams, without HTTP in between.

        Raises:
            StoreFailure: the store cannot be opened.
        """
        return await self._handler.service()

    async def start(self) -> None:
        """Open the store and listen.

        Raises:
            UnsafeBind: other machines could reach it, and nothing controls access.
            CannotListen: the address cannot be had.
            StoreFailure: the store cannot be opened.
        """
        self._refuse_unsafe_bind()
        listener = self._listen()
        try:
            await self._handler.service()
            self._wire = WireServer(
                self._handler,
                max_body_bytes=self._settings.service.max_body_bytes,
                limits=self._settings.connection,
            )
            await self._wire.start(listener)
        except BaseException:
            listener.close()
            await self._handler.aclose()
            raise
        host, port = listener.getsockname()[:2]
        prefix = self._settings.prefix.strip("/")
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}{f'/{prefix}' if prefix else ''}"

    async def stop(self) -> None:
        """End live readers, let what is under way finish, and close the store. Idempotent."""
        self._handler.stop()
        if self._wire is not None:
            await self._wire.stop(_SHUTDOWN_S)
            self._wire = None
        await self._handler.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _refuse_unsafe_bind(self) -> None:
        host = self._settings.host
        if self._access.is_controlled or self._settings.insecure or _is_loopback(host):
            return
        raise UnsafeBind(
            f"{host or 'every address'} is reachable from other machines, and nothing controls access. "
            "Give tokens (--tokens-file FILE, or --token SECRET=read,write), or listen on 127.0.0.1 and put "
            "a proxy that authenticates in front. With --insecure anybody may read and change everything."
        )

    def _listen(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as exc:
            raise CannotListen(
                f"cannot listen on {host}:{port} ({os.strerror(exc.errno or 0)}). "
                "Choose another port (--port, or port= in a program), or end the program that uses this one."
            ) from exc

    async def _open_store(self) -> StreamStore:
        return self._store if self._store is not None else await open_store(self._settings)


async def open_store(settings: ServeSettings) -> StreamStore:
    """The store that the settings ask for.

    Raises:
        StoreFailure: the data directory cannot be used; the message says why.
    """
    if settings.memory or settings.data_dir is None:
        return MemoryStore()
    try:
        from durafold_server.store.sqlite import SqliteStore
    except ModuleNotFoundError as exc:
        raise StoreFailure('keeping data on disk needs: pip install "durafold[server]"') from exc
    return await SqliteStore.open(settings.data_dir)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
