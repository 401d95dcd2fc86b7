"""All checks, one file per topic."""

from __future__ import annotations

from typing import Final

from durafold_server.conformance.check import Topic
from durafold_server.conformance.checks.append import APPEND
from durafold_server.conformance.checks.caching import CACHING
from durafold_server.conformance.checks.catch_up import CATCH_UP
from durafold_server.conformance.checks.close import CLOSE
from durafold_server.conformance.checks.creation import CREATION
from durafold_server.conformance.checks.delete import DELETE
from durafold_server.conformance.checks.forks import FORKS
from durafold_server.conformance.checks.json_mode import JSON_MODE
from durafold_server.conformance.checks.lifetimes import LIFETIMES
from durafold_server.conformance.checks.long_poll import LONG_POLL
from durafold_server.conformance.checks.metadata import METADATA
from durafold_server.conformance.checks.offsets import OFFSETS
from durafold_server.conformance.checks.producers import PRODUCERS
from durafold_server.conformance.checks.registry import REGISTRY
from durafold_server.conformance.checks.robustness import ROBUSTNESS
from durafold_server.conformance.checks.security import SECURITY
from durafold_server.conformance.checks.sse import SSE
from durafold_server.conformance.checks.subscriptions import SUBSCRIPTIONS

TOPICS: Final[tuple[Topic, ...]] = (
    FORKS,
    CREATION,
    LIFETIMES,
    APPEND,
    PRODUCERS,
    CLOSE,
    DELETE,
    METADATA,
    CATCH_UP,
    LONG_POLL,
    SSE,
    SUBSCRIPTIONS,
    OFFSETS,
    JSON_MODE,
    CACHING,
    SECURITY,
    ROBUSTNESS,
    REGISTRY,
)
"""In the order of PROTOCOL's sections, then what is beyond them."""
