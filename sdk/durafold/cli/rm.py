"""`durafold rm`."""

from __future__ import annotations

import sys
from typing import Annotated

import anyio.to_thread
import typer

from durafold.cli.append_input import wait_for_input
from durafold.cli.exits import FAILED
from durafold.cli.formatting import count, escaped
from durafold.cli.session import Session, StreamNames, client_command
from durafold.errors import ConfigurationError

__all__ = ["rm"]


@client_command
async def rm(
    session: Session,
    streams: StreamNames,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int | None:
    """Delete streams with all their data.

    At a terminal it asks first; elsewhere --yes says that you mean it. A stream that others were forked from
    keeps its data until the last fork is gone.
    """
    if not yes and not await _is_meant(streams):
        session.output.warn("Nothing was deleted")
        return FAILED
    for name in streams:
        await session.stream(name).delete()
        session.output.result({"stream": name, "deleted": True}, f"Deleted {name}")
    return None


async def _is_meant(streams: list[str]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError("Deleting cannot be undone", hint="Add --yes if you mean it")
    question = f"Delete {escaped(', '.join(streams))} with all data? ({count(len(streams), 'stream')}) [y/N] "
    sys.stderr.write(question)
    sys.stderr.flush()
    await anyio.to_thread.run_sync(wait_for_input, sys.stdin)
    answer = sys.stdin.readline()
    return answer.strip().lower() in ("y", "yes")
