"""The face of `durafold.client.DurableStream`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from durafold import client
from durafold.blocking.callables import Chunks, in_threads
from durafold.blocking.mirror import Face, face_of, makes, waits, waits_for
from durafold.blocking.portal import Portal
from durafold.blocking.reader import Follower, Pages
from durafold.client import AppendResult, ClientSettings, Headers, Params, Transport
from durafold.client.settings import DEFAULT_SETTINGS

__all__ = ["DurableStream"]


def _stream_of(target: client.DurableStream, portal: Portal) -> DurableStream:
    return DurableStream.of(target, portal)


@face_of(client.DurableStream)
class DurableStream(Face[client.DurableStream]):
    def __init__(
        self,
        url: str,
        *,
        headers: Headers | None = None,
        params: Params | None = None,
        transport: Transport | None = None,
        content_type: str | None = None,
        settings: ClientSettings = DEFAULT_SETTINGS,
    ) -> None:
        target = client.DurableStream(
            url,
            headers=in_threads(headers),
            params=in_threads(params),
            transport=transport,
            content_type=content_type,
            settings=settings,
        )
        super().__init__(target)

    @property
    def target(self) -> client.DurableStream:
        """The asynchronous handle, which belongs to the portal's event loop."""
        return self._target

    @property
    def portal(self) -> Portal:
        """Where the handle lives."""
        return self._portal

    @property
    def url(self) -> str:
        """As given."""
        return self._target.url

    @property
    def content_type(self) -> str | None:
        """Media type of the stream: as given, or as the server named it."""
        return self._target.content_type

    @property
    def settings(self) -> ClientSettings:
        """As given."""
        return self._target.settings

    create = waits(client.DurableStream.create)
    fork = waits_for(client.DurableStream.fork, _stream_of)
    head = waits(client.DurableStream.head)
    delete = waits(client.DurableStream.delete)
    close = waits(client.DurableStream.close)

    append = waits(client.DurableStream.append)
    append_many = waits(client.DurableStream.append_many)
    append_bytes = waits(client.DurableStream.append_bytes)

    def append_from(
        self, chunks: Iterable[bytes | str], *, seq: str | None = None, close: bool = False
    ) -> AppendResult:
        return self._portal.run(lambda: self._target.append_from(Chunks(chunks), seq=seq, close=close))

    known_content_type = waits(client.DurableStream.known_content_type)

    read = waits(client.DurableStream.read)
    read_bytes = waits(client.DurableStream.read_bytes)
    read_json = waits(client.DurableStream.read_json)
    read_text = waits(client.DurableStream.read_text)
    pages = makes(client.DurableStream.pages, Pages)
    follow = makes(client.DurableStream.follow, Follower)

    def disconnect(self) -> None:
        """Give the connections back that this handle shares with others. `close` closes the stream itself."""
        self._portal.run(self._target.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()
