"""`durafold create`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from durafold.cli.describing import info_record
from durafold.cli.session import Session, StreamName, client_command
from durafold.errors import ConfigurationError, StreamConflict
from durafold.wire import names

__all__ = ["CONTENT_TYPES", "create", "media_type_named"]

CONTENT_TYPES: Final[Mapping[str, str]] = {
    "json": names.JSON_CONTENT_TYPE,
    "text": "text/plain",
    "ndjson": "application/x-ndjson",
    "bytes": names.DEFAULT_CONTENT_TYPE,
}
"""Short names of media types."""


@client_command
async def create(
    session: Session,
    stream: StreamName,
    content_type: Annotated[
        str, typer.Option("--type", "-t", help="Media type, or one of json, text, ndjson, bytes.")
    ] = "json",
    ttl: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, help="Expire after so long without a read or write."),
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Expire then, such as 2030-01-31T12:00:00Z.")
    ] = None,
    retention_bytes: Annotated[
        int | None,
        typer.Option(metavar="BYTES", min=0, help="Keep at least so many of the newest bytes. 0: all."),
    ] = None,
    retention_age: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, help="Keep what was appended in the last seconds. 0: all."),
    ] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Create it closed, with --data as its whole content.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="First content: a JSON value, or text.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Fail with exit code 4 if it exists already.")] = False,
) -> None:
    """Create a stream.

    If it exists with the same type, lifetime and retention, that is fine too.
    """
    kind = media_type_named(content_type)
    handle = session.stream(stream, content_type=kind)
    info = await handle.create(
        ttl_s=ttl,
        expires_at=expires_at,
        retention_bytes=retention_bytes,
        retention_age_s=retention_age,
        closed=closed,
        body=_content(data, kind),
    )
    if new and not info.created:
        raise StreamConflict("The stream exists already", status=409, stream=handle.url)
    what = "Created" if info.created else "There is already"
    session.output.result(
        {**info_record(stream, info), "created": info.created}, f"{what} {stream} ({info.content_type})"
    )


def media_type_named(text: str) -> str:
    """The media type that a short name stands for; a media type as it is.

    Raises:
        ConfigurationError: it is neither.
    """
    if text in CONTENT_TYPES:
        return CONTENT_TYPES[text]
    if "/" in text:
        return text
    raise ConfigurationError(
        f"{text!r} is not a media type", hint=f"Use one of {', '.join(CONTENT_TYPES)}, or such as text/csv"
    )


def _content(data: str | None, content_type: str) -> object:
    if data is None or not names.is_json(content_type):
        return data
    import json

    try:
        return json.loads(data)
    except ValueError as exc:
        raise ConfigurationError(
            f"--data is not JSON: {exc}", hint="""Quote strings twice: --data '"text"'"""
        ) from exc
