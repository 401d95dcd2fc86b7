"""`durafold ls`."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

import typer

from durafold.cli.completion import complete_stream
from durafold.cli.formatting import escaped
from durafold.cli.listing import list_streams
from durafold.cli.session import Session, client_command

__all__ = ["ls"]


@client_command
async def ls(
    session: Session,
    prefix: Annotated[
        str,
        typer.Argument(metavar="[PREFIX]", help="Only names that begin so.", autocompletion=complete_stream),
    ] = "",
    long: Annotated[bool, typer.Option("--long", "-l", help="Also type, tail and state.")] = False,
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
            session.output.table(("Stream", "Type", "Next offset", "State"), rows)
        else:
            async for record in streams:
                session.output.line(escaped(record["stream"]))


def _row(record: dict[str, Any]) -> tuple[str, str, str, str]:
    state = "closed" if record.get("closed") else "open" if "closed" in record else ""
    return (
        record["stream"],
        str(record.get("content_type") or ""),
        str(record.get("next_offset") or ""),
        state,
    )
