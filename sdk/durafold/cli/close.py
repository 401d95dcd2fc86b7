"""`durafold close`."""

from __future__ import annotations

from typing import Annotated

import typer

from durafold.cli.append_input import encoded_argument
from durafold.cli.session import Session, StreamName, client_command

__all__ = ["close"]


@client_command
async def close(
    session: Session,
    stream: StreamName,
    data: Annotated[str | None, typer.Option(help="A last message, appended in the same step.")] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Of a JSON stream: --data is a string, not JSON.")
    ] = False,
) -> None:
    """Close a stream: it takes no more appends.

    Readers learn that it ended. Closing a closed stream is fine, unless there is a last message.
    """
    handle = session.stream(stream)
    if data is None:
        offset = (await handle.close()).final_offset
    else:
        kind = await handle.known_content_type()
        offset = (await handle.append_bytes(encoded_argument(data, kind, text=text), close=True)).next_offset
    session.output.result(
        {"stream": stream, "closed": True, "final_offset": offset}, f"Closed {stream} at {offset}"
    )
