"""The headers with which a stream is created: its lifetime, how much of it is kept, and what it is
a fork of. No I/O."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urljoin, urlsplit

from durafold.client.checkpoint import Checkpoint
from durafold.errors import ConfigurationError
from durafold.wire import names
from durafold.wire.offsets import NOW, Offset, is_valid_token

__all__ = ["fork_headers", "fork_url", "lifetime_headers", "retention_headers"]


def lifetime_headers(ttl_s: int | None, expires_at: datetime | str | None) -> dict[str, str]:
    """`Stream-TTL` or `Stream-Expires-At` (PROTOCOL §5.1).

    Raises:
        ConfigurationError: both are given, or one is out of range.
    """
    if ttl_s is not None and expires_at is not None:
        raise ConfigurationError("A stream has a ttl_s or an expires_at, not both")
    if ttl_s is not None:
        if ttl_s < 0:
            raise ConfigurationError(f"ttl_s must not be negative, but is {ttl_s}")
        return {names.STREAM_TTL: str(ttl_s)}
    if isinstance(expires_at, datetime):
        if expires_at.tzinfo is None:
            raise ConfigurationError("expires_at needs a time zone", hint="For example datetime.now(UTC)")
        return {names.STREAM_EXPIRES_AT: expires_at.isoformat()}
    return {} if expires_at is None else {names.STREAM_EXPIRES_AT: expires_at}


def retention_headers(retention_bytes: int | None, retention_age_s: int | None) -> dict[str, str]:
    """`Stream-Retention-Bytes` and `Stream-Retention-Age`, extensions of our server.

    Raises:
        ConfigurationError: one is out of range.
    """
    headers = {}
    for name, value, argument in (
        (names.STREAM_RETENTION_BYTES, retention_bytes, "retention_bytes"),
        (names.STREAM_RETENTION_AGE, retention_age_s, "retention_age_s"),
    ):
        if value is not None and value < 0:
            raise ConfigurationError(f"{argument} must not be negative, but is {value}")
        if value is not None:
            headers[name] = str(value)
    return headers


def fork_headers(
    source_url: str, offset: Offset | Checkpoint | None, sub_offset: int | None
) -> dict[str, str]:
    """`Stream-Forked-From` and where the fork branches off (PROTOCOL §4.2).

    Raises:
        ConfigurationError: the place cannot be one.
    """
    headers = {names.STREAM_FORKED_FROM: urlsplit(source_url).path}
    if isinstance(offset, Checkpoint):
        if sub_offset is not None:
            raise ConfigurationError("A checkpoint has a sub-offset of its own", hint="Leave sub_offset out")
        return fork_headers(source_url, offset.offset, offset.skip or None)
    if offset is None or offset == NOW:
        if sub_offset:
            raise ConfigurationError(
                "There is nothing behind the tail", hint="Pass the offset it counts from"
            )
        return headers
    if not is_valid_token(offset):
        raise ConfigurationError(f"{offset[:80]!r} cannot be an offset")
    headers[names.STREAM_FORK_OFFSET] = offset
    if sub_offset is None:
        return headers
    if sub_offset < 0:
        raise ConfigurationError(f"sub_offset must not be negative, but is {sub_offset}")
    return {**headers, names.STREAM_FORK_SUB_OFFSET: str(sub_offset)}


def fork_url(source_url: str, target: str) -> str:
    """The address of a fork: `target` as it is if it is a URL, else relative to the source's.

    Raises:
        ConfigurationError: it is on another server, where nothing of the source is known.
    """
    url = urljoin(source_url, target)
    source, fork = urlsplit(source_url), urlsplit(url)
    if (source.scheme, source.netloc) != (fork.scheme, fork.netloc):
        raise ConfigurationError("A fork lives on the server of its source (PROTOCOL §4.2)")
    return url if fork.query or not source.query else f"{url}?{source.query}"
