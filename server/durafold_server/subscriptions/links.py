"""What one subscription is linked to, how far each stream is acknowledged, and what is pending.

No I/O and no clock: streams are shown to it (`see`, `lose`), acknowledgements are checked and taken. What is
pending is never stored; it follows from tails and cursors, so a restart cannot lose it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from msgspec.structs import replace

from durafold_server.protocol.model import StreamState
from durafold_server.protocol.offsets import parse_offset
from durafold_server.subscriptions.errors import InvalidAck, InvalidSubscription
from durafold_server.subscriptions.patterns import Pattern
from durafold_server.subscriptions.values import Cursor, Link, Target

MAX_EXPLICIT: Final = 10_000
"""Of one subscription. Explicit links may name streams that do not exist, so nothing else bounds them."""


class Links:
    """The links of one subscription.

    Args:
        pattern: which streams are linked as soon as they exist.
        wake_stream: never linked by the pattern, since each wake would be work for the next.
        backfill_until_us: streams up to this id are older than the subscription; those that have no link yet
            are linked at their tails, younger ones at their beginnings (PROTOCOL §6.2).
    """

    def __init__(
        self, pattern: Pattern | None, *, wake_stream: str | None = None, backfill_until_us: int = 0
    ) -> None:
        self._backfill_until_us = backfill_until_us
        self._pattern = pattern
        self._wake_stream = wake_stream
        self._links: dict[str, Link] = {}
        self._pending: dict[str, None] = {}  # in order of appearance, so that no stream waits for ever
        self._explicit = 0

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def __len__(self) -> int:
        return len(self._links)

    def get(self, path: str) -> Link | None:
        """The link of a path."""
        return self._links.get(path)

    def check_room(self, paths: Iterable[str]) -> None:
        """Check that these paths can be linked explicitly.

        Raises:
            InvalidSubscription: there would be too many.
        """
        new = {path for path in paths if path not in self._links or not self._links[path].explicit}
        if self._explicit + len(new) > MAX_EXPLICIT:
            raise InvalidSubscription(
                f"A subscription has at most {MAX_EXPLICIT} explicit streams; use a pattern."
            )

    @property
    def has_pending(self) -> bool:
        """Whether any linked stream holds data that was not acknowledged."""
        return bool(self._pending)

    def pending(self, limit: int) -> tuple[Target, ...]:
        """Up to `limit` streams with pending data, the longest waiting first."""
        streams = (self._links[path].stream for path in islice(self._pending, limit))
        return tuple(Target(stream.path, stream.id, stream.tail) for stream in streams if stream is not None)

    def in_order(self, limit: int) -> Sequence[Link]:
        """Up to `limit` links, those with pending data first."""
        first = [self._links[path] for path in islice(self._pending, limit)]
        others = (link for link in self._links.values() if not link.has_pending)
        return [*first, *islice(others, limit - len(first))]

    def restore(self, path: str, cursor: Cursor | None, *, explicit: bool) -> None:
        """Put back a link as the store recorded it, before its stream is seen."""
        self._put(Link(path, explicit, self._globs(path), cursor, recorded=True))

    def see(self, stream: StreamState) -> None:
        """A stream is there as given: link it if the pattern matches, and note its tail."""
        link = self._links.get(stream.path)
        if link is None:
            if not self._globs(stream.path):
                return
            link = Link(stream.path, explicit=False, glob=True)
        self._put(self._followed(link, stream))

    def lose(self, path: str, stream_id: int) -> Link | None:
        """An incarnation of a stream is gone.

        Returns its link if that went with it; an explicit one waits for the stream's successor.
        """
        link = self._links.get(path)
        if link is None or link.cursor is None or link.cursor.stream_id != stream_id:
            return None
        if link.explicit:
            self._put(replace(link, cursor=None, stream=None))
            return None
        return self._drop(link)

    def with_explicit(self, path: str, stream: StreamState | None) -> Link:
        """What `put` must be given to link a path explicitly: at the tail, if it is not linked yet."""
        link = self._links.get(path)
        if link is not None:
            return replace(link, explicit=True)
        cursor = Cursor(stream.id, stream.tail) if stream is not None else None
        return Link(path, explicit=True, glob=self._globs(path), cursor=cursor, stream=stream)

    def put(self, link: Link) -> None:
        """Take what `with_explicit` or `without_explicit` made, once it is written down."""
        now = self._links.get(link.path)
        if now is not None and _same_stream(now.cursor, link.cursor):
            link = replace(link, stream=now.stream)
        elif now is not None:  # its stream was created anew meanwhile, or is gone
            link = replace(now, explicit=link.explicit)
        if link.explicit or (now is not None and link.cursor is not None):
            self._put(replace(link, recorded=True))
        else:
            self.drop(link.path)

    def advance(self, link: Link) -> None:
        """Take what `acknowledged` or `completed` made, once it is written down; never back."""
        now = self._links.get(link.path)
        if now is not None and _follows(link.cursor, now.cursor):
            self._put(replace(now, cursor=link.cursor, recorded=True))

    def without_explicit(self, path: str) -> Link | None:
        """The link of a path as it is without being explicit; None if it is not explicit.

        `put` takes it if the pattern matches it too, else it is to be dropped (PROTOCOL §6.4).
        """
        link = self._links.get(path)
        return replace(link, explicit=False) if link is not None and link.explicit else None

    def drop(self, path: str) -> None:
        """Forget a link."""
        link = self._links.get(path)
        if link is not None:
            self._drop(link)

    def acknowledged(self, acks: Mapping[str, str]) -> list[Link]:
        """The links as acknowledgements leave them; `advance` makes it so once they are written.

        Args:
            acks: path → offset token.

        Raises:
            InvalidAck: a stream is not linked, or an offset is none of its own, before the cursor, or beyond
                the tail. None of them counts then (PROTOCOL §7.1).
        """
        return [self._acknowledged(path, token) for path, token in acks.items()]

    def completed(self, snapshot: Sequence[Target]) -> list[Link]:
        """The links as a wake leaves them that is done as a whole; cursors never go back."""
        done: list[Link] = []
        for target in snapshot:
            link = self._links.get(target.path)
            if link is None or link.cursor is None or link.cursor.stream_id != target.stream_id:
                continue  # unlinked, deleted or created anew meanwhile
            if link.cursor.acked < target.tail:
                done.append(replace(link, cursor=replace(link.cursor, acked=target.tail)))
        return done

    def _acknowledged(self, path: str, token: str) -> Link:
        link = self._links.get(path)
        if link is None:
            raise InvalidAck(f"The stream {path} is not linked to this subscription.")
        parsed = parse_offset(token)
        stream, cursor = link.stream, link.cursor
        if stream is None or cursor is None or parsed is None or parsed[0] != stream.owner(parsed[1]):
            raise InvalidAck(f"{token!r} is no offset of the stream {path}; use one that a read returned.")
        position = parsed[1]
        if position < cursor.acked:
            raise InvalidAck(f"{token} lies before what was acknowledged of the stream {path} already.")
        if position > stream.tail:
            raise InvalidAck(f"{token} lies beyond the tail of the stream {path}.")
        return replace(link, cursor=replace(cursor, acked=position))

    def _followed(self, link: Link, stream: StreamState) -> Link:
        cursor = link.cursor
        if cursor is not None and stream.id < cursor.stream_id:
            return link  # old news of a stream that was deleted and created anew
        if cursor is None or cursor.stream_id != stream.id:
            existed = stream.id <= self._backfill_until_us
            begin = stream.tail if existed else _own_start(stream)
            return replace(link, cursor=Cursor(stream.id, begin), stream=stream)
        if link.stream is not None and stream.tail < link.stream.tail:
            return link  # old news of its tail
        if cursor.acked < stream.start:  # what lies before is no longer retained
            cursor = replace(cursor, acked=stream.start)
        if cursor.acked > stream.tail:  # a repair has cut off what was acknowledged
            cursor = replace(cursor, acked=stream.tail)
        return replace(link, cursor=cursor, stream=stream)

    def _globs(self, path: str) -> bool:
        return self._pattern is not None and path != self._wake_stream and self._pattern.matches(path)

    def _put(self, link: Link) -> None:
        before = self._links.get(link.path)
        self._explicit += link.explicit - (before.explicit if before else False)
        self._links[link.path] = link
        if link.has_pending:
            self._pending.setdefault(link.path)
        else:
            self._pending.pop(link.path, None)

    def _drop(self, link: Link) -> Link:
        self._explicit -= link.explicit
        self._pending.pop(link.path, None)
        return self._links.pop(link.path)


def _same_stream(one: Cursor | None, other: Cursor | None) -> bool:
    return one is not None and other is not None and one.stream_id == other.stream_id


def _follows(one: Cursor | None, other: Cursor | None) -> bool:
    """Whether one cursor is where the other is, or further on."""
    return one is not None and other is not None and _same_stream(one, other) and one.acked >= other.acked


def _own_start(stream: StreamState) -> int:
    """Where data begins that was appended to this very stream: what a fork inherits is history."""
    return max(stream.start, stream.fork.at) if stream.fork is not None else stream.start
