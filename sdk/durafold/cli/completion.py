"""Names of streams for the shell's completion: within 0.3 seconds, or not at all."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import typer

from durafold.cli.address import DEFAULT_URL, address_below, base_address, credentials, name_of, path_prefix
from durafold.errors import DurafoldError

__all__ = ["complete_stream"]

_BUDGET_S: Final = 0.3
_MAX_NAMES: Final = 200


def complete_stream(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of streams that begin like this; none if the server does not tell in time."""
    found: list[str] = []
    url = ctx.params.get("url") or os.environ.get("STREAM_URL") or DEFAULT_URL
    asking = threading.Thread(
        target=_ask, args=(str(url), ctx.params.get("token"), incomplete, found), daemon=True
    )
    asking.start()
    asking.join(_BUDGET_S)
    return list(found)


def _ask(url: str, token: str | None, prefix: str, found: list[str]) -> None:
    # Not with the SDK's client, whose import takes most of the budget.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        parts = urlsplit(address_below(base_address(url), ""))
        asked = urlencode({"limit": _MAX_NAMES, "prefix": path_prefix(prefix)})
        request = urllib.request.Request(  # noqa: S310 - base_address lets http and https through only
            urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, asked))))),
            headers=credentials(token, os.environ),
        )
        with opener.open(request, timeout=_BUDGET_S) as answer:
            listing = json.load(answer)
        found.extend(name for name in _names(listing, base_address(url)) if name.startswith(prefix))
    except (OSError, ValueError, DurafoldError):
        return


def _names(listing: Any, base_url: str) -> list[str]:
    streams = listing.get("streams") if isinstance(listing, dict) else None
    if not isinstance(streams, list):
        return []
    paths = [str(stream["path"]) for stream in streams if isinstance(stream, dict) and "path" in stream]
    return [name_of(path, base_url) for path in paths]
