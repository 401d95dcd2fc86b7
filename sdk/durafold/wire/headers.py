"""What HTTP lets a header hold (RFC 9110 §5.1, §5.5). Light, because the command line imports it."""

from __future__ import annotations

import re
from typing import Final

from durafold.errors import ConfigurationError

__all__ = ["check_header_name", "check_header_value"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Without obs-text, which RFC 9110 §5.5 keeps for old messages: nobody agrees on what such bytes mean.
_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")


def check_header_name(name: object) -> None:
    """Nothing, if a header can be called so.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"The name of a header must be a string, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a header")


def check_header_value(value: object, what: str) -> None:
    """Nothing, if a header can have this value.

    Args:
        value: it, which no message shows: it may be a secret.
        what: what it is to its user, with which messages begin.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{what} must be a string, not {type(value).__name__}")
    if _VALUE.fullmatch(value):
        return
    if _VALUE.fullmatch(value.strip()):
        raise ConfigurationError(
            f"{what} begins or ends with a line break or other white space, which HTTP does not allow",
            hint="Strip it: text that was read from a file often ends in a line break",
        )
    raise ConfigurationError(
        f"{what} has characters in it that HTTP does not allow",
        hint="Only printable ASCII can be sent: no line breaks, no control characters, no accented letters",
    )
