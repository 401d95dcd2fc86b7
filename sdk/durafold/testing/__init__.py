"""Helpers for testing code that shares state.

- `ServerProcess`: a real stream server that a test starts, kills and restarts
- `LocalServer`: one inside the test, without sockets, on a network with faults
- `settle`, `assert_converged`: wait for clients, and check that they agree
- `check_reducer`: look for what would keep replicas from agreeing
- `FakeClock`, and `durafold.testing.fixtures` for pytest
"""

from durafold.testing.checks import assert_converged, check_reducer, settle
from durafold.testing.local import FakeClock, LocalServer
from durafold.testing.server import ServerProcess

__all__ = ["FakeClock", "LocalServer", "ServerProcess", "assert_converged", "check_reducer", "settle"]
