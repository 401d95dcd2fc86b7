"""Presence: who else is here, and what each shows, such as a cursor, a name, or "is typing".

Unlike state, presence is not kept: who joins asks, everybody who shows something answers, and who is not
heard of for `ttl_s` is gone. The stream `<room>/__presence__` only carries it. Nobody reads its past, so its
server may drop that: it is created with a time-to-live, and with a retention for servers that know it.

Messages of that stream, for programs in other languages:

    {"type": "here", "payload": <what I show>, "meta": {"client": "ann-17"}}     again every third of ttl_s
    {"type": "gone", "meta": {"client": "ann-17"}}
    {"type": "who",  "meta": {"client": "ann-17"}}                               please say `here`

Everything that is received counts from the moment it is received, so clocks need not agree. `Roster` (who was
heard) and `Voices` (what is to be said) hold these rules, without I/O; `Room` is one process's connection to
a room, `Seat` one person's place in it, `Presence` what users hold of that.
"""

from __future__ import annotations

from durafold.presence.messages import presence_key, room_of
from durafold.presence.room import MAX_TTL_S, RETENTION_BYTES, Presence, Room, Seat
from durafold.presence.roster import Roster
from durafold.presence.voices import Voices

__all__ = [
    "MAX_TTL_S",
    "RETENTION_BYTES",
    "Presence",
    "Room",
    "Roster",
    "Seat",
    "Voices",
    "presence_key",
    "room_of",
]
