"""Runs checks, several at a time, each on streams of its own and for a limited time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import anyio

from durafold_server.conformance.check import Check, Probe, Topic
from durafold_server.conformance.checks import TOPICS
from durafold_server.conformance.exchange import Failure, Skipped, TooSlow
from durafold_server.conformance.http import Connection, Unreachable
from durafold_server.conformance.report import Outcome, Report, Result
from durafold_server.conformance.target import Server

DEFAULT_TIMEOUT_S: Final = 20.0
DEFAULT_PATIENCE_S: Final = 3.0
DEFAULT_CONCURRENCY: Final = 24

_ATTEMPTS: Final = 3
_CALM: Final = 4
_CLEAN_UP_S: Final = 5.0
_SLOW_ANSWER_S: Final = 0.3
_PULSE_S: Final = 0.05
_LAG_S: Final = 0.2


class UnknownSelection(ValueError):
    """Nothing is called like this; the message names it."""


def select(sections: Collection[str] | None = None, names: Collection[str] | None = None) -> list[Check]:
    """The checks of some sections, or of some names; all if neither is given.

    Args:
        sections: numbers of PROTOCOL's sections, which include their subsections, or names of topics.
        names: names of checks.

    Raises:
        UnknownSelection: there is no check of a section or name.
    """
    known = [check for topic in TOPICS for check in topic.checks]
    if not sections and not names:
        return known
    chosen = [
        *(check for wanted in sections or () for check in _matching(known, wanted)),
        *(check for wanted in names or () for check in _named(known, wanted)),
    ]
    return [check for check in known if check in chosen]


async def arun(
    base_url: str,
    *,
    sections: Collection[str] | None = None,
    names: Collection[str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    patience_s: float = DEFAULT_PATIENCE_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Do the same as `run`, on the event loop that is running (asyncio or Trio)."""
    checks = select(sections, names)
    began = time.monotonic()
    async with Connection(base_url, headers or {}) as connection:
        run = _Run(connection, timeout_s, patience_s, on_result)
        await run.expect_streams()
        offered = await run.probe([topic for topic in TOPICS if any(c.topic == topic.name for c in checks)])
        results = await run.all(checks, offered, concurrency)
    return Report(base_url, tuple(results[check.name] for check in checks), time.monotonic() - began)


def run(
    base_url: str,
    *,
    sections: Collection[str] | None = None,
    names: Collection[str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    patience_s: float = DEFAULT_PATIENCE_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Check a server of the Durable Streams protocol over HTTP, and delete the streams that this made.

    Args:
        base_url: the URL that all streams are below, such as `http://127.0.0.1:4437/v1/stream`; that path is
            meant if there is none.
        sections: numbers of PROTOCOL's sections, which include their subsections, or names of topics.
        names: names of single checks.
        headers: sent with every request, such as Authorization.
        timeout_s: seconds that one check may take before it counts as failed.
        patience_s: seconds to wait for a long-poll to time out; where the server waits longer, the few checks
            that need it are skipped.
        concurrency: how many checks run at the same time, apart from those that only wait for time to pass.
        on_result: called with each result as it comes, in no particular order.

    Returns:
        The results of all chosen checks.

    Raises:
        Unreachable: there is no server at the URL, or it does not create streams there.
        UnknownSelection: there is no check of a section or name.

    Example:
        ```python
        report = run("http://127.0.0.1:4437/v1/stream", sections=["5.2"])
        assert report.conforms, report.failed
        ```
    """

    async def main() -> Report:
        return await arun(
            base_url,
            sections=sections,
            names=names,
            headers=headers,
            timeout_s=timeout_s,
            patience_s=patience_s,
            concurrency=concurrency,
            on_result=on_result,
        )

    return anyio.run(main)


class _Run:
    """One run against one server."""

    def __init__(
        self,
        connection: Connection,
        timeout_s: float,
        patience_s: float,
        on_result: Callable[[Result], None] | None,
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._on_result = on_result
        # No two runs share a name, not even against a server that keeps what an interrupted run left.
        self._id = f"conformance-{secrets.token_hex(4)}"
        self._number = 0
        self._lagged_at_s = 0.0

    async def expect_streams(self) -> None:
        """Expect a server that creates streams.

        Raises:
            Unreachable: there is none.
        """
        server = self._server()
        try:
            with anyio.fail_after(self._timeout_s):
                reply = await server.unused().put()
        except Failure as exc:
            raise Unreachable(f"cannot reach {self._connection.origin}: {exc.came}") from exc
        except TimeoutError as exc:
            raise Unreachable(f"{self._connection.origin} did not answer in {self._timeout_s:g} s") from exc
        await self._clean_up(server)
        if not 200 <= reply.status < 300:
            where = f"{self._connection.origin}{self._connection.root}"
            raise Unreachable(
                f"no stream could be created below {where}: {reply}. "
                "Give the URL that all streams are below, such as http://127.0.0.1:4437/v1/stream"
            )

    async def probe(self, topics: Sequence[Topic]) -> dict[str, str | None]:
        """For each topic, why the server does not offer it, or None."""
        return {topic.name: await self._missing(topic.probe) for topic in topics}

    async def all(
        self, checks: Sequence[Check], offered: Mapping[str, str | None], concurrency: int
    ) -> dict[str, Result]:
        """The result of each check, by name."""
        results: dict[str, Result] = {}
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch_the_machine)
            for attempts_left in reversed(range(_ATTEMPTS)):
                for result in await self._each(checks, offered, concurrency, may_repeat=attempts_left > 0):
                    results[result.check.name] = result
                checks = [check for check in checks if results[check.name].may_be_slowness]
                # What was too fast for the machine is tried again when less is going on.
                concurrency = min(concurrency, _CALM)
            watching.cancel_scope.cancel()
        return results

    async def _each(
        self,
        checks: Sequence[Check],
        offered: Mapping[str, str | None],
        concurrency: int,
        *,
        may_repeat: bool,
    ) -> list[Result]:
        results: list[Result] = []

        async def work(waiting: Iterator[Check]) -> None:
            for check in waiting:
                missing = offered[check.topic]
                skipped = Result(check, Outcome.SKIPPED, reason=missing or "")
                result = await self._result(check) if missing is None else skipped
                results.append(result)
                if self._on_result is not None and not (may_repeat and result.may_be_slowness):
                    self._on_result(result)

        sleeping = {topic.name for topic in TOPICS if topic.sleeps}
        busy = iter([check for check in checks if check.topic not in sleeping])
        async with anyio.create_task_group() as working:
            for check in checks:
                if check.topic in sleeping:
                    working.start_soon(work, iter([check]))
            for _ in range(concurrency):
                working.start_soon(work, busy)
        return results

    async def _result(self, check: Check) -> Result:
        server = self._server()
        began_s = time.monotonic()
        try:
            with anyio.fail_after(self._timeout_s):
                await check.function(server)
            result = Result(check, Outcome.PASSED)
        except Exception as exc:  # noqa: BLE001 - whatever a server makes a check stumble over is its failure
            result = _judged(check, exc, self._timeout_s)
        finally:
            took_s = time.monotonic() - began_s
            await self._clean_up(server)
        was_slow = server.slowest_s > _SLOW_ANSWER_S or self._lagged_at_s >= began_s
        unsure = result.may_be_slowness or (was_slow and result.outcome is Outcome.FAILED)
        return replace(result, duration_s=took_s, may_be_slowness=unsure)

    async def _watch_the_machine(self) -> None:
        """Notice when even this program gets to run too late for what checks measure."""
        while True:
            due_s = time.monotonic() + _PULSE_S
            await anyio.sleep(_PULSE_S)
            if time.monotonic() - due_s > _LAG_S:
                self._lagged_at_s = time.monotonic()

    async def _missing(self, probe: Probe | None) -> str | None:
        if probe is None:
            return None
        server = self._server()
        try:
            with anyio.fail_after(self._timeout_s):
                return await probe(server)
        except (Failure, TimeoutError) as exc:
            return f"the server does not offer this: {exc}"
        finally:
            await self._clean_up(server)

    def _server(self) -> Server:
        self._number += 1
        return Server(self._connection, f"{self._id}-{self._number}", self._patience_s)

    async def _clean_up(self, server: Server) -> None:
        with anyio.move_on_after(_CLEAN_UP_S, shield=True):
            await server.clean_up()


def _judged(check: Check, error: Exception, timeout_s: float) -> Result:
    """What an exception says about a server."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, Failure):
            return _failed(check, cause)
    for cause in causes:
        if isinstance(cause, TooSlow) and cause.failure is not None:
            return replace(_failed(check, cause.failure), may_be_slowness=True)
        if isinstance(cause, TooSlow | Skipped):
            slow = isinstance(cause, TooSlow)
            return Result(check, Outcome.SKIPPED, reason=str(cause), may_be_slowness=slow)
        if isinstance(cause, TimeoutError):
            return _failed(check, Failure(f"an end within {timeout_s:g} s", "none"))
    # A field of the wrong kind, mostly.
    return _failed(check, Failure("an answer of the documented form", f"{type(error).__name__}: {error}"))


def _failed(check: Check, failure: Failure) -> Result:
    return Result(check, Outcome.FAILED, failure.expected, failure.came, failure.exchange)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions of a group that are no groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _matching(known: Sequence[Check], wanted: str) -> list[Check]:
    numbers = {topic.name: topic.number for topic in TOPICS}
    found = [
        check
        for check in known
        if wanted == check.topic
        or _is_within(check.section, wanted)
        or _is_within(numbers[check.topic], wanted)
    ]
    if not found:
        raise UnknownSelection(f"there is no section or topic {wanted}; --list shows all checks")
    return found


def _named(known: Sequence[Check], wanted: str) -> list[Check]:
    found = [check for check in known if check.name == wanted]
    if not found:
        raise UnknownSelection(f"there is no check {wanted}; --list shows all checks")
    return found


def _is_within(section: str, wanted: str) -> bool:
    return any(part == wanted or part.startswith(f"{wanted}.") for part in section.split(", "))
