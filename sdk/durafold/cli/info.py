"""`durafold info`."""

from __future__ import annotations

from durafold.cli.describing import info_record, info_rows
from durafold.cli.session import Session, StreamName, client_command

__all__ = ["info"]


@client_command
async def info(session: Session, stream: StreamName) -> None:
    """Show a stream's type, tail and lifetime.

    This does not count as a read for its time to live.
    """
    record = info_record(stream, await session.stream(stream).head())
    if session.output.as_json:
        session.output.record(record)
        return
    for label, value in info_rows(record):
        session.output.line(f"{label + ':':<17}{value}")
