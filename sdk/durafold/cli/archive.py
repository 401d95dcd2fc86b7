"""The file format of `export` and `import`: lines of JSON. Pure.

    {"durafold_export": 1, "stream": "notes", "content_type": "application/json", ...}
    {"message": {"text": "hello"}}              one per message of a JSON stream, as it was written
    {"text": "hello\\n"}, {"base64": "AAH/"}     parts of other streams
    {"end": "notes", "count": 1, "closed": false}

A file holds any number of streams, one after the other. The last line of each tells whether it is complete.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from durafold.errors import ConfigurationError

__all__ = ["Begin", "Content", "End", "Line", "begin_line", "content_lines", "end_line", "parse_line"]

VERSION: Final = 1
_MESSAGE_START: Final = b'{"message":'


@dataclass(frozen=True, slots=True)
class Begin:
    """A stream begins."""

    stream: str
    content_type: str
    ttl_s: int | None
    expires_at: str | None
    retention_bytes: int | None = None
    retention_age_s: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """One message of a JSON stream as it was written, or a part of another stream."""

    encoded: bytes


@dataclass(frozen=True, slots=True)
class End:
    """A stream ends."""

    count: int
    closed: bool


Line: TypeAlias = Begin | Content | End


def begin_line(begin: Begin) -> str:
    """The line that a stream begins with."""
    return json.dumps(
        {
            "durafold_export": VERSION,
            "stream": begin.stream,
            "content_type": begin.content_type,
            "ttl_s": begin.ttl_s,
            "expires_at": begin.expires_at,
            "retention_bytes": begin.retention_bytes,
            "retention_age_s": begin.retention_age_s,
        },
        ensure_ascii=False,
    )


def content_lines(messages: list[str] | None, data: bytes) -> Iterator[str]:
    """The lines of a page.

    Args:
        messages: texts of the messages of a JSON stream; None for other streams.
        data: the bytes of another stream.
    """
    if messages is not None:
        yield from (f'{{"message": {message}}}' for message in messages)
    elif data:
        try:
            yield json.dumps({"text": data.decode()}, ensure_ascii=False)
        except UnicodeDecodeError:
            yield json.dumps({"base64": b64encode(data).decode()})


def end_line(stream: str, end: End) -> str:
    """The line that a stream ends with."""
    return json.dumps({"end": stream, "count": end.count, "closed": end.closed}, ensure_ascii=False)


def parse_line(line: bytes, number: int) -> Line:
    """What a line says.

    Raises:
        ConfigurationError: it is not a line of an export.
    """
    try:
        value = json.loads(line)
        return _parsed(value, line.strip())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ConfigurationError(
            f"Line {number} is not of a durafold export: {exc}",
            hint="Files for it are made by `durafold export`",
        ) from exc


def _parsed(value: dict[str, Any], line: bytes) -> Line:
    if "durafold_export" in value:
        if value["durafold_export"] != VERSION:
            raise ValueError(f"it is of version {value['durafold_export']}, and this program knows {VERSION}")
        settings = (value.get(name) for name in ("ttl_s", "expires_at", "retention_bytes", "retention_age_s"))
        return Begin(str(value["stream"]), str(value["content_type"]), *settings)
    if "end" in value:
        return End(int(value["count"]), bool(value["closed"]))
    if "text" in value:
        return Content(value["text"].encode())
    if "base64" in value:
        return Content(binascii.a2b_base64(value["base64"], strict_mode=True))
    if not line.startswith(_MESSAGE_START) or len(value) != 1:
        raise ValueError("it is neither begin, content nor end")
    # The text between: decoding and encoding would change numbers such as 1.10.
    return Content(line[len(_MESSAGE_START) : -1].strip())
