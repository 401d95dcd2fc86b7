"""The streams of a server: from its listing, or from `__registry__` where it has none."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from durafold.cli.address import address_below, name_of, path_prefix
from durafold.cli.exits import CommandFailed
from durafold.errors import StreamNotFound

if TYPE_CHECKING:
    from durafold.cli.session import Session

__all__ = ["FIELDS", "Registry", "list_streams"]

REGISTRY: Final = "__registry__"
PAGE_SIZE: Final = 1000
FIELDS: Final = (
    "content_type",
    "created_at",
    "earliest_offset",
    "next_offset",
    "bytes",
    "closed",
    "ttl_s",
    "expires_at",
    "forked_from",
)
"""What a record says about a stream, besides its name."""


async def list_streams(session: Session, prefix: str = "") -> AsyncGenerator[dict[str, Any]]:
    """A record for every stream whose name begins so, in the order of names; `stream` is the name.

    Raises:
        CommandFailed: the server has neither a listing nor a registry.
        DurafoldError: it does not answer, or refuses.
    """
    after: str | None = None
    while True:
        page = await _listing_page(session, prefix, after)
        if page is None:
            for record in await _registered(session, prefix):
                yield record
            return
        for stream in page["streams"]:
            yield _record(stream, session.base_url)
        after = page.get("next")
        if not after:
            return


async def _listing_page(session: Session, prefix: str, after: str | None) -> Mapping[str, Any] | None:
    """A page of the server's listing, or None if it has none."""
    from durafold.client.exchange import Request, with_query
    from durafold.client.refusals import error_of

    query = {"prefix": path_prefix(prefix), "limit": str(PAGE_SIZE), **({"after": after} if after else {})}
    request = Request("GET", with_query(address_below(session.base_url, ""), query), session.headers)
    reply = await session.transport.exchange(request, session.settings)
    if reply.status in (400, 404, 405, 501):
        return None
    error = error_of(request, reply)
    if error is not None:
        raise error
    try:
        page = json.loads(reply.body)
    except ValueError:
        return None
    return page if isinstance(page, dict) and isinstance(page.get("streams"), list) else None


def _record(stream: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """A stream of the listing as a record; what the server does not tell is None."""
    path = str(stream.get("path", "")).removeprefix(f"{urlsplit(base_url).path}/")
    return {"stream": name_of(path, base_url), **{field: stream.get(field) for field in FIELDS}}


async def _registered(session: Session, prefix: str) -> list[dict[str, Any]]:
    from durafold.client.exchange import public_url

    registry = Registry(session.base_url)
    try:
        async for page in session.stream(REGISTRY).pages():
            for message in page.json():
                registry.take(message)
    except StreamNotFound as exc:
        raise CommandFailed(
            f"{public_url(session.base_url)} has no listing and no registry of its streams",
            hint="Does the URL contain /v1/stream? Else the server is another one, or older",
        ) from exc
    return [record for record in registry.records() if record["stream"].startswith(prefix)]


class Registry:
    """The fold of `__registry__`: a State Protocol stream whose type `stream` has a key for every stream.

    Args:
        base_url: what the streams are below.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._streams: dict[str, dict[str, Any]] = {}

    def take(self, message: Any) -> None:
        """One more message; others than changes of type `stream` are skipped."""
        headers = message.get("headers") if isinstance(message, dict) else None
        if not isinstance(headers, dict):
            return
        if headers.get("control") == "reset":
            self._streams.clear()
        key, value = message.get("key"), message.get("value")
        if message.get("type") != "stream" or not isinstance(key, str):
            return
        if headers.get("operation") == "delete":
            self._streams.pop(key, None)
        elif isinstance(value, dict):
            told = {"content_type": value.get("contentType"), "closed": value.get("closed")}
            self._streams[key] = {**dict.fromkeys(FIELDS), **told}

    def records(self) -> list[dict[str, Any]]:
        """The streams there are, in the order of names."""
        return [
            {"stream": name_of(key, self._base_url), **self._streams[key]} for key in sorted(self._streams)
        ]
