"""What commands say about a stream: as a record, and as lines for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durafold.client import StreamInfo

__all__ = ["info_record", "info_rows"]


def info_record(stream: str, info: StreamInfo) -> dict[str, Any]:
    """A stream's metadata as a record."""
    return {
        "stream": stream,
        "content_type": info.content_type,
        "next_offset": info.next_offset,
        "closed": info.closed,
        "ttl_s": info.ttl_s,
        "expires_at": None if info.expires_at is None else info.expires_at.isoformat(),
        "retention_bytes": info.retention_bytes,
        "retention_age_s": info.retention_age_s,
    }


def info_rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as name and value, without what the stream does not have."""
    labels = {
        "stream": "Stream",
        "content_type": "Type",
        "next_offset": "Next offset",
        "closed": "Closed",
        "ttl_s": "Time to live, s",
        "expires_at": "Expires",
        "retention_bytes": "Keeps, bytes",
        "retention_age_s": "Keeps, s",
    }
    shown = {**record, "closed": "yes" if record["closed"] else "no"}
    return [(label, str(shown[name])) for name, label in labels.items() if shown[name] is not None]
