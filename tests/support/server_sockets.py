"""HTTP by hand: exact bytes to a server, and what comes back."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["Answer", "connected", "converse", "request_bytes", "rest_of"]

TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection to a server on this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    received = b""
    with suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    return received


def request_bytes(method: str, target: str | bytes, headers: str = "", body: bytes = b"") -> bytes:
    """A request that asks to close the connection; `headers` holds whole lines."""
    target = target.encode("latin-1") if isinstance(target, str) else target
    head = f"host: localhost\r\nconnection: close\r\n{headers}"
    if body or method in ("POST", "PUT"):
        head += f"content-length: {len(body)}\r\n"
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head.encode("latin-1") + b"\r\n" + body


def converse(port: int, sent: bytes, *methods: str) -> list[Answer]:
    """Send bytes over one connection and read the answer to each request in them.

    Args:
        port: where the server listens.
        sent: one or more requests.
        methods: of the requests, since the answer to HEAD has no body.
    """
    with connected(port) as connection:
        connection.sendall(sent)
        # One file for all answers: what `HTTPResponse` reads ahead would be lost with its own.
        file = connection.makefile("rb")
        return [_read_answer(file, method) for method in methods]


class _Readable:
    """What `HTTPResponse` needs of a socket."""

    def __init__(self, file: socket.SocketIO) -> None:
        self._file = file

    def makefile(self, mode: str) -> socket.SocketIO:
        return self._file


def _read_answer(file: object, method: str) -> Answer:
    response = http.client.HTTPResponse(_Readable(_Unclosable(file)), method=method)  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


class _Unclosable:
    """A file that `HTTPResponse` may not close, because the next answer is in it."""

    def __init__(self, file: object) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def close(self) -> None:
        """Stays open."""
