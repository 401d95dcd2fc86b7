"""Subscriptions ↔ records of the store.

What was asked for is one record, the state of wakes another, and every link that is not as the pattern alone
would make it is one more; so an acknowledgement costs the same however many streams are linked. All but the
first are filed under the subscription's uid, not its id, so what a deleted subscription left behind never
becomes a new one's.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from durafold_server.protocol.model import Value
from durafold_server.store.base import StreamStore
from durafold_server.subscriptions.values import Cursor, Delivery, Link, Subscription

_SUBSCRIPTION: Final = "subscriptions/by-id/"
_DELIVERY: Final = "subscriptions/delivery/"
_LINK: Final = "subscriptions/link/"
_TOKEN_SECRET: Final = "subscriptions/secret/token"  # noqa: S105 - a name, not the secret
_SIGNING_SEED: Final = "subscriptions/secret/signing"
_SECRET_BYTES: Final = 32
_AT_ONCE: Final = 1000
"""Records written together: enough to share syncs, few enough not to hold up appends."""


class LinkRecord(Value, frozen=True):
    """What the store keeps of a link."""

    explicit: bool
    cursor: Cursor | None


class Stored(NamedTuple):
    """A subscription as the store has it, with its link records by path."""

    subscription: Subscription
    delivery: Delivery
    links: Mapping[str, LinkRecord]


_subscriptions: Final = msgspec.json.Decoder(Subscription)
_deliveries: Final = msgspec.json.Decoder(Delivery)
_links: Final = msgspec.json.Decoder(LinkRecord)


class Records:
    """The records of all subscriptions of a store."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store

    async def load(self) -> list[Stored]:
        """Every subscription; what deleted ones left behind is removed.

        Raises:
            StoreFailure: they cannot be read, or not be removed.
        """
        subscriptions = await self._store.records(_SUBSCRIPTION)
        found = {one.uid: one for one in map(_subscriptions.decode, subscriptions.values())}
        deliveries = await self._by_uid(_DELIVERY, found)
        links = await self._by_uid(_LINK, found)
        return [
            Stored(
                subscription,
                next(map(_deliveries.decode, deliveries[uid].values()), Delivery()),
                {path: _links.decode(value) for path, value in links[uid].items()},
            )
            for uid, subscription in found.items()
        ]

    async def save(self, subscription: Subscription) -> None:
        """Make a subscription durable.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`.
        """
        await self._store.put_record(_SUBSCRIPTION + subscription.id, msgspec.json.encode(subscription))

    async def save_delivery(self, uid: str, delivery: Delivery) -> None:
        """Make the state of a subscription's wakes durable.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`.
        """
        await self._store.put_record(f"{_DELIVERY}{uid}/", msgspec.json.encode(delivery))

    async def remove(self, subscription: Subscription) -> None:
        """Remove a subscription; `clean_up` removes the rest, or the next `load`.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`.
        """
        await self._store.put_record(_SUBSCRIPTION + subscription.id, None)

    async def clean_up(self, uid: str, paths: Iterable[str]) -> None:
        """Remove what is left of a removed subscription.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`; some of it may be removed.
        """
        await self._remove([f"{_DELIVERY}{uid}/"])
        await self.forget(uid, paths)

    async def save_links(self, uid: str, links: Sequence[Link]) -> None:
        """Make links durable, each for itself.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`; some of them may be written.
        """
        await _all(
            self._store.put_record(
                _link_key(uid, link.path), msgspec.json.encode(LinkRecord(link.explicit, link.cursor))
            )
            for link in links
        )

    async def forget(self, uid: str, paths: Iterable[str]) -> None:
        """Remove the records of links.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`; some of them may be removed.
        """
        await self._remove(_link_key(uid, path) for path in paths)

    async def token_secret(self) -> bytes:
        """What tokens are signed with; made at the first call ever.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`.
        """
        return await self._secret(_TOKEN_SECRET)

    async def signing_seed(self) -> bytes:
        """The private key that notifications are signed with; made at the first call ever.

        Raises:
            StoreFull, StoreFailure: see `StreamStore.put_record`.
        """
        return await self._secret(_SIGNING_SEED)

    async def _secret(self, key: str) -> bytes:
        known = (await self._store.records(key)).get(key)
        if known is None:
            known = secrets.token_bytes(_SECRET_BYTES)
            await self._store.put_record(key, known)
        return known

    async def _by_uid(self, kind: str, known: Collection[str]) -> Mapping[str, Mapping[str, bytes]]:
        """The records of a kind by uid, and by what follows it; those of unknown uids are removed."""
        found: dict[str, dict[str, bytes]] = {uid: {} for uid in known}
        orphans: list[str] = []
        for key, value in (await self._store.records(kind)).items():
            uid, _, rest = key.removeprefix(kind).partition("/")
            if uid in found:
                found[uid][rest] = value
            else:
                orphans.append(key)
        await self._remove(orphans)
        return found

    async def _remove(self, keys: Iterable[str]) -> None:
        await _all(self._store.put_record(key, None) for key in keys)


def _link_key(uid: str, path: str) -> str:
    return f"{_LINK}{uid}/{path}"


async def _all(writes: Iterable[Awaitable[None]]) -> None:
    """Carry out all of them, a bounded number at a time."""
    waiting = iter(writes)
    while some := list(itertools.islice(waiting, _AT_ONCE)):
        await asyncio.gather(*some)
