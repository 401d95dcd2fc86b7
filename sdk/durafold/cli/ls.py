"""`durafold ls`."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

import typer

from durafold.cli.completion import complete_stream
from durafold.cli.formatting import byte_count, escaped
from durafold.cli.listing import list_streams
from durafold.cli.session import Session, client_command

__all__ = ["ls"]


@client_command
async def ls(
    session: Session,
    prefix: Annotated[
        str,
        typer.Argument(metavar="PREFIX", help="Only names that begin so.", autocompletion=complete_stream),
    ] = "",
    long: Annotated[bool, typer.Option("--long", "-l", help="Also type, size, tail and state.")] = False,
) -> None:
    """List streams.

    A server without a listing is asked for its registry, the stream __registry__.
    """
    async with aclosing(list_streams(session, prefix)) as streams:
        if session.output.as_json:
            async for record in streams:
                session.output.record(record)
        elif long:
            rows = [_row(record) async for record in streams]
            session.output.table(("Stream", "Type", "Size", "Next offset", "State"), rows)
        else:
            async for record in streams:
                session.output.line(escaped(record["stream"]))


def _row(record: dict[str, Any]) -> tuple[str, str, str, str, str]:
    size, closed = record["bytes"], record["closed"]
    return (
        record["stream"],
        record["content_type"] or "",
        "" if size is None else byte_count(size),
        record["next_offset"] or "",
        "" if closed is None else "closed" if closed else "open",
    )
