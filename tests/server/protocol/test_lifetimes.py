"""TTL and expiry: parsing, inheritance, and the moment a stream ends (PROTOCOL §5.1, §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.protocol.errors import InvalidRequest
from durafold_server.protocol.lifetimes import fork_lifetime, is_expired, parse_lifetime, same_lifetime
from durafold_server.protocol.model import FOREVER, Lifetime, Mode, StreamState

TTL_60 = Lifetime(ttl_s=60)
TTL_90 = Lifetime(ttl_s=90)
IN_2030 = Lifetime(expires_at="2030-01-01T00:00:00Z", expires_at_us=1_893_456_000_000_000)
IN_2040 = Lifetime(expires_at="2040-01-01T00:00:00Z", expires_at_us=2_208_988_800_000_000)


def stream_with(lifetime: Lifetime, used_us: int = 0) -> StreamState:
    return StreamState(
        id=1, path="s", content_type="a/b", mode=Mode.BINARY, lifetime=lifetime, used_us=used_us
    )


def test_without_headers_a_stream_lives_forever() -> None:
    assert parse_lifetime(None, None) == FOREVER


@pytest.mark.parametrize(
    ("ttl", "ttl_s"), [("0", 0), ("1", 1), ("3600", 3600), ("9999999999", 9_999_999_999)]
)
def test_a_ttl_is_a_whole_number_of_seconds(ttl: str, ttl_s: int) -> None:
    assert parse_lifetime(ttl, None) == Lifetime(ttl_s=ttl_s)


@pytest.mark.parametrize(
    "ttl",
    [
        "",
        "-1",
        "+3600",
        "03600",
        "00",
        "3600.0",
        "3.6e3",
        "1e3",
        "0x10",
        "1_0",
        " 1",
        "1 ",
        "1\n",
        "abc",
        "٣",
        "²",
        "Infinity",
        "NaN",
        "99999999999",
    ],
)
def test_any_other_spelling_of_a_ttl_is_refused(ttl: str) -> None:
    with pytest.raises(InvalidRequest, match="Stream-TTL"):
        parse_lifetime(ttl, None)


@pytest.mark.parametrize(
    ("expires_at", "expires_at_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2030-01-01T00:00:00Z", 1_893_456_000_000_000),
        ("2030-01-01t00:00:00z", 1_893_456_000_000_000),
        ("2030-01-01T00:00:00+00:00", 1_893_456_000_000_000),
        ("2030-01-01T00:00:00-00:00", 1_893_456_000_000_000),
        ("2030-01-01T02:30:00+02:30", 1_893_456_000_000_000),
        ("2029-12-31T19:00:00-05:00", 1_893_456_000_000_000),
        ("2030-01-01T00:00:00.5Z", 1_893_456_000_500_000),
        ("2030-01-01T00:00:00.000001Z", 1_893_456_000_000_001),
        ("2030-01-01T00:00:00.123456789Z", 1_893_456_000_123_456),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
        ("1969-12-31T23:59:59Z", -1_000_000),
    ],
)
def test_an_expiry_is_an_rfc_3339_moment(expires_at: str, expires_at_us: int) -> None:
    assert parse_lifetime(None, expires_at) == Lifetime(expires_at=expires_at, expires_at_us=expires_at_us)


@pytest.mark.parametrize(
    "expires_at",
    [
        "",
        "tomorrow",
        "1893456000",
        "2030-01-01",
        "2030-01-01T00:00Z",
        "2030-01-01T00:00:00",
        "2030-01-01 00:00:00Z",
        "20300101T000000Z",
        "2030-1-1T00:00:00Z",
        "2030-001T00:00:00Z",
        "2030-W01-1T00:00:00Z",
        "2030-02-30T00:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-01-01T24:00:00Z",
        "2030-01-01T00:60:00Z",
        "2030-01-01T00:00:00,5Z",
        "2030-01-01T00:00:00.Z",
        "2030-01-01T00:00:00.1234567890Z",
        "2030-01-01T00:00:00+0000",
        "2030-01-01T00:00:00+24:00",
        "2030-01-01T00:00:00+00:60",
        "2030-01-01T00:00:00UTC",
        "2030-01-01T00:00:00Zx",
        "2030-01-01T00:00:00Z\n",
        "٢٠٣٠-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "+2030-01-01T00:00:00Z",
    ],
)
def test_any_other_expiry_is_refused(expires_at: str) -> None:
    with pytest.raises(InvalidRequest, match="Stream-Expires-At"):
        parse_lifetime(None, expires_at)


@given(st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()) | st.text(max_size=30))
def test_no_expiry_raises_anything_but_a_protocol_error(text: str) -> None:
    try:
        lifetime = parse_lifetime(None, text)
    except InvalidRequest:
        return

    assert lifetime.expires_at == text
    assert isinstance(lifetime.expires_at_us, int)


def test_ttl_and_expiry_together_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="not both"):
        parse_lifetime("60", "2030-01-01T00:00:00Z")


@dataclass(frozen=True)
class Row:
    """A row of PROTOCOL §4.2's table."""

    source: Lifetime
    request: Lifetime
    fork: Lifetime


@pytest.mark.parametrize(
    "row",
    [
        Row(FOREVER, FOREVER, FOREVER),
        Row(FOREVER, TTL_60, TTL_60),
        Row(FOREVER, IN_2030, IN_2030),
        Row(TTL_60, FOREVER, TTL_60),
        Row(TTL_60, TTL_90, TTL_90),
        Row(TTL_60, IN_2030, IN_2030),
        Row(IN_2030, FOREVER, IN_2030),
        Row(IN_2030, TTL_60, TTL_60),
        Row(IN_2030, IN_2040, IN_2040),
    ],
)
def test_a_fork_inherits_its_lifetime_unless_it_asks_for_its_own(row: Row) -> None:
    assert fork_lifetime(row.request, row.source) == row.fork


@pytest.mark.parametrize(("now_us", "expired"), [(0, False), (60_999_999, False), (61_000_000, True)])
def test_a_ttl_counts_from_the_last_use(now_us: int, expired: bool) -> None:
    assert is_expired(stream_with(TTL_60, used_us=1_000_000), now_us) is expired


@pytest.mark.parametrize(
    ("now_us", "expired"), [(1_893_455_999_999_999, False), (1_893_456_000_000_000, True)]
)
def test_an_expiry_is_exact_and_use_does_not_move_it(now_us: int, expired: bool) -> None:
    assert is_expired(stream_with(IN_2030, used_us=now_us), now_us) is expired


def test_a_stream_without_lifetime_never_ends() -> None:
    assert not is_expired(stream_with(FOREVER), 10**17)


def test_an_expiry_is_the_same_however_it_is_spelt() -> None:
    elsewhere = parse_lifetime(None, "2030-01-01T01:00:00+01:00")

    assert same_lifetime(elsewhere, IN_2030)
    assert not same_lifetime(elsewhere, IN_2040)
    assert not same_lifetime(TTL_60, TTL_90)
    assert not same_lifetime(TTL_60, FOREVER)
