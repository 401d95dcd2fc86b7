"""The messages of a room's stream, and its name. Nothing here knows who is in the room."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

__all__ = ["GONE", "HERE", "WHO", "Message", "gone", "here", "presence_key", "room_of", "sender_of", "who"]

Message: TypeAlias = dict[str, Any]

WHO: Final = "who"
HERE: Final = "here"
GONE: Final = "gone"


def presence_key(room: str) -> str:
    """Name of the stream that carries the presence of a room.

    Examples:
        >>> presence_key("rooms/7")
        'rooms/7/__presence__'
    """
    return f"{room}/__presence__"


def room_of(key: str) -> str:
    """The room whose presence a stream carries.

    Examples:
        >>> room_of("rooms/7/__presence__")
        'rooms/7'
    """
    return key.removesuffix("/__presence__")


def who(client: str) -> Message:
    """A client asks everybody to say `here`."""
    return {"type": WHO, "meta": {"client": client}}


def here(client: str, payload: Any) -> Message:
    """A client is here, and this is what it shows."""
    return {"type": HERE, "meta": {"client": client}, "payload": payload}


def gone(client: str) -> Message:
    """A client leaves."""
    return {"type": GONE, "meta": {"client": client}}


def sender_of(message: Any) -> str | None:
    """The client that a message is from; None if it is no message of presence."""
    meta = message.get("meta") if isinstance(message, dict) else None
    client = meta.get("client") if isinstance(meta, dict) else None
    return client if isinstance(client, str) else None
