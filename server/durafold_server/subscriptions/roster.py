"""All subscriptions of a server in memory, and the streams that they follow.

Every committed change of a stream is noted (`note`, called by the service) and shown to the links it concerns
(`absorb`). A stream that expires changes without anybody being told, so before a wake is issued those with
pending data are looked at once more (`drop_ended`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Final

from durafold_server.clock import Clock
from durafold_server.protocol import lifetimes
from durafold_server.protocol.model import StreamState
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.subscriptions.index import Index
from durafold_server.subscriptions.links import Links
from durafold_server.subscriptions.member import Member
from durafold_server.subscriptions.patterns import Pattern
from durafold_server.subscriptions.records import Records
from durafold_server.subscriptions.values import Delivery, Subscription

logger = logging.getLogger(__name__)

_STREAMS_PER_PAGE: Final = 5000


class Roster:
    """Subscriptions by id and by what they follow.

    Args:
        store: where streams are found.
        records: where links are kept.
        clock: microseconds since 1970, for expiry.
    """

    def __init__(self, store: StreamStore, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._index = Index()
        self._changed: dict[str, StreamState] = {}  # by path, the latest only
        self._lost: dict[Member, list[str]] = {}  # links that went with their streams

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def get(self, subscription_id: str) -> Member | None:
        """The subscription of this id, if there is one."""
        return self._members.get(subscription_id)

    def add(self, subscription: Subscription, delivery: Delivery, *, backfill_until_us: int = 0) -> Member:
        """Take in a subscription; from now on it hears of streams that its pattern matches."""
        config = subscription.config
        pattern = Pattern(config.pattern) if config.pattern is not None else None
        links = Links(pattern, wake_stream=config.wake_stream, backfill_until_us=backfill_until_us)
        member = self._members[subscription.id] = Member(subscription, delivery, links)
        if pattern is not None:
            self._index.add_pattern(pattern, subscription.id)
        return member

    def remove(self, member: Member) -> None:
        """Let go of a subscription."""
        member.removed = True
        member.disarm()
        del self._members[member.id]
        if member.config.pattern is not None:
            self._index.remove_pattern(Pattern(member.config.pattern), member.id)
        for link in member.links:
            self._index.remove_path(link.path, member.id)

    def follow(self, member: Member, path: str) -> None:
        """From now on the subscription hears of this stream."""
        self._index.add_path(path, member.id)

    def unfollow(self, member: Member, path: str) -> None:
        """It no longer does, unless its pattern matches."""
        self._index.remove_path(path, member.id)

    def note(self, stream: StreamState) -> bool:
        """A stream has changed. Returns whether this is the first news since `absorb`."""
        if not self._members:
            return False
        is_first = not self._changed
        self._changed[stream.path] = stream
        return is_first

    def absorb(self) -> list[Member]:
        """Show all noted changes to the links they concern; returns the subscriptions of these."""
        changed, self._changed = self._changed, {}
        concerned: dict[str, Member] = {}
        for path, stream in changed.items():
            for subscription_id in self._index.interested(path):
                member = concerned[subscription_id] = self._members[subscription_id]
                if stream.deleted:
                    self.lose(member, path, stream.id)
                else:
                    member.links.see(stream)
        return list(concerned.values())

    def lose(self, member: Member, path: str, stream_id: int) -> None:
        """An incarnation of a stream is gone."""
        link = member.links.lose(path, stream_id)
        if link is not None and link.recorded:
            self._lost.setdefault(member, []).append(path)

    async def drop_ended(self, member: Member, limit: int) -> None:
        """Look again at up to `limit` streams with pending data; some may have expired.

        Raises:
            StoreFailure: they cannot be read.
        """
        for target in member.links.pending(limit):
            stream = await self.living(target.path)
            if stream is None:
                self.lose(member, target.path, target.stream_id)
            else:
                member.links.see(stream)

    async def matching(self, member: Member) -> AsyncIterator[StreamState]:
        """Living streams that the subscription's pattern may match.

        Raises:
            StoreFailure: they cannot be read.
        """
        if member.config.pattern is None:
            return
        prefix, after = Pattern(member.config.pattern).prefix, None
        while page := await self._store.list_streams(prefix, after, _STREAMS_PER_PAGE):
            for listed in page:
                # A listing may not know of the latest reads, which keep a stream with a TTL alive.
                stream = listed if listed.lifetime.ttl_s is None else await self.living(listed.path)
                if stream is not None and not stream.internal and self._is_alive(stream):
                    yield stream
            after = page[-1].path

    async def living(self, path: str) -> StreamState | None:
        """The stream of a path, unless it is deleted or expired.

        Raises:
            StoreFailure: it cannot be read.
        """
        stream = await self._store.load(path)
        return stream if stream is not None and self._is_alive(stream) else None

    @property
    def has_lost(self) -> bool:
        """Whether there are records of links that went with their streams."""
        return bool(self._lost)

    async def forget_lost(self) -> None:
        """Remove these records."""
        lost, self._lost = self._lost, {}
        for member, paths in lost.items():
            try:
                await self._records.forget(
                    member.uid, [path for path in paths if member.links.get(path) is None]
                )
            except StoreFailure:
                # They name streams that are gone; the next start drops them.
                logger.exception("could not remove records of links of subscription %s", member.id)

    def _is_alive(self, stream: StreamState) -> bool:
        return not stream.deleted and not lifetimes.is_expired(stream, self._clock())
