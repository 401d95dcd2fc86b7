"""What operators and their tools ask: is it alive, is it ready, which version, and what has it counted."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.metadata import version as installed_version
from typing import Final

from durafold_server.http.exchange import enter_task
from durafold_server.metrics import Exposition, ServerCounts
from durafold_server.protocol.responses import Reply
from durafold_server.reducers.gate import ReducerGate
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure, StoreFull

logger = logging.getLogger(__name__)

_NO_STORE: Final = (b"cache-control", b"no-store")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_JSON: Final = (b"content-type", b"application/json")
_READY_FOR_S: Final = 1.0
_STORE_TIMEOUT_S: Final = 5.0
_READY_RECORD: Final = "ready"
_STARTED_AT_S: Final = time.time()

METRICS_PATH: Final = "/metrics"


class Probes:
    """Answers below the root: `/healthz`, `/health`, `/readyz`, `/version`, `/metrics`.

    Args:
        service: the service; opens its store if need be.
        counts: what requests add up to.

    Attributes:
        connections: tells how many are open, if somebody knows.
        gate: what streams bound to reducers have to pass; None if there are none.
    """

    def __init__(self, service: Callable[[], Awaitable[StreamService]], counts: ServerCounts) -> None:
        self.connections: Callable[[], int] | None = None
        self.gate: ReducerGate | None = None
        self._service = service
        self._counts = counts
        self._looking = asyncio.Lock()
        self._looked_at_s = float("-inf")
        self._reason: str | None = None
        self._stopping = False

    def stop(self) -> None:
        """Be ready no more, so that balancers send nobody."""
        self._stopping = True

    async def answer(self, path: str) -> Reply | None:
        """The reply to a GET or HEAD of a path; None if it is none of ours."""
        match path:
            case "/healthz" | "/health":
                return Reply(200, [_TEXT, _NO_STORE], b"ok\n")
            case "/readyz":
                reason = await self._not_ready_because()
                return Reply(
                    200 if reason is None else 503, [_TEXT, _NO_STORE], f"{reason or 'ok'}\n".encode()
                )
            case "/version":
                return Reply(200, [_JSON, _NO_STORE], _version_document())
            case "/metrics":
                content_type = (b"content-type", Exposition.CONTENT_TYPE.encode())
                return Reply(200, [content_type, _NO_STORE], (await self._metrics()).encode())
            case _:
                return None

    async def _not_ready_because(self) -> str | None:
        """Why the server cannot take appends, or None if it can. Looks at most once a second: it writes."""
        if self._stopping:
            return "the server is stopping"
        async with self._looking:
            if time.monotonic() - self._looked_at_s >= _READY_FOR_S:
                self._reason = await self._try_to_write()
                self._looked_at_s = time.monotonic()
            return self._reason

    async def _try_to_write(self) -> str | None:
        await enter_task()
        try:
            async with asyncio.timeout(_STORE_TIMEOUT_S):
                service = await self._service()
                await service.store.put_record(_READY_RECORD, b"")
        except TimeoutError:
            return f"the storage did not take a write within {_STORE_TIMEOUT_S:g} s"
        except StoreFull:
            return "the storage is full"
        except StoreFailure:
            # The reason names files, which are nobody's business but the operator's: it is in the log.
            logger.exception("the storage failed when asked whether it is ready")
            return "the storage failed; the server's log says why"
        return None

    async def _metrics(self) -> str:
        service = await self._service()
        page = Exposition()
        self._add_requests(page)
        await self._add_service(page, service)
        if (commits := service.store.commits) is not None:
            page.counter(
                "durafold_commits_total", "Commits, each with one sync to disk.", commits.seconds.count
            )
            page.histogram(
                "durafold_commit_operations", "Operations that shared a commit.", commits.batch_sizes
            )
            page.histogram("durafold_commit_seconds", "Time of a commit.", commits.seconds)
        if self.gate is not None:
            _add_reducers(page, self.gate)
        return page.text()

    def _add_requests(self, page: Exposition) -> None:
        counts = self._counts
        requests = {
            "append": counts.append_seconds.count,
            "read": counts.read_seconds.count,
            **counts.requests,
        }
        page.labelled(
            "durafold_requests_total",
            "counter",
            "Requests that succeeded.",
            [({"operation": operation}, count) for operation, count in requests.items()],
        )
        page.labelled(
            "durafold_errors_total",
            "counter",
            "Requests that were refused or failed.",
            [({"status": status, "code": code}, n) for (status, code), n in sorted(counts.errors.items())],
        )
        page.counter("durafold_appends_total", "Appends that succeeded.", counts.append_seconds.count)
        page.counter("durafold_messages_total", "Messages appended, without duplicates.", counts.messages)
        page.counter("durafold_received_bytes_total", "Data of appends and creations.", counts.received_bytes)
        page.counter("durafold_sent_bytes_total", "Data of pages and events.", counts.sent_bytes)
        page.histogram(
            "durafold_append_seconds", "Time of an append, durable at its end.", counts.append_seconds
        )
        page.histogram("durafold_read_seconds", "Time of a read that does not wait.", counts.read_seconds)

    async def _add_service(self, page: Exposition, service: StreamService) -> None:
        readers = [({"mode": "sse"}, len(service.readers)), ({"mode": "long-poll"}, self._counts.polling)]
        page.labelled("durafold_readers", "gauge", "Live readers.", readers)
        page.gauge("durafold_streams", "Streams in the store.", await service.store.count_streams())
        if self.connections is not None:
            page.gauge("durafold_connections", "Open client connections.", self.connections())
        page.gauge("process_start_time_seconds", "When the server started, since 1970.", _STARTED_AT_S)
        page.labelled("durafold_info", "gauge", "The server's version.", [({"version": _version()}, 1)])


def _add_reducers(page: Exposition, gate: ReducerGate) -> None:
    counts = gate.counts
    page.counter("durafold_accepted_actions_total", "Actions that a reducer has accepted.", counts.accepted)
    page.labelled(
        "durafold_refused_actions_total",
        "counter",
        "Appends that a reducer has refused.",
        [({"verdict": verdict}, count) for verdict, count in sorted(counts.refused.items())],
    )
    page.counter("durafold_reducer_timeouts_total", "Requests that waited in vain.", counts.timeouts)
    page.labelled(
        "durafold_reducer_overdue",
        "gauge",
        "Calls of a reducer that have not come back.",
        [({"reducer": name}, count) for name, count in sorted(gate.overdue.items())],
    )
    page.counter("durafold_states_rebuilt_total", "States folded from the log.", counts.rebuilt)
    page.counter("durafold_folded_bytes_total", "Data folded for that.", counts.folded_bytes)
    page.histogram("durafold_judge_seconds", "Time of judging what came together.", counts.judge_seconds)
    page.gauge("durafold_states", "Folded states in memory.", len(gate))
    page.gauge("durafold_states_bytes", "What they take, as JSON.", gate.size)


@cache
def _version() -> str:
    return installed_version("durafold")


def _version_document() -> bytes:
    return json.dumps({"name": "durafold", "version": _version()}).encode() + b"\n"
