"""What a banner says about the connection: the rules, and what the hub makes of its streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

from durafold.engine import Reading
from durafold.errors import Unauthorized
from durafold.reflex.connection import OFFLINE_AFTER_S, Connection, connection_of


@dataclass
class Stream:
    status: str
    error: Exception | None = None


def connection(*streams: Stream, lost_for_s: float = 0, pending: int = 0) -> Connection:
    readings = cast("tuple[Reading[Any], ...]", streams)
    return connection_of(readings, lost_for_s=lost_for_s, pending=pending)


LIVE, CONNECTING, LOST = Stream("live"), Stream("connecting"), Stream("reconnecting")


def test_it_is_live_when_every_stream_is_followed_even_with_faults_in_it() -> None:
    assert connection() == Connection("live")
    assert connection(LIVE, Stream("degraded"), pending=2) == Connection("live", "", 2)


def test_one_stream_that_was_never_followed_makes_it_connecting() -> None:
    assert connection(LIVE, CONNECTING).status == "connecting"


def test_one_stream_that_was_lost_a_moment_ago_makes_it_reconnecting() -> None:
    assert connection(LIVE, CONNECTING, LOST, lost_for_s=OFFLINE_AFTER_S - 0.1) == Connection("reconnecting")


@pytest.mark.parametrize("stream", [CONNECTING, LOST], ids=["never followed", "lost"])
def test_a_stream_that_stays_away_makes_it_offline(stream: Stream) -> None:
    away = connection(LIVE, stream, lost_for_s=OFFLINE_AFTER_S, pending=3)

    assert away == Connection("offline", "The stream server does not answer", 3)


def test_a_refusal_makes_it_offline_at_once_and_says_why() -> None:
    refused = connection(LIVE, LOST, Stream("failed", Unauthorized("The token has expired", status=401)))

    assert refused == Connection("offline", "The token has expired")


def test_a_closed_stream_makes_it_offline() -> None:
    assert connection(Stream("closed")) == Connection("offline", "The stream was closed")
