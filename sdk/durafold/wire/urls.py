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
        url.encode()
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # brackets, the port, or halves of surrogate pairs
    raise ConfigurationError(f"{_shown(url)!r} is not an http or https URL", hint=hint)


def _shown(url: str) -> str:
    return _USER.sub("//", url.partition("?")[0])
