"""`durafold fork`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from durafold.cli.describing import info_record
from durafold.cli.session import Session, StreamName, client_command
from durafold.errors import ConfigurationError
from durafold.wire import names

__all__ = ["fork"]


@client_command
async def fork(
    session: Session,
    source: StreamName,
    target: Annotated[str, typer.Argument(metavar="NEW", help="Name of the new stream.")],
    at: Annotated[
        str | None, typer.Option(metavar="OFFSET", help="Where it branches off. Default: the tail.")
    ] = None,
    skip: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="So much behind --at: messages of a JSON stream, bytes of others."
        ),
    ] = None,
    ttl: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, help="Time to live. Default: that of the source."),
    ] = None,
) -> None:
    """Make a stream that begins as another one, up to some place.

    The new stream is open, also if its source is closed. What is appended to one is not in the other.
    """
    if skip and at is None:
        raise ConfigurationError("--skip counts from an offset", hint="Say from which one with --at OFFSET")
    origin = session.stream(source)
    headers = {names.STREAM_FORKED_FROM: urlsplit(origin.url).path}
    if at is not None:
        headers[names.STREAM_FORK_OFFSET] = at
    if skip:
        headers[names.STREAM_FORK_SUB_OFFSET] = str(skip)
    kind = (await origin.head()).content_type
    info = await session.stream(target, content_type=kind, headers=headers).create(ttl_s=ttl)
    what = "Forked" if info.created else "There is already a fork of"
    session.output.result(
        {**info_record(target, info), "forked_from": source, "created": info.created},
        f"{what} {source}: {target}",
    )
