"""Which commands there are: all that help and completion need, without loading any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CATALOG", "GROUPS", "Entry", "visible"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes:
        name: as it is typed.
        group: heading in the help.
        module: where it is, below `durafold.cli`.
        function: its function there.
        summary: what it does, in a line; the first line of the function's docstring.
        hidden: whether help leaves it out.
    """

    name: str
    group: str
    module: str
    function: str
    summary: str
    hidden: bool = False


STREAMS: Final = "Streams"
STATE: Final = "State"
SERVER: Final = "Server"
TOOLS: Final = "Tools"
GROUPS: Final = (STREAMS, STATE, SERVER, TOOLS)

_ENTRIES: Final = (
    Entry("create", STREAMS, "create", "create", "Create a stream."),
    Entry("append", STREAMS, "append", "append", "Append messages, from arguments or standard input."),
    Entry(
        "write",
        STREAMS,
        "append",
        "append",
        "Append messages, from arguments or standard input.",
        hidden=True,
    ),
    Entry("read", STREAMS, "read", "read", "Print what is in a stream, and follow it if asked to."),
    Entry("tail", STREAMS, "read", "tail", "Print what comes from now on, until Ctrl-C."),
    Entry("ls", STREAMS, "ls", "ls", "List streams."),
    Entry("info", STREAMS, "info", "info", "Show a stream's type, tail and lifetime."),
    Entry("close", STREAMS, "close", "close", "Close a stream: it takes no more appends."),
    Entry("fork", STREAMS, "fork", "fork", "Make a stream that begins as another one, up to some place."),
    Entry("rm", STREAMS, "rm", "rm", "Delete streams with all their data."),
    Entry("export", STREAMS, "export", "export", "Write whole streams to a file."),
    Entry("import", STREAMS, "import_", "import_", "Read streams from a file that `export` wrote."),
    Entry("dispatch", STATE, "dispatch", "dispatch", "Append actions to a stream of shared state."),
    Entry("state", STATE, "state", "state", "Fold a stream with a reducer and print the state."),
    Entry("replay", STATE, "state", "replay", "Fold a stream step by step and print what each action did."),
    Entry("serve", SERVER, "server_commands", "serve", "Start the stream server."),
    Entry(
        "config", SERVER, "server_commands", "config", "Show the server's settings: `durafold config show`."
    ),
    Entry("repair", SERVER, "server_commands", "repair", "Check and repair a data directory."),
    Entry(
        "conformance", SERVER, "server_commands", "conformance", "Check a stream server against the protocol."
    ),
    Entry(
        "bench",
        SERVER,
        "server_commands",
        "bench",
        "Measure stream servers, clients or shared state, side by side.",
    ),
    Entry("demo", TOOLS, "demo_command", "demo", "Start a stream server and the demo app."),
    Entry("doctor", TOOLS, "doctor", "doctor", "Find out what does not work, and what to do about it."),
    Entry("version", TOOLS, "version", "version", "Print the version."),
)

CATALOG: Final = {entry.name: entry for entry in _ENTRIES}
"""All commands, in the order of the help."""


def visible(group: str | None = None) -> list[Entry]:
    """The commands that help shows, of one group or of all."""
    return [entry for entry in CATALOG.values() if not entry.hidden and group in (None, entry.group)]
