"""The access log: one line for each request, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from durafold.wire import names
from durafold_server.http.observed import ObservedExchange

AccessLogFormat: TypeAlias = Literal["off", "text", "json"]

_REQUEST_ID: Final = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")


class AccessLog:
    """Writes a line when an exchange is over; a live reader's comes when it leaves.

    Args:
        form: `text` or `json`.
        write: takes a line with its newline; standard error if None.
    """

    def __init__(self, form: Literal["text", "json"], write: Callable[[str], object] | None = None) -> None:
        self._line = _as_json if form == "json" else _as_text
        self._write = write

    def note(self, exchange: ObservedExchange, request_id: str) -> None:
        """Write the line of an exchange that is over."""
        fields: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "method": exchange.method,
            "path": exchange.raw_path + _state_query(exchange.state_of),
            "status": exchange.status,
            "bytes": exchange.sent_bytes,
            "duration_ms": round((time.monotonic() - exchange.began_s) * 1000, 3),
            "identity": exchange.identity.name if exchange.identity is not None else None,
            "request_id": request_id,
        }
        (self._write or sys.stderr.write)(self._line(fields) + "\n")


def request_id(given: str | None) -> str:
    """The id that the client or a proxy gave the request, if it is a plain one; else a new one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _state_query(path: str | None) -> str:
    """What a query says about whose state is read. Nothing else of a query is shown: it may hold a secret."""
    return f"?{names.STATE_PARAM}={quote(path, safe='/')}" if path is not None else ""


def _as_json(fields: Mapping[str, object]) -> str:
    return json.dumps(fields)


def _as_text(fields: Mapping[str, object]) -> str:
    return " ".join("-" if value is None else _printable(str(value)) for value in fields.values())


def _printable(text: str) -> str:
    """Without spaces and control characters, so that nobody can forge a line."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8")), text)
