"""Keeps subscriptions moving: ends leases, issues wakes, tells workers, tries again.

What is due is read off each subscription's state, and after every change the timer is set anew, so there is
no list of things to do that could get lost. A subscription changes only in its turn, that is under its lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVarTuple

from durafold_server.clock import Clock
from durafold_server.protocol.model import StreamState
from durafold_server.store.base import StoreFailure
from durafold_server.subscriptions import rules
from durafold_server.subscriptions.courier import MAX_STREAMS, Courier, DeliveryFailed
from durafold_server.subscriptions.errors import SubscriptionNotFound
from durafold_server.subscriptions.member import Member
from durafold_server.subscriptions.records import Records
from durafold_server.subscriptions.roster import Roster
from durafold_server.subscriptions.rules import Chance
from durafold_server.subscriptions.values import Delivery, Link, Wake

logger = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")

MAX_REQUESTS: Final = 128
"""Requests to webhooks at one time; further wakes wait, and their leases begin when they are sent."""

_STORE_PAUSE_S: Final = 1.0


class Dispatcher:
    """The moving part of all subscriptions.

    Args:
        roster: the subscriptions.
        records: makes them durable.
        courier: tells workers.
        clock: microseconds since 1970.
        chance: gives wake ids and random numbers.
    """

    def __init__(
        self,
        roster: Roster,
        records: Records,
        courier: Courier,
        *,
        clock: Clock,
        chance: Callable[[], Chance],
    ) -> None:
        self._roster = roster
        self._records = records
        self._courier = courier
        self._clock = clock
        self._chance = chance
        self._requests = asyncio.Semaphore(MAX_REQUESTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def start(self) -> None:
        """Take up all subscriptions."""
        self.absorb()
        for member in self._roster:
            self.schedule(member)

    def stop(self) -> None:
        """End all deliveries now; what was under way is sent again after the next start."""
        self._stopping = True
        for member in self._roster:
            member.disarm()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Stop, and wait until everything has ended."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._courier.aclose()

    @contextlib.asynccontextmanager
    async def turn(self, member: Member) -> AsyncIterator[None]:
        """Hold the lock of a subscription; whatever happens, what is due afterwards is seen to.

        Raises:
            SubscriptionNotFound: it was deleted.
        """
        async with member.lock:
            if member.removed:
                raise SubscriptionNotFound
            try:
                yield
            except StoreFailure:
                member.paused_until_s = asyncio.get_running_loop().time() + _STORE_PAUSE_S
                raise
            finally:
                self.schedule(member)

    async def settle(self, member: Member) -> None:
        """In turn: bring the state up to date. Nothing is written, since nobody has heard of what changes.

        Raises:
            StoreFailure: streams cannot be read.
        """
        member.delivery = await self._settled(member, member.delivery)

    async def acknowledge(self, member: Member, links: Sequence[Link]) -> None:
        """In turn: move cursors, on disk first.

        Raises:
            StoreFailure: none has moved; some may have on disk.
        """
        await self._records.save_links(member.uid, links)
        for link in links:
            member.links.advance(link)

    async def finish(self, member: Member) -> None:
        """In turn: end the wake, and issue the next one if data is pending.

        Raises:
            StoreFailure: the wake goes on.
        """
        await self.save(member, await self._settled(member, rules.finish(member.delivery)))

    async def save(self, member: Member, delivery: Delivery) -> None:
        """In turn: change the state, on disk first.

        Raises:
            StoreFailure: it has not changed; on disk it may have.
        """
        await self._records.save_delivery(member.uid, delivery)
        member.delivery = delivery

    def schedule(self, member: Member) -> None:
        """See to it that the subscription is looked at when something is due: now, later, or not at all."""
        member.disarm()
        due_ms = self._due_ms(member)
        if due_ms is None or self._stopping or member.removed or not member.ready:
            return
        loop = asyncio.get_running_loop()
        delay_s = max((due_ms - self._now_ms()) / 1000, member.paused_until_s - loop.time())
        if delay_s > 0:
            member.timer = loop.call_later(delay_s, self._begin_advance, member)
        else:
            self._begin_advance(member)

    def spawn(self, work: Callable[[*Arguments], Coroutine[Any, Any, None]], *arguments: *Arguments) -> None:
        """Run something in the background, until it ends or everything stops."""
        if not self._stopping:
            task = asyncio.get_running_loop().create_task(_guarded(work, *arguments))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def note(self, stream: StreamState) -> None:
        """A stream has changed. Called with every append, so it only takes a note."""
        if self._roster.note(stream):
            asyncio.get_running_loop().call_soon(self.absorb)

    def absorb(self) -> None:
        """Take in what has happened to streams up to now."""
        for member in self._roster.absorb():
            if member.delivery.wake is None:  # while one is in flight, more data changes nothing
                self.schedule(member)
        if self._roster.has_lost:
            self.spawn(self._roster.forget_lost)

    def _due_ms(self, member: Member) -> int | None:
        wake = member.delivery.wake
        if wake is None:
            return 0 if member.links.has_pending else None
        if wake.lease_until_ms is None and not self._may_attempt(member, wake):
            return None
        return rules.due_at(member.delivery)

    def _may_attempt(self, member: Member, wake: Wake) -> bool:
        return member.attempting != wake.wake_id and self._courier.reaches(member.config.kind)

    async def _settled(self, member: Member, delivery: Delivery) -> Delivery:
        self.absorb()
        if not rules.is_leased(delivery, self._now_ms()):
            await self._roster.drop_ended(member, MAX_STREAMS)
        pending = member.links.pending(MAX_STREAMS)
        return rules.settle(delivery, member.config.kind, self._now_ms(), pending, self._chance())

    def _begin_advance(self, member: Member) -> None:
        if not member.queued:
            member.queued = True
            self.spawn(self._advance, member)

    async def _advance(self, member: Member) -> None:
        """Bring a subscription up to date; if its wake is to be told of now, begin with that."""
        async with self.turn(member):
            member.queued = False
            await self.settle(member)
            wake = member.delivery.wake
            due = rules.attempt_is_due(member.delivery, self._now_ms())
            if wake is not None and due and self._may_attempt(member, wake):
                member.attempting = wake.wake_id
                self.spawn(self._attempt, member, wake.wake_id)

    async def _attempt(self, member: Member, wake_id: str) -> None:
        """Tell of one wake once, and note what came of it."""
        place = self._requests if member.config.kind == "webhook" else contextlib.nullcontext()
        try:
            async with place:
                body = await self._compose(member, wake_id)
                if body is not None:
                    await self._deliver(member, wake_id, body)
        finally:
            if member.attempting == wake_id:
                member.attempting = None
            self.schedule(member)

    async def _compose(self, member: Member, wake_id: str) -> bytes | None:
        """What to tell; None if there is no need to any more."""
        async with self.turn(member):
            await self.settle(member)
            wake = member.delivery.wake
            now_ms = self._now_ms()
            if wake is None or wake.wake_id != wake_id or not rules.attempt_is_due(member.delivery, now_ms):
                return None
            config = member.config
            begun = rules.begin_attempt(member.delivery, config.kind, now_ms, config.lease_ttl_ms)
            await self.save(member, begun)
            return self._courier.compose(member.subscription, begun.generation, wake, member.links)

    async def _deliver(self, member: Member, wake_id: str, body: bytes) -> None:
        try:
            done = await self._courier.deliver(member.subscription, body)
        except DeliveryFailed as exc:
            await self._note_failure(member, wake_id, exc)
        else:
            await self._note_success(member, wake_id, done=done)

    async def _note_success(self, member: Member, wake_id: str, *, done: bool) -> None:
        async with self.turn(member):
            wake = member.delivery.wake
            if wake is None or wake.wake_id != wake_id:
                return  # a callback has finished it meanwhile, or its lease has ended
            if done:
                await self.acknowledge(member, member.links.completed(wake.snapshot))
                await self.finish(member)
            else:
                await self.save(member, rules.succeeded(member.delivery, wake_id))

    async def _note_failure(self, member: Member, wake_id: str, reason: DeliveryFailed) -> None:
        async with self.turn(member):
            failed = rules.failed(member.delivery, wake_id, self._now_ms(), self._chance().random)
            if failed == member.delivery:
                return
            level = logging.WARNING if failed.failures == 1 else logging.INFO
            logger.log(level, "subscription %s: delivery failed: %s", member.id, reason)
            await self.save(member, failed)

    def _now_ms(self) -> int:
        return self._clock() // 1000


async def _guarded(work: Callable[[*Arguments], Coroutine[Any, Any, None]], *arguments: *Arguments) -> None:
    try:
        await work(*arguments)
    except SubscriptionNotFound:
        pass  # deleted while the work waited for its turn
    except StoreFailure:
        logger.exception("the state of a subscription could not be kept; it is tried again")
