"""What is appended: JSON messages of a given size, to be counted, or told apart where that is needed."""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES: Final = 100

# Servers may write JSON anew, with other spaces: this much of a message survives that.
_MARK: Final = b'"durafold-bench"'


def message(token: str = "", size: int = MESSAGE_BYTES) -> bytes:
    """A message of `size` bytes that holds `token`."""
    begin = b'{%b:"%b","text":"' % (_MARK, token.encode())
    end = b'"}'
    return begin + b"x" * (size - len(begin) - len(end)) + end


def batch(count: int) -> bytes:
    """The body of an append of `count` messages: PROTOCOL §9.1 flattens one level of array."""
    return b"[" + b",".join([message()] * count) + b"]"


def count_messages(data: bytes) -> int:
    """How many messages are in what a server returned."""
    return data.count(_MARK)
