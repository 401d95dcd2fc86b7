"""The routes below `/_ui`: the page's files, and what the page asks beyond the protocol.

    GET  /_ui/                            the page
    GET  /_ui/<file>                      its modules and styles
    GET  /_ui/config.json                 where the streams are, and the server's version
    GET  /_ui/api/reducers                the registered reducers
    GET  /_ui/api/stream?stream=…         one stream: its extent, where it branched off, its lifetime
    GET  /_ui/api/last?stream=…&count=…   offset from which a stream holds its last messages
    POST /_ui/api/fold                    {stream, reducer, to, initial?} → a state, and how it came about

The files are the same for everybody. What is below `api/` speaks of streams and needs the right to read them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import msgspec

from durafold_server.access import Operation
from durafold_server.inspector.assets import Asset, load_assets
from durafold_server.inspector.seeking import offset_of_last
from durafold_server.protocol import caching
from durafold_server.protocol.errors import InvalidRequest, MethodNotAllowed, NotFound
from durafold_server.protocol.model import StreamState
from durafold_server.protocol.requests import parse_path
from durafold_server.protocol.responses import HeaderList, Reply
from durafold_server.reducers.folding import Folded, Folder, dump_state
from durafold_server.reducers.registered import Registered
from durafold_server.service import StreamService

SEGMENT: Final = "_ui"
"""First path segment of the inspector, beside the stream root."""

REGISTRY_PATH: Final = "__registry__"
"""Who may list the streams may see which reducers there are."""

MAX_LAST: Final = 100_000

# Nothing but our own files runs, nothing can be framed, and no text can become markup: the browser itself
# refuses `innerHTML` and its relatives under `require-trusted-types-for`.
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_SECURITY: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", caching.NO_STORE.encode())


class PageRequest(NamedTuple):
    """A request below `/_ui`.

    Attributes:
        method: of HTTP.
        path: what follows `/_ui`, with its slash, as the client wrote it.
        root: URL path of the stream root.
        headers: by lower-case name.
        query: all values of each parameter.
        body: the whole body.
    """

    method: str
    path: str
    root: str
    headers: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: bytes


class FoldBody(msgspec.Struct):
    """What the page sends to have a stream folded.

    Attributes:
        stream: path below the stream root.
        reducer: name of a registered one.
        to: offset; the state is that after all messages before it. `now` for the tail.
        initial: JSON of the state to begin with, None for the reducer's own.
    """

    stream: str
    reducer: str
    to: str = "now"
    initial: Any = None


OpenService = Callable[[], Awaitable[StreamService]]
Check = Callable[[Operation, str], Awaitable[None]]
"""Raises if the visitor may not do that with the stream of this path."""


class Inspector:
    """Answers requests below `/_ui`.

    Args:
        open_service: the service, opened by the first request that needs it.
        reducers: by name, those that streams may be folded with.
    """

    def __init__(self, open_service: OpenService, reducers: Mapping[str, Registered]) -> None:
        self._open_service = open_service
        self._reducers = reducers
        self._assets: Mapping[str, Asset] | None = None
        self._folder: Folder | None = None

    async def handle(self, request: PageRequest, check: Check) -> Reply:
        """Answer one request.

        Args:
            request: below `/_ui`.
            check: called before anything of a stream is looked at.

        Raises:
            ProtocolError: as the service, or for a route, method or body that is wrong.
            StoreFailure: as the service.
        """
        match request.path:
            case "":
                # Relative, so that it holds wherever this server is mounted.
                return Reply(308, [(b"location", f"{SEGMENT}/".encode()), _NO_STORE], own_policy=True)
            case "/config.json":
                _check_method(request, "GET", "HEAD")
                return _json({"root": request.root, "version": version("durafold")})
            case "/api/reducers":
                _check_method(request, "GET", "HEAD")
                await check("list", REGISTRY_PATH)
                return _json([_described(one) for one in self._reducers.values()])
            case "/api/stream":
                _check_method(request, "GET", "HEAD")
                return await self._stream(request, check)
            case "/api/last":
                _check_method(request, "GET", "HEAD")
                return await self._last(request, check)
            case "/api/fold":
                _check_method(request, "POST")
                return await self._fold(request, check)
            case path:
                _check_method(request, "GET", "HEAD")
                return self._file(request, path.removeprefix("/") or "index.html")

    def _file(self, request: PageRequest, name: str) -> Reply:
        if self._assets is None:
            self._assets = load_assets()
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound("The inspector has no such file; the page is at its address with a slash.")
        # Asked for each time and answered with 304: an upgraded server never meets yesterday's modules.
        headers: HeaderList = [
            *_SECURITY,
            (b"content-type", asset.content_type),
            (b"cache-control", b"no-cache"),
            (b"etag", asset.etag.encode()),
        ]
        if caching.matches(request.headers.get("if-none-match"), asset.etag):
            return Reply(304, headers, own_policy=True)
        return Reply(200, headers, asset.body, own_policy=True)

    async def _stream(self, request: PageRequest, check: Check) -> Reply:
        path = parse_path(_one(request, "stream"))
        await check("read", path)
        return _json(_facts(await (await self._open_service()).head(path)))

    async def _last(self, request: PageRequest, check: Check) -> Reply:
        path = parse_path(_one(request, "stream"))
        count = _one(request, "count")
        if not (count.isascii() and count.isdigit() and 0 < int(count[:7]) <= MAX_LAST):
            raise InvalidRequest(f"count must be a number from 1 to {MAX_LAST}.")
        await check("read", path)
        offset = await offset_of_last(await self._open_service(), path, int(count))
        return _json({"offset": offset})

    async def _fold(self, request: PageRequest, check: Check) -> Reply:
        try:
            wanted = msgspec.json.decode(request.body, type=FoldBody)
        except msgspec.DecodeError as exc:
            raise InvalidRequest(f"The body must be {{stream, reducer, to}}: {exc}.") from exc
        reducer = self._reducers.get(wanted.reducer)
        if reducer is None:
            raise InvalidRequest(f"There is no reducer {wanted.reducer!r}; start the server with --reducers.")
        path = parse_path(wanted.stream)
        await check("read", path)
        service = await self._open_service()
        if self._folder is None:
            self._folder = Folder(service)
        folded = await self._folder.fold(path, reducer, wanted.to, wanted.initial)
        stream = await service.head(path)
        return _json({"offset": stream.offset(folded.at), **_shown(reducer, folded)})


def _facts(stream: StreamState) -> dict[str, Any]:
    """What the page tells of a stream beyond HEAD. Offsets can be made from `start` and `segments`."""
    fork = stream.fork
    return {
        "path": stream.path,
        "content_type": stream.content_type,
        "start": stream.start,
        "tail": stream.tail,
        "next_offset": stream.offset(stream.tail),
        "segments": [{"origin": one.stream_id, "until": one.until} for one in stream.segments()],
        "created_at_ms": stream.id // 1000,
        "used_at_ms": stream.used_us // 1000,
        "closed": stream.closed,
        "closed_by": stream.closed_by.producer_id if stream.closed_by else None,
        "ttl_s": stream.lifetime.ttl_s,
        "expires_at": stream.lifetime.expires_at,
        "last_seq": stream.last_seq,
        "forks": stream.forks,
        "forked_from": fork.source_path if fork else None,
        "forked_at": stream.offset(fork.at) if fork else None,
    }


def _shown(reducer: Registered, folded: Folded) -> dict[str, Any]:
    confirmed = folded.confirmed
    return {
        "complete": folded.complete,
        "position": confirmed.position,
        "revision": confirmed.revision,
        "state": dump_state(reducer, confirmed.state),
        "before": None if folded.last is None else dump_state(reducer, folded.before),
        "verdict": folded.last,
        "reason": folded.error,
        "faults": [
            {"position": fault.position, "verdict": fault.verdict, "reason": fault.reason}
            for fault in confirmed.faults
        ],
        "fault_count": confirmed.fault_count,
    }


def _described(reducer: Registered) -> dict[str, Any]:
    return {
        "name": reducer.name,
        "version": reducer.version,
        "initial": dump_state(reducer, reducer.initial) if reducer.initial is not None else None,
    }


def _json(value: Any) -> Reply:
    return Reply(200, [*_SECURITY, _JSON, _NO_STORE], msgspec.json.encode(value), own_policy=True)


def _check_method(request: PageRequest, *allowed: str) -> None:
    if request.method not in allowed:
        raise MethodNotAllowed(request.method, allowed)


def _one(request: PageRequest, name: str) -> str:
    values = request.query.get(name, ())
    if len(values) != 1:
        raise InvalidRequest(f"The parameter {name} must be given once.")
    return values[0]
