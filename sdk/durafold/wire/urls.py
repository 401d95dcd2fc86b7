"""What counts as the URL of a server or stream. Light, because the command line imports it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from durafold.errors import ConfigurationError

__all__ = ["split_http_url"]

_USER: Final = re.compile("//[^/]*@")


def split_http_url(url: str, *, hint: str) -> SplitResult:
    """The parts of an absolute http or https URL.

    Args:
        url: as its user wrote it. Messages show it without user, password and query.
        hint: what to do if it is none.

    Raises:
        ConfigurationError: it is no such URL, for example because its port is none.
    """
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        url.encode()
    except ValueError:  # brackets, the port, or halves of surrogate pairs
        is_usable = False
    if not is_usable:
        raise ConfigurationError(f"{_shown(url)!r} is not an http or https URL", hint=hint)
    return parts


def _shown(url: str) -> str:
    return _USER.sub("//", url.partition("?")[0])
