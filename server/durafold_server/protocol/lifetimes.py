"""TTL and expiry (PROTOCOL §5.1): parsing, inheritance by forks (§4.2), and when a stream has ended."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from durafold.wire import names
from durafold_server.protocol.errors import InvalidRequest
from durafold_server.protocol.model import FOREVER, Lifetime, StreamState

US_PER_S: Final = 1_000_000

# PROTOCOL §5.1: no leading zeros, plus sign, decimal point or exponent. Ten digits are 300 years.
_TTL = re.compile(r"(?:0|[1-9][0-9]{0,9})", re.ASCII)
# Hours and minutes are bounded here, because what `datetime` takes beyond them differs between its versions.
_HOUR_MINUTE = r"(?:[01]\d|2[0-3]):[0-5]\d"
_RFC3339 = re.compile(
    rf"\d{{4}}-\d{{2}}-\d{{2}}[Tt]{_HOUR_MINUTE}:\d{{2}}(?P<fraction>\.\d{{1,9}})?(?:[Zz]|[+-]{_HOUR_MINUTE})",
    re.ASCII,
)


def parse_lifetime(ttl: str | None, expires_at: str | None) -> Lifetime:
    """The lifetime that the two headers ask for.

    Raises:
        InvalidRequest: one is malformed, or both are given.
    """
    if ttl is not None and expires_at is not None:
        raise InvalidRequest(f"Send either {names.STREAM_TTL} or {names.STREAM_EXPIRES_AT}, not both.")
    if ttl is not None:
        return Lifetime(ttl_s=_parse_ttl(ttl))
    if expires_at is not None:
        return Lifetime(expires_at=expires_at, expires_at_us=_parse_rfc3339(expires_at))
    return FOREVER


def fork_lifetime(requested: Lifetime, source: Lifetime) -> Lifetime:
    """PROTOCOL §4.2's table: what the fork asks for wins, else it inherits the source's."""
    return source if requested == FOREVER else requested


def is_expired(stream: StreamState, now_us: int) -> bool:
    """Whether the stream has ended by TTL or expiry at `now_us`."""
    lifetime = stream.lifetime
    if lifetime.ttl_s is not None:
        return now_us >= stream.used_us + lifetime.ttl_s * US_PER_S
    return lifetime.expires_at_us is not None and now_us >= lifetime.expires_at_us


def same_lifetime(one: Lifetime, other: Lifetime) -> bool:
    """Whether two lifetimes mean the same, however the expiry was spelt."""
    return one.ttl_s == other.ttl_s and one.expires_at_us == other.expires_at_us


def format_rfc3339(moment_us: int) -> str:
    """A moment as RFC 3339 has it, in UTC."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parse_ttl(text: str) -> int:
    if not _TTL.fullmatch(text):
        raise InvalidRequest(
            f"{names.STREAM_TTL} must be a whole number of seconds without sign, leading zeros or fraction."
        )
    return int(text)


def _parse_rfc3339(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if not match:
        raise InvalidRequest(f"{names.STREAM_EXPIRES_AT} must be RFC 3339, like 2030-01-31T12:00:00Z.")
    fraction = match["fraction"]
    if fraction and len(fraction) > 7:  # finer than a microsecond, which datetime does not take
        text = text.replace(fraction, fraction[:7])
    try:
        moment = datetime.fromisoformat(text.upper())
        since_1970 = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidRequest(f"{names.STREAM_EXPIRES_AT} names no moment: {text}.") from exc
    return since_1970.days * 86_400 * US_PER_S + since_1970.seconds * US_PER_S + since_1970.microseconds
