"""The operations of the subscription API: create, read, delete, link, claim, acknowledge, release.

Rules decide (`rules`, `links`), this acts. Two orders hold everywhere:

* What a worker or webhook is told is durable before it is told. A wake that nobody has heard of is not
  written at all: it follows from the streams' tails, and after a restart it is issued again.
* An acknowledgement is durable before it counts, so no cursor ever goes back; a write that fails leaves at
  most work that is done twice.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from durafold_server.clock import Clock
from durafold_server.protocol.model import Decision
from durafold_server.service import StreamService
from durafold_server.subscriptions import messages, rules, tokens
from durafold_server.subscriptions.courier import MAX_STREAMS, Courier
from durafold_server.subscriptions.dispatcher import Dispatcher
from durafold_server.subscriptions.errors import (
    InvalidSubscription,
    SubscriptionExists,
    SubscriptionNotFound,
)
from durafold_server.subscriptions.member import Member
from durafold_server.subscriptions.messages import AckBody, ClaimView, SigningView, SubscriptionView
from durafold_server.subscriptions.records import Records, Stored
from durafold_server.subscriptions.roster import Roster
from durafold_server.subscriptions.rules import Chance
from durafold_server.subscriptions.values import Config, Delivery, Kind, Subscription

logger = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS: Final = 10_000


def fresh_chance() -> Chance:
    """A wake id and a random number that nobody can guess, nor needs to."""
    return Chance(f"w_{secrets.token_hex(12)}", random.random())  # noqa: S311 - jitter is no secret


class SubscriptionManager:
    """All subscriptions of one store. Make it, then `await start()`; `await aclose()` in the end.

    Args:
        service: whose streams are followed.
        records: where subscriptions are kept.
        courier: tells workers.
        token_secret: what callback and claim tokens are signed with.
        clock: microseconds since 1970.
        chance: gives wake ids and random numbers.
    """

    def __init__(
        self,
        service: StreamService,
        records: Records,
        courier: Courier,
        *,
        token_secret: bytes,
        clock: Clock,
        chance: Callable[[], Chance] = fresh_chance,
    ) -> None:
        self._service = service
        self._records = records
        self._courier = courier
        self._token_secret = token_secret
        self._clock = clock
        self._roster = Roster(service.store, records, clock)
        self._dispatcher = Dispatcher(self._roster, records, courier, clock=clock, chance=chance)

    async def start(self) -> None:
        """Take up every subscription of the store where the last process left it.

        Raises:
            StoreFailure: they cannot be read.
        """
        self._service.observe(self._dispatcher.note)
        for stored in await self._records.load():
            await self._restore(stored)
        sleeping = sum(not self._courier.reaches(member.config.kind) for member in self._roster)
        if sleeping:
            logger.warning(
                "webhooks are off, so webhook subscriptions sleep: %d; start with --webhooks", sleeping
            )
        self._dispatcher.start()

    def stop(self) -> None:
        """End all deliveries now; what was under way is sent again after the next start."""
        self._dispatcher.stop()

    async def aclose(self) -> None:
        """Stop, and let go of everything but the store."""
        await self._dispatcher.aclose()

    async def create(self, subscription_id: str, config: Config, base_url: str) -> bool:
        """Create a subscription, or confirm that it exists (PROTOCOL §6.2).

        Args:
            subscription_id: chosen by the client.
            config: what it asks for.
            base_url: URL of the stream root as the client knows it.

        Returns:
            Whether it is new.

        Raises:
            SubscriptionExists: it exists with another configuration.
            InvalidSubscription: there are too many subscriptions, or too many streams in this one.
            StoreFailure: it cannot be kept.
        """
        created_us = await self._store_time()
        while True:
            member = self._roster.get(subscription_id)
            if member is None:
                uid = secrets.token_hex(8)
                new = Subscription(subscription_id, uid, config, created_us, base_url)
                await self._create(new)
                return True
            async with member.lock:
                # The lock may have been held by a request that was creating or deleting it.
                if not member.removed:
                    await self._confirm(member, config, base_url)
                    return False

    def show(self, subscription_id: str, signing: SigningView | None) -> SubscriptionView:
        """A subscription as clients see it (PROTOCOL §6.3).

        Args:
            subscription_id: of the subscription.
            signing: how notifications are signed, if they are.

        Raises:
            SubscriptionNotFound: there is none.
        """
        member = self._find(subscription_id)
        self._dispatcher.absorb()
        return messages.view(member.subscription, member.delivery.status, member.links, signing)

    async def delete(self, subscription_id: str) -> None:
        """Delete a subscription (PROTOCOL §6.3). That there is none is fine.

        Raises:
            StoreFailure: it may be there still.
        """
        member = self._roster.get(subscription_id)
        if member is None:
            return
        async with member.lock:
            if member.removed:
                return
            await self._records.remove(member.subscription)
            self._roster.remove(member)
        recorded = [link.path for link in member.links if link.recorded]
        self._dispatcher.spawn(self._records.clean_up, member.uid, recorded)

    async def add_streams(self, subscription_id: str, paths: Sequence[str]) -> None:
        """Link streams explicitly, at their tails (PROTOCOL §6.4).

        Raises:
            SubscriptionNotFound: there is no such subscription.
            InvalidSubscription: there would be too many.
            StoreFailure: some of them may be linked.
        """
        member = self._find(subscription_id)
        async with self._dispatcher.turn(member):
            await self._link(member, paths)

    async def remove_stream(self, subscription_id: str, path: str) -> None:
        """Take back an explicit link (PROTOCOL §6.4). That there is none is fine.

        Raises:
            SubscriptionNotFound: there is no such subscription.
            StoreFailure: it may be linked still.
        """
        member = self._find(subscription_id)
        async with self._dispatcher.turn(member):
            link = member.links.without_explicit(path)
            if link is None:
                return
            if link.glob:
                await self._records.save_links(member.uid, [link])
                member.links.put(link)
            else:
                await self._records.forget(member.uid, [path])
                member.links.drop(path)
            self._roster.unfollow(member, path)

    async def claim(self, subscription_id: str, worker: str) -> ClaimView:
        """Give a worker the lease of a pull-wake subscription (PROTOCOL §7.2).

        Raises:
            SubscriptionNotFound: there is no such subscription.
            InvalidSubscription: it is a webhook's.
            NoPendingWork: there is nothing to do.
            AlreadyClaimed: another worker holds it.
            StoreFailure: it may be claimed until its lease ends.
        """
        member = self._find(subscription_id, "pull-wake")
        lease_ttl_ms = member.config.lease_ttl_ms
        async with self._dispatcher.turn(member):
            await self._dispatcher.settle(member)
            claimed, wake = rules.claim(member.delivery, worker, self._clock() // 1000, lease_ttl_ms)
            await self._dispatcher.save(member, claimed)
            return ClaimView(
                wake_id=wake.wake_id,
                generation=claimed.generation,
                token=tokens.for_wake(
                    self._token_secret, subscription_id, claimed.generation, wake.wake_id, self._now_s()
                ),
                streams=messages.pending_now(member.links.in_order(MAX_STREAMS)),
                lease_ttl_ms=lease_ttl_ms,
            )

    async def acknowledge(self, subscription_id: str, kind: Kind, token: str, body: AckBody) -> bool:
        """Take acknowledgements of whoever has the wake, and a sign of life or its end (PROTOCOL §7.1, §7.2).

        Returns:
            Whether the next wake was issued.

        Raises:
            SubscriptionNotFound: there is no such subscription.
            InvalidSubscription: it is of the other kind.
            TokenInvalid, TokenExpired: see `tokens.verify`.
            Fenced: the wake is over.
            InvalidAck: an offset cannot be acknowledged; none was.
            ProtocolError: a path cannot be a stream's.
            StoreFailure: some offsets may be acknowledged; the wake is not over.
        """
        acks = messages.acks_of(body)
        member = self._find(subscription_id, kind)
        async with self._dispatcher.turn(member):
            await self._admit(member, token, body)
            await self._dispatcher.acknowledge(member, member.links.acknowledged(acks))
            if body.done:
                await self._dispatcher.finish(member)
                return member.delivery.wake is not None
            now_ms = self._clock() // 1000
            extended = rules.extend(member.delivery, now_ms, member.config.lease_ttl_ms)
            await self._dispatcher.save(member, extended)
            return False

    async def release(self, subscription_id: str, token: str, body: AckBody) -> None:
        """Give a claimed wake back (PROTOCOL §7.2).

        Raises:
            SubscriptionNotFound, InvalidSubscription, TokenInvalid, TokenExpired, Fenced: as `acknowledge`.
            StoreFailure: the wake may not be over.
        """
        member = self._find(subscription_id, "pull-wake")
        async with self._dispatcher.turn(member):
            await self._admit(member, token, body)
            await self._dispatcher.finish(member)

    async def _create(self, subscription: Subscription) -> None:
        if len(self._roster) >= MAX_SUBSCRIPTIONS:
            raise InvalidSubscription(f"This server keeps at most {MAX_SUBSCRIPTIONS} subscriptions.")
        # Taken in before streams are looked at, so that no change falls in between.
        member = self._roster.add(subscription, Delivery(), backfill_until_us=subscription.created_us)
        async with member.lock:
            try:
                await self._link(member, subscription.config.streams)
                await self._backfill(member)
                await self._records.save(subscription)
            except BaseException:
                self._roster.remove(member)
                raise
            member.ready = True
            self._dispatcher.schedule(member)

    async def _backfill(self, member: Member) -> None:
        """PROTOCOL §6.2: existing streams that match are linked at their tails."""
        async for stream in self._roster.matching(member):
            member.links.see(stream)
        # A cursor at the very beginning needs no record: it is where an unknown link begins.
        linked = [link for link in member.links if link.cursor is not None and link.cursor.acked]
        await self._records.save_links(member.uid, linked)
        for link in linked:
            member.links.put(link)

    async def _link(self, member: Member, paths: Sequence[str]) -> None:
        member.links.check_room(paths)
        links = [member.links.with_explicit(path, await self._roster.living(path)) for path in paths]
        await self._records.save_links(member.uid, links)
        for link in links:
            member.links.put(link)
            self._roster.follow(member, link.path)
        for path in paths:  # what was appended before the subscription heard of it
            stream = await self._roster.living(path)
            if stream is not None:
                member.links.see(stream)

    async def _confirm(self, member: Member, config: Config, base_url: str) -> None:
        # PROTOCOL §6.2 compares hashes; to compare what would be hashed is the same.
        if member.config != config:
            raise SubscriptionExists(
                "The subscription exists with another configuration; delete it first, or use another id."
            )
        if member.subscription.base_url != base_url:
            moved = replace(member.subscription, base_url=base_url)
            await self._records.save(moved)
            member.subscription = moved

    async def _restore(self, stored: Stored) -> None:
        recovered = rules.recover(stored.delivery, stored.subscription.config.kind)
        member = self._roster.add(stored.subscription, recovered)
        for path, link in stored.links.items():
            member.links.restore(path, link.cursor, explicit=link.explicit)
            if link.explicit:
                self._roster.follow(member, path)
        async for stream in self._roster.matching(member):
            member.links.see(stream)
        for path, link in stored.links.items():
            known = await self._roster.living(path)
            if known is not None:
                member.links.see(known)
            elif link.cursor is not None:
                self._roster.lose(member, path, link.cursor.stream_id)
        member.ready = True

    async def _admit(self, member: Member, token: str, body: AckBody) -> None:
        """PROTOCOL §7.3: only who has the wake in flight comes in."""
        claims = tokens.verify(self._token_secret, token, subscription=member.id, now_s=self._now_s())
        await self._dispatcher.settle(member)
        rules.fence(
            member.delivery,
            token=(claims.generation, claims.wake_id),
            request=(body.generation, body.wake_id),
        )

    async def _store_time(self) -> int:
        """The store's time, which is greater than the id of every stream that exists."""
        return await self._service.store.transact((), lambda _found, now_us: Decision((), now_us))

    def _find(self, subscription_id: str, kind: Kind | None = None) -> Member:
        member = self._roster.get(subscription_id)
        if member is None or not member.ready:
            raise SubscriptionNotFound
        if kind is not None and member.config.kind != kind:
            raise InvalidSubscription(f"This is not a {kind} subscription.")
        return member

    def _now_s(self) -> int:
        return self._clock() // 1_000_000
