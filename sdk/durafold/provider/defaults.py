"""What a provider does where its user says nothing: a name of its own, and a log for what nobody awaits."""

from __future__ import annotations

import logging
import secrets
from typing import Final

from durafold.engine import Notice
from durafold.errors import ConfigurationError, ConnectFailed

__all__ = ["log_error", "log_notice", "log_outage", "unique_id"]

_logger: Final = logging.getLogger("durafold")


def unique_id(name: str | None) -> str:
    """A client id that was never used before, beginning with the name if there is one.

    Raises:
        ConfigurationError: ids cannot begin with such a name.
    """
    if name is None:
        return secrets.token_hex(6)
    is_sendable = name.isascii() and name.isprintable() and name == name.strip()
    if not name or not is_sendable or ":" in name:
        raise ConfigurationError(
            f"{name!r} cannot be a client id", hint="Use printable ASCII characters without ':'"
        )
    return f"{name}-{secrets.token_hex(4)}"


def log_error(error: Exception) -> None:
    """The default of `on_error`."""
    _logger.error("%s", error, exc_info=error)


def log_outage(error: ConnectFailed) -> None:
    """What a program that waits for its server says, once an outage."""
    _logger.warning("Waiting for the server; what is changed meanwhile is kept. %s", error)


def log_notice(notice: Notice) -> None:
    """The default of `on_notice`."""
    _logger.warning("%s", notice)
