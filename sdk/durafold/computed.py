"""Values computed from others: kept as long as nothing they read has changed.

    @derived
    def total(get: Get) -> int:
        return get(price) * sum(get(cart).values())

    @derived(initial=())
    async def matches(get: Get) -> tuple[str, ...]:
        return await search(get(query))  # begun anew when `query` changes meanwhile

    first = select(todos, lambda state: state.items[:1])

What a function reads through `get` is what it depends on, found anew at each run. A result that equals the
last one is no change: the old object is kept, and nobody is told. Values never mix times: whoever reads a
value that is made of others sees all of them as they are now, whatever was announced first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast, overload
from weakref import ref

import anyio

from durafold.client import Offset
from durafold.engine import Listeners, Reading, Status, leave_batch, worst
from durafold.errors import ConfigurationError, ProviderClosed
from durafold.provider import Openable, Provider

__all__ = ["Derived", "DerivedValue", "Get", "derived", "select"]

T = TypeVar("T")
U = TypeVar("U")


class Get(Protocol):
    """Reads another value, and makes the one being computed depend on it."""

    def __call__(self, source: Openable[Reading[T]], /) -> T:
        """The present value of an atom or a derived value."""
        ...


class Derived(Generic[T]):
    """A declared computation; made by `derived` and `select`. It holds nothing alive.

    Args:
        function: computes it; a coroutine function if `is_async`.
        name: what it is called in messages.
        equal: whether two results count as the same.
        initial: value until an asynchronous one was computed once.
    """

    def __init__(
        self,
        function: Callable[[Get], Any],
        *,
        name: str,
        equal: Callable[[Any, Any], bool] | None = None,
        initial: Any = None,
    ) -> None:
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = name
        self.equal = equal or _same
        self.initial = initial

    def __repr__(self) -> str:
        return f"<derived {self.name}>"

    def open_on(self, provider: Provider) -> DerivedValue[T]:
        """What `Provider.open` calls: all users on one provider share one computation."""
        node = cast("_Node[T] | None", provider.nodes.get(self))
        if node is None:
            kind = _AsyncNode if self.is_async else _SyncNode
            node = provider.nodes[self] = kind(provider, self)
            node.start()
        node.users += 1
        return DerivedValue(self.name, node)


class DerivedValue(Reading[T]):
    """What users hold of a derived value."""

    def __init__(self, name: str, node: _Node[T]) -> None:
        super().__init__(name, node, node.release)
        self._node = node

    def subscribe(self, callback: Callable[[], None], *, progress: bool = False) -> Callable[[], None]:
        """See `Reading.subscribe`."""
        self._node.settle()  # what changed before is no news
        return super().subscribe(callback, progress=progress)

    @property
    def is_stale(self) -> bool:
        """Whether an asynchronous one is being computed anew."""
        return self._node.is_stale


@overload
def derived(function: Callable[[Get], Coroutine[Any, Any, T]], /) -> Derived[T | None]: ...
@overload
def derived(function: Callable[[Get], T], /) -> Derived[T]: ...
@overload
def derived(
    *, initial: T, equal: Callable[[T, T], bool] | None = None
) -> Callable[[Callable[[Get], Coroutine[Any, Any, T]]], Derived[T]]: ...
@overload
def derived(*, equal: Callable[[Any, Any], bool]) -> Callable[[Callable[[Get], T]], Derived[T]]: ...
def derived(
    function: Callable[[Get], Any] | None = None,
    /,
    *,
    initial: Any = None,
    equal: Callable[[Any, Any], bool] | None = None,
) -> Any:
    """Declare a value that is computed from others.

    The function takes `get`, reads with it what it needs, and must do nothing but compute. It runs again only
    when something it read has changed. What it raises is raised by `.value`, until something it read changes.

    A coroutine function is computed in a task: the value is the last one that was finished (`initial` before
    the first), a run whose inputs change is cancelled and begun anew.

    Args:
        function: what to decorate.
        initial: value of an asynchronous one until it was computed once.
        equal: whether two results are the same, so that nobody need be told. Default: `==`, of one type.

    Examples:
        >>> from durafold import atom
        >>> price = atom("price", 2)
        >>> @derived
        ... def doubled(get: Get) -> int:
        ...     return 2 * get(price)
        >>> doubled
        <derived doubled>
    """

    def declare(function: Callable[[Get], Any]) -> Derived[Any]:
        name = getattr(function, "__name__", type(function).__name__)
        return Derived(function, name=name, equal=equal, initial=initial)

    return declare if function is None else declare(function)


def select(
    source: Openable[Reading[T]],
    selector: Callable[[T], U],
    *,
    equal: Callable[[U, U], bool] | None = None,
) -> Derived[U]:
    """A part of a value, so that its readers are told only when that part changes.

    Args:
        source: an atom or a derived value.
        selector: a pure function from the value to the part.
        equal: whether two parts are the same. Default: `==`, of one type.

    Examples:
        >>> from durafold import atom
        >>> select(atom("settings", {"dark": False}), lambda settings: settings["dark"])
        <derived select(atom('settings', {'dark': False}))>
    """
    return Derived(lambda get: selector(get(source)), name=f"select({source!r})", equal=equal)


@dataclass(eq=False, slots=True)
class _Input:
    """Something a computation has read: what is held of it, and which version was read."""

    reading: Reading[Any]
    version: int
    unsubscribe: Callable[[], None]

    def close(self) -> None:
        self.unsubscribe()
        self.reading.close()


class _Node(Generic[T]):
    """One computation on one provider, shared by its users; what stands behind a `DerivedValue`."""

    def __init__(self, provider: Provider, declared: Derived[T]) -> None:
        self.provider = provider
        self.users = 0
        self.listeners = Listeners(
            provider.report, lambda: [entry.reading._source.listeners for entry in self._inputs.values()]
        )
        self._declared = ref(declared)  # a declaration that nobody holds any more may go
        self._function = declared.function
        self._name = declared.name
        self._equal = declared.equal
        self._inputs: dict[Openable[Any], _Input] = {}
        self._result: Any = declared.initial
        self._error: Exception | None = None
        self._number = 0
        self._announced = 0
        self._has_result = False
        self._is_stopped = False

    # ---- what readers see ----

    @property
    def view(self) -> T:
        """The value."""
        self.refresh()
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    @property
    def version(self) -> int:
        """Grows whenever the result is another one."""
        self.refresh()
        return self._number

    @property
    def error(self) -> Exception | None:
        """What computing it raised."""
        self.refresh()
        return self._error

    @property
    def status(self) -> Status:
        """The worst status of what it reads."""
        if self._is_stopped:
            return "closed"
        if self.error is not None:
            return "failed"
        seen: set[Status] = {entry.reading.status for entry in self._inputs.values()}
        seen.add("live" if self._has_result else "connecting")
        return worst(seen)

    @property
    def offset(self) -> Offset | None:
        """The offset of what it reads, if that is exactly one."""
        self.refresh()
        only = list(self._inputs.values())
        return only[0].reading.offset if len(only) == 1 else None

    @property
    def has_ended(self) -> bool:
        """Whether it, or everything it reads, is closed."""
        return self._is_stopped

    @property
    def is_stale(self) -> bool:
        """Whether a new result is under way."""
        return False

    async def ready(self) -> None:
        """Wait until everything it reads is ready; what it reads may change by that."""
        waited: set[Reading[Any]] = set()
        while missing := [entry.reading for entry in self._read() if entry.reading not in waited]:
            for reading in missing:
                await reading.ready()
                waited.add(reading)
        if self._is_stopped:
            raise ProviderClosed("The provider was closed")

    def _read(self) -> list[_Input]:
        self.refresh()
        return list(self._inputs.values())

    # ---- life ----

    def start(self) -> None:
        """Begin."""
        self.provider.attach(self)

    def release(self) -> None:
        """A user has gone; with the last one it ends."""
        self.users -= 1
        if not self.users:
            self.stop()

    def stop(self) -> None:
        """Let go of everything it reads; the last value stays."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self.provider.detach(self)
        declared = self._declared()
        if declared is not None:
            self.provider.nodes.pop(declared, None)
        self._keep(frozenset())
        self.listeners.notify(value=False)

    # ---- computing ----

    def refresh(self) -> None:
        """Compute, if what was read has changed."""

    def settle(self) -> None:
        """Count what has changed by now as announced."""
        self.refresh()
        if not self.listeners.is_watched:
            self._announced = self._number

    def _get(self, used: dict[Openable[Any], None], source: Openable[Reading[U]]) -> U:
        used[source] = None
        entry = self._inputs.get(source)
        if entry is None:
            reading = self.provider.open(source)
            unsubscribe = reading.subscribe(self._input_changed, progress=True)
            entry = self._inputs[source] = _Input(reading, -1, unsubscribe)
        entry.version = entry.reading.version
        return cast("U", entry.reading.value)

    def _keep(self, used: Any) -> None:
        for source in [source for source in self._inputs if source not in used]:
            self._inputs.pop(source).close()

    def _is_outdated(self) -> bool:
        return any(entry.version != entry.reading.version for entry in self._inputs.values())

    def _take(self, result: Any, error: Exception | None) -> None:
        is_same = error is None and self._error is None and self._has_result
        if is_same and self._equals(result):
            return
        self._number += 1
        self._has_result = self._has_result or error is None
        self._error = error
        if error is None:
            self._result = result

    def _equals(self, result: Any) -> bool:
        try:
            return result is self._result or self._equal(self._result, result)
        except Exception:  # noqa: BLE001 - users' types may refuse to be compared
            return False

    def _input_changed(self) -> None:
        """Called for every change and progress of what was read."""
        raise NotImplementedError

    def _announce(self) -> None:
        changed, self._announced = self._number != self._announced, self._number
        self.listeners.notify(value=changed)


class _SyncNode(_Node[T]):
    """Computes when it is read."""

    def __init__(self, provider: Provider, declared: Derived[T]) -> None:
        super().__init__(provider, declared)
        self._is_computing = False
        self._was_computed = False

    def refresh(self) -> None:
        if self._is_computing:
            raise ConfigurationError(f"{self._name} depends on itself")
        if self._is_stopped or (self._was_computed and not self._is_outdated()):
            return
        used: dict[Openable[Any], None] = {}
        self._is_computing = True
        try:
            self._take(self._function(cast("Get", partial(self._get, used))), None)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - whoever reads the value is told
            self._take(None, error)
        finally:
            self._is_computing = False
        self._was_computed = True
        self._keep(used)

    def _input_changed(self) -> None:
        if self.listeners.is_watched and not self._is_computing:
            self.refresh()
            self._announce()


class _AsyncNode(_Node[T]):
    """Computes in a task, whenever something it read has changed."""

    def __init__(self, provider: Provider, declared: Derived[T]) -> None:
        super().__init__(provider, declared)
        self._life = anyio.CancelScope()
        self._attempt = anyio.CancelScope()
        self._outdated = anyio.Event()
        self._is_running = True

    @property
    def is_stale(self) -> bool:
        return self._is_running

    def start(self) -> None:
        super().start()
        self.provider.start_soon(self._run)

    def stop(self) -> None:
        super().stop()
        self._life.cancel()

    async def ready(self) -> None:
        while not self._is_stopped and (self._is_running or not (self._has_result or self._error)):
            await self.listeners.changed()
        await super().ready()

    async def _run(self) -> None:
        leave_batch()
        with self._life:
            while True:
                self._outdated, self._is_running = anyio.Event(), True
                with anyio.CancelScope() as self._attempt:
                    await self._compute()
                    self._is_running = False
                    self._announce()
                    await self._outdated.wait()

    async def _compute(self) -> None:
        used: dict[Openable[Any], None] = {}
        try:
            result = await self._function(cast("Get", partial(self._get, used)))
        except Exception as error:  # noqa: BLE001 - whoever reads the value is told
            self._take(None, error)
        else:
            self._take(result, None)
        self._keep(used)

    def _input_changed(self) -> None:
        if self._is_outdated():
            self._outdated.set()
            self._attempt.cancel()
        elif self.listeners.is_watched:
            self.listeners.notify(value=False)


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)
