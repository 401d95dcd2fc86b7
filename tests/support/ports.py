"""Ports for programs that have to be told one, and for servers that are to come back on the one they had."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from itertools import cycle, islice
from pathlib import Path
from typing import Final

__all__ = ["PORTS", "free_port"]

PORTS: Final = range(20_000, 30_000)
"""Below those that systems give to whoever asks for any port (Linux: from 32,768; macOS: from 49,152), so
that nobody gets one while its program is starting, or away."""

_LOCKS: Final = Path(tempfile.gettempdir()) / f"durafold-tests-ports-{os.getuid()}"

_claimed: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other test of this machine is given.

    It is claimed until this process ends.

    Raises:
        OSError: all are in use.
    """
    first = os.getpid() * 61 % len(PORTS)
    for port in islice(cycle(PORTS), first, first + len(PORTS)):
        if port not in _claimed and _claim(port) and _is_free(port):
            return port
    raise OSError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def _claim(port: int) -> bool:
    """Lock the port's file; the system unlocks it when this process ends, however it ends."""
    _LOCKS.mkdir(exist_ok=True)
    file = os.open(_LOCKS / str(port), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    _claimed.add(port)
    return True


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
