"""From errors to what a user of the command line is told, and to exit codes."""

from __future__ import annotations

import json
import socket
import sys
from typing import Final
from urllib.parse import urlsplit

from durafold.cli.exits import exit_code_of
from durafold.cli.formatting import escaped
from durafold.errors import (
    BadRequest,
    ConnectFailed,
    DurafoldError,
    FencedError,
    ProducerTaken,
    ServerRefused,
    StreamClosed,
    StreamConflict,
    StreamNotFound,
    Unauthorized,
)
from durafold.wire.names import DEFAULT_PORT, DEFAULT_PREFIX

__all__ = ["FORMER_PORT", "is_listening", "report", "single_error"]

FORMER_PORT: Final = 8787
"""The default port of earlier servers of the protocol."""

_PROBE_TIMEOUT_S: Final = 0.2


def report(error: DurafoldError, *, as_json: bool) -> int:
    """Tell the user on standard error what went wrong and what to do about it.

    Args:
        error: what ended the command.
        as_json: tell it as one line of JSON.

    Returns:
        The exit code.
    """
    code = exit_code_of(error)
    print(_as_json(error, code) if as_json else _as_text(error), file=sys.stderr, flush=True)
    return code


def single_error(error: BaseException) -> BaseException:
    """The one error that counts in a group of a task group, which are nested at will; others as they are."""
    while isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(
            lambda one: not isinstance(one, BaseExceptionGroup) and isinstance(one, Exception)
        )
        error = (ours or error).exceptions[0]
    return error


def _as_text(error: DurafoldError) -> str:
    where = f" [{error.stream}]" if error.stream and error.stream not in error.message else ""
    hint = hint_of(error)
    lines = [f"durafold: {error.message}{where}", *([f"  {hint}"] if hint else [])]
    return escaped("\n".join(lines))


def _as_json(error: DurafoldError, code: int) -> str:
    fields = {
        "error": error.code,
        "message": error.message,
        "hint": hint_of(error),
        "stream": error.stream,
        "status": error.status if isinstance(error, ServerRefused) else None,
        "exit_code": code,
    }
    return json.dumps(
        {name: value for name, value in fields.items() if value is not None}, ensure_ascii=False
    )


def hint_of(error: DurafoldError) -> str | None:
    """What a user of the command line can do; the errors' own hints speak to programmers."""
    match error:
        case StreamNotFound():
            return _not_found(error)
        case BadRequest() if error.offset is not None:
            return "An offset is one that the server has told: `durafold info STREAM` shows the tail's"
        case Unauthorized():
            return "Pass --token TOKEN, or set STREAM_AUTH to the value of the Authorization header"
        case FencedError():
            return (
                "Another process writes under this producer id: use another --producer-id or a higher --epoch"
            )
        case ProducerTaken():
            return "Somebody else uses this producer id: use another --producer-id"
        case StreamClosed():
            return "`durafold fork STREAM NEW` makes an open copy"
        case StreamConflict():
            return "`durafold info STREAM` shows the stream's content type and lifetime"
        case ConnectFailed():
            return _unreachable(error)
        case _:
            return (error.hint or "").replace('live="long-poll"', "--live long-poll") or None


def _not_found(error: StreamNotFound) -> str:
    path = urlsplit(error.stream or "").path
    if not path.startswith(f"{DEFAULT_PREFIX}/"):
        return f"Does the URL contain {DEFAULT_PREFIX}? Set --url or STREAM_URL"
    return "`durafold ls` lists the streams, `durafold create STREAM` makes one"


def _unreachable(error: ConnectFailed) -> str | None:
    parts = urlsplit(error.stream or "")
    host, port = parts.hostname, parts.port
    if host is not None and port == DEFAULT_PORT and is_listening(host, FORMER_PORT):
        former = f"{parts.scheme}://{host}:{FORMER_PORT}"
        return f"Something listens on {FORMER_PORT}, the default of older servers: try --url {former}"
    return error.hint


def is_listening(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False
