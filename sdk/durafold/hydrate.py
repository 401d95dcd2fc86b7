"""Loading states for a page that is rendered now, and handing them to the page that then goes live.

`load_stream_with_reducer` folds a stream up to its present tail and leaves the result in a cache, so that the
next load fetches only what is new. Inside a `HydrationBoundary`, providers and hooks start at the loaded
states and offsets: nothing flashes, and nothing is fetched twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

import anyio

from durafold.cache import CacheKey, StateCache, once_at_a_time, scope_of, ssr_state_cache
from durafold.client import ClientSettings, DurableStream, Headers, Offset, Params, Transport
from durafold.client.settings import DEFAULT_SETTINGS
from durafold.engine import Declaration, Definition, base_url, define, snapshots_of, stream_url
from durafold.engine.batches import batch_of
from durafold.engine.endings import trimmed
from durafold.errors import BadRequest, ConfigurationError, StreamGone, StreamNotFound
from durafold.named import UnknownReducer, named_reducer
from durafold.signing import digest, is_digest
from durafold.snapshots import SnapshotPolicy, newest_or_none
from durafold.state.json_values import NotJson
from durafold.state.reducer import Reducer
from durafold.state.replica import Confirmed, fold_batch
from durafold.state.snapshot import Snapshot, dump_snapshot, load_snapshot, restore, take_snapshot
from durafold.wire.offsets import START

__all__ = [
    "HydrationBoundary",
    "HydrationPayload",
    "LoadedState",
    "StreamSpec",
    "load_stream_with_reducer",
    "load_streams",
]

S = TypeVar("S")
T = TypeVar("T")

_logger: Final = logging.getLogger("durafold")

_MAX_CONCURRENT_LOADS: Final = 16
_PAYLOAD_VERSION: Final = 1
_SIGNED_AS: Final = b"durafold hydration\n"


@dataclass(frozen=True)
class StreamSpec(Generic[S]):
    """One stream to load, with the reducer that folds it.

    Attributes:
        path: the stream's key.
        reducer: the reducer, or `set_state_reducer` for a shared value.
        initial: state before the first action.
        actions: type of the actions, if it is not the annotation of the reducer's second parameter.
        state_type: type of the state, if it is not that of `initial`.
        use_cache: False: fold everything from the start, and remember nothing.

    Examples:
        >>> StreamSpec("demo/counter", set_state_reducer, 0)
        StreamSpec(path='demo/counter', reducer=<function set_state_reducer at ...>, initial=0, ...)
    """

    path: str
    reducer: Reducer[S, Any]
    initial: S
    actions: Any = None
    state_type: Any = None
    use_cache: bool = True

    @staticmethod
    def named(path: str, name: str) -> StreamSpec[Any]:
        """A stream that is folded by what a text such as `"app.state:todos"` names: a reducer or an atom.

        Args:
            path: the stream's key.
            name: `module:name`; the working directory is looked into as well.

        Raises:
            ConfigurationError: the name stands for no reducer, or says nothing about the state before the
                first action (give a reducer's first parameter a type that can be made of no arguments, or
                name an atom).
        """
        try:
            named = named_reducer(name)
            return StreamSpec(path, named.reducer, named.first_state(), named.actions, named.state_type)
        except UnknownReducer as exc:
            raise ConfigurationError(str(exc), hint=exc.hint) from exc


@dataclass(frozen=True)
class LoadedState(Generic[S]):
    """A state that was loaded up to the tail that its stream had.

    Attributes:
        definition: what the stream's key means.
        confirmed: the fold.
        fetched_count: how many messages were fetched for it; the rest came from the cache.
    """

    definition: Definition[S]
    confirmed: Confirmed[S]
    fetched_count: int

    @property
    def path(self) -> str:
        """The stream's key."""
        return self.definition.key

    @property
    def state(self) -> S:
        """The state; treat it as immutable, since the cache shares it."""
        return self.confirmed.state

    @property
    def offset(self) -> Offset:
        """Where the next message will be."""
        return Offset(self.confirmed.offset)

    @property
    def revision(self) -> int:
        """How many actions were folded."""
        return self.confirmed.revision


@dataclass(frozen=True, slots=True)
class _Source:
    """Where to load from, and on whose behalf."""

    base_url: str
    headers: Headers | None
    params: Params | None
    transport: Transport
    settings: ClientSettings
    cache: StateCache
    cache_scope: str | None
    snapshots: SnapshotPolicy | None

    def stream(self, key: str) -> DurableStream:
        """The stream of a key."""
        return DurableStream(
            stream_url(self.base_url, key),
            headers=self.headers,
            params=self.params,
            transport=self.transport,
            settings=self.settings,
        )


async def load_stream_with_reducer(
    url: str,
    path: str,
    reducer: Reducer[S, Any],
    initial: S,
    *,
    actions: Any = None,
    state_type: Any = None,
    cache: StateCache = ssr_state_cache,
    use_cache: bool = True,
    cache_scope: str | None = None,
    snapshots: SnapshotPolicy | None = None,
    headers: Headers | None = None,
    params: Params | None = None,
    transport: Transport | None = None,
    settings: ClientSettings = DEFAULT_SETTINGS,
) -> LoadedState[S]:
    """Fold a stream up to its present tail, starting from the cached state if there is one.

    A stream that does not exist gives the initial state; it is not created. Of calls for the same state that
    come at the same time, one does the work and the others share its result.

    Args:
        url: where the server's streams are, such as `http://127.0.0.1:4437/v1/stream`.
        path: the stream's key.
        reducer: the reducer, or `set_state_reducer` for a shared value.
        initial: state before the first action.
        actions: type of the actions, if it is not the annotation of the reducer's second parameter.
        state_type: type of the state, if it is not that of `initial`.
        cache: where states are kept between loads.
        use_cache: False: fold everything from the start, and remember nothing.
        cache_scope: whose state this is. Default: a digest of `headers` and `params`; if they contain
            functions, nothing is cached unless you name a scope.
        snapshots: without a cached state, start from a snapshot beside the stream; none is written.
        headers: more request headers.
        params: more query parameters.
        transport: connections to share. Default: its own, closed in the end.
        settings: timeouts and limits.

    Raises:
        ConfigurationError: the declaration cannot work.
        StreamGone: messages behind the cached state are no longer kept, and no snapshot covers them.
        TransportError: the server does not answer.
        ServerRefused: the server refuses.

    Examples:
        >>> await party.server_state(0, "page/views").increment()
        1
        >>> for _ in range(2):  # the second finds nothing new
        ...     loaded = await load_stream_with_reducer(url, "page/views", set_state_reducer, 0)
        ...     loaded.state, loaded.fetched_count
        (1, 1)
        (1, 0)
    """
    spec = StreamSpec(path, reducer, initial, actions, state_type, use_cache)
    payload = await load_streams(
        url,
        [spec],
        cache=cache,
        cache_scope=cache_scope,
        snapshots=snapshots,
        headers=headers,
        params=params,
        transport=transport,
        settings=settings,
    )
    return cast("LoadedState[S]", payload.loaded[path])


async def load_streams(
    url: str,
    specs: Sequence[StreamSpec[Any]],
    *,
    cache: StateCache = ssr_state_cache,
    cache_scope: str | None = None,
    snapshots: SnapshotPolicy | None = None,
    headers: Headers | None = None,
    params: Params | None = None,
    transport: Transport | None = None,
    settings: ClientSettings = DEFAULT_SETTINGS,
) -> HydrationPayload:
    """Load several streams at the same time; see `load_stream_with_reducer` for the arguments.

    Raises:
        ConfigurationError: a declaration cannot work, or two are for the same path.
        TransportError: the server does not answer.
        ServerRefused: the server refuses one of them.

    Examples:
        >>> await party.server_state(0, "page/likes").increment()
        1
        >>> payload = await load_streams(
        ...     url,
        ...     [
        ...         StreamSpec("page/likes", set_state_reducer, 0),
        ...         StreamSpec("page/title", set_state_reducer, "untitled"),
        ...     ],
        ... )
        >>> payload["page/likes"], payload["page/title"]
        (1, 'untitled')
    """
    definitions = [_defined(spec) for spec in specs]
    if len({definition.key for definition in definitions}) < len(definitions):
        raise ConfigurationError("Two of the streams to load have the same path")
    shared = transport or Transport()
    scope = scope_of(cache_scope, headers, params)
    source = _Source(base_url(url), headers, params, shared, settings, cache, scope, snapshots)
    try:
        loaded = await _load_all(source, definitions, [spec.use_cache for spec in specs])
    finally:
        if transport is None:
            with anyio.CancelScope(shield=True):
                await shared.aclose()
    return HydrationPayload({state.path: state for state in loaded})


def _defined(spec: StreamSpec[S]) -> Definition[S]:
    return define(Declaration(spec.path, spec.reducer, spec.initial, spec.actions, spec.state_type))


async def _load_all(
    source: _Source, definitions: Sequence[Definition[Any]], use_cache: Sequence[bool]
) -> list[LoadedState[Any]]:
    loaded: dict[int, LoadedState[Any]] = {}
    failures: list[Exception] = []
    limiter = anyio.CapacityLimiter(_MAX_CONCURRENT_LOADS)

    async def load(index: int) -> None:
        async with limiter:
            try:
                loaded[index] = await _load(source, definitions[index], use_cache=use_cache[index])
            except Exception as error:  # noqa: BLE001 - raised below, bare and not in a group
                failures.append(error)
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for index in range(len(definitions)):
            tasks.start_soon(load, index)
    if failures:
        raise failures[0]
    return [loaded[index] for index in range(len(definitions))]


async def _load(source: _Source, definition: Definition[S], *, use_cache: bool) -> LoadedState[S]:
    if not use_cache or source.cache_scope is None:
        return await _fetch(source, definition, None)
    key = CacheKey(
        source.base_url, definition.key, definition.fingerprint, source.cache_scope, definition.states
    )
    return await once_at_a_time((id(source.cache), key), lambda: _load_cached(source, definition, key))


async def _load_cached(source: _Source, definition: Definition[S], key: CacheKey) -> LoadedState[S]:
    cached = await _unless_broken(source.cache.load(key))
    try:
        loaded = await _fetch(source, definition, cached)
    except (StreamNotFound, StreamGone, BadRequest) as error:
        if cached is None:
            raise
        # The stream was deleted, and perhaps made anew: the offset means nothing there.
        await _unless_broken(source.cache.drop(key))
        loaded = await _fetch(source, definition, None, gap=_gap(definition, error))
    snapshot = take_snapshot(loaded.confirmed, definition.fingerprint)
    if snapshot is not None and (cached is None or snapshot.offset != cached.offset):
        await _unless_broken(source.cache.save(key, snapshot))
    return loaded


async def _unless_broken(work: Awaitable[T]) -> T | None:
    """What a cache does; a broken one costs time, nothing else."""
    try:
        return await work
    except Exception as error:
        _logger.warning("The state cache fails: %s", error, exc_info=error)
        return None


def _gap(definition: Definition[Any], error: Exception) -> StreamGone | None:
    """The error to raise if only a snapshot would do: what was to be read next is no longer kept."""
    if not isinstance(error, StreamGone) or error.earliest_offset is None:
        return None
    return trimmed(definition.key, error)


async def _fetch(
    source: _Source, definition: Definition[S], cached: Snapshot[S] | None, gap: StreamGone | None = None
) -> LoadedState[S]:
    snapshots = snapshots_of(definition, source.snapshots, source.stream)
    if cached is None and snapshots is not None:
        start = await newest_or_none(snapshots, lambda error: _logger.warning("No snapshot: %s", error))
        if start is not None:
            try:
                return await _fetch_after(source, definition, start)
            except (StreamNotFound, StreamGone, BadRequest) as error:
                # The snapshot belongs to a stream that was deleted, or is too old.
                gap = _gap(definition, error)
    if gap is not None:
        raise gap
    try:
        return await _fetch_after(source, definition, cached)
    except StreamGone as error:
        gap = _gap(definition, error) if cached is None else None
        raise gap or error from None


async def _fetch_after(
    source: _Source, definition: Definition[S], start: Snapshot[S] | None
) -> LoadedState[S]:
    confirmed = Confirmed(definition.initial) if start is None else restore(start)
    first = confirmed.position
    try:
        async for page in source.stream(definition.key).pages(Offset(confirmed.offset)):
            if confirmed.offset != START and page.next_offset < confirmed.offset:
                raise StreamGone("The stream was made anew", status=200, offset=confirmed.offset)
            page.require_beginning()
            batch = batch_of(page)
            confirmed = fold_batch(definition.step, confirmed, batch).confirmed
    except StreamNotFound:
        if start is not None:
            raise
    return LoadedState(definition, confirmed, confirmed.position - first)


class HydrationPayload:
    """Loaded states, to hand to a `HydrationBoundary` here or, as text, in another process.

    Attributes:
        loaded: the states that were loaded in this process, by path.

    Examples:
        >>> await party.server_state(0, "signed").set(5)
        5
        >>> payload = await load_streams(url, [StreamSpec("signed", set_state_reducer, 0)])
        >>> text = payload.dump(secret=b"sixteen bytes...")
        >>> HydrationPayload.load(text, secret=b"sixteen bytes...")["signed"]
        5
        >>> "signed" in HydrationPayload.load(text, secret=b"another secret..")
        False
    """

    def __init__(
        self, loaded: Mapping[str, LoadedState[Any]], received: Mapping[str, Any] | None = None
    ) -> None:
        self.loaded = dict(loaded)
        self._received = dict(received or {})

    def __getitem__(self, path: str) -> Any:
        """The state of a stream; after `load` in its JSON form.

        Raises:
            KeyError: it is not in the payload.
        """
        return self.loaded[path].state if path in self.loaded else self._received[path]["state"]

    def __contains__(self, path: str) -> bool:
        return path in self.loaded or path in self._received

    def dump(self, *, secret: bytes | None = None) -> str:
        """The payload as JSON text, which may stand in a script element of a page.

        Streams with messages that could not be folded are left out: who receives the payload reads those
        from the start.

        Args:
            secret: at least 16 bytes to sign the text with (HMAC-SHA256), so that a receiver with the same
                secret takes no states that somebody else made up.

        Raises:
            ConfigurationError: a state has no JSON form from which it could be made again, or the secret is
                too short.
        """
        streams = dict(self._received)
        for path, state in self.loaded.items():
            snapshot = take_snapshot(state.confirmed, state.definition.fingerprint)
            if snapshot is not None:
                streams[path] = _dumped(snapshot, state.definition)
        payload: dict[str, Any] = {"v": _PAYLOAD_VERSION, "streams": streams}
        if secret is not None:
            payload["mac"] = digest(streams, secret, purpose=_SIGNED_AS)
        return json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")

    @classmethod
    def load(cls, text: str, *, secret: bytes | None = None) -> Self:
        """A payload from the text that `dump` made. Text of any other form gives an empty payload.

        Args:
            text: what `dump` gave.
            secret: take only what was signed with it; the rest counts as text of another form.

        Raises:
            ConfigurationError: the secret is too short.
        """
        try:
            payload = json.loads(text)
            is_ours = payload["v"] == _PAYLOAD_VERSION and isinstance(payload["streams"], dict)
        except (ValueError, KeyError, TypeError, RecursionError):
            return cls({})
        if not is_ours:
            return cls({})
        streams = payload["streams"]
        if secret is not None and not is_digest(payload.get("mac"), streams, secret, purpose=_SIGNED_AS):
            return cls({})
        return cls({}, streams)

    def confirmed(self, definition: Definition[S]) -> Confirmed[S] | None:
        """The state to start with, or None if the payload has none that was folded in the same way."""
        loaded = self.loaded.get(definition.key)
        if loaded is not None:
            is_same = loaded.definition.fingerprint == definition.fingerprint
            return loaded.confirmed if is_same else None
        snapshot = load_snapshot(self._received.get(definition.key), definition.states)
        if snapshot is None or snapshot.fingerprint != definition.fingerprint:
            return None
        return restore(snapshot)


def _dumped(snapshot: Snapshot[Any], definition: Definition[Any]) -> dict[str, Any]:
    try:
        return dump_snapshot(snapshot, definition.states)
    except NotJson as exc:
        raise ConfigurationError(
            f"The state of {definition.key!r} cannot be dumped: {exc}", hint="Name its type with state_type="
        ) from exc


_boundaries: ContextVar[tuple[HydrationPayload, ...]] = ContextVar("durafold_boundaries", default=())


class HydrationBoundary:
    """While it is entered, providers and hooks start at the states of a payload:

        payload = await load_streams(url, [StreamSpec("demo/counter", set_state_reducer, 0)])
        with HydrationBoundary(payload):
            counter = party.server_state(0, "demo/counter")  # has its value, before any I/O

    A state that was folded by another reducer or version is not used. Boundaries nest; the inner one wins. A
    stream that the provider follows already is as fresh as it can be and stays as it is.

    Args:
        payload: what `load_streams` or `HydrationPayload.load` gave.

    Examples:
        >>> await party.server_state(0, "hydrated").set(5)
        5
        >>> payload = await load_streams(url, [StreamSpec("hydrated", set_state_reducer, 0)])
        >>> async with Provider(url) as page:
        ...     with HydrationBoundary(payload):
        ...         page.server_state(0, "hydrated").value  # before any I/O
        5
    """

    def __init__(self, payload: HydrationPayload) -> None:
        self._payload = payload
        self._tokens: list[Token[tuple[HydrationPayload, ...]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_boundaries.set((self._payload, *_boundaries.get())))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        _boundaries.reset(self._tokens.pop())


def hydrated_state(definition: Definition[S]) -> Confirmed[S] | None:
    """The state that the boundaries around the caller have for a key, if any."""
    found = (payload.confirmed(definition) for payload in _boundaries.get())
    return next((confirmed for confirmed in found if confirmed is not None), None)
