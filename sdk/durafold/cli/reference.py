"""Writes the reference page of the commands from their help: `python -m durafold.cli.reference`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Final

from durafold.cli import main
from durafold.cli.catalog import CATALOG, GROUPS, Entry, visible
from durafold.cli.exits import MEANINGS

__all__ = ["reference_page"]

_WIDTH: Final = "100"

_INTRODUCTION: Final = """\
# The command line

<!-- Made by `python -m durafold.cli.reference > docs/reference/cli.md`; a test compares the two. -->

`durafold COMMAND --help` shows what is here for one command. Examples are in
[how to use the command line](../how-to/use-the-command-line.md).

All commands that talk to a server take `--url`, `--token`, `--header`, `--timeout` and `--json`.

| variable | meaning |
|---|---|
| `STREAM_URL` | where the streams are, with `/v1/stream` or as a bare origin; default: this machine, 4437 |
| `STREAM_AUTH` | value of the `Authorization` header, as it is |
| `NO_COLOR` | if set, no colours at a terminal |

Standard output gets data and results only: colours and tables at a terminal, plain text elsewhere, with
`--json` one line of JSON a record. Everything else goes to standard error; errors too are JSON with `--json`,
except what is said of an option or argument that cannot be read at all.

## Exit codes

| code | meaning |
|---|---|
"""

_FORWARDED: Final = """\
All arguments go to the server package, which has the list of them: `durafold {name} --help`.
It needs the extra `server`.
"""


def reference_page() -> str:
    """The page as Markdown."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return "".join([_INTRODUCTION, codes, *_sections()])


def _sections() -> Iterator[str]:
    for group in GROUPS:
        yield f"\n## {group}\n"
        for entry in visible(group):
            yield f"\n### durafold {entry.name}\n\n{_description(entry)}"
            yield from _aliases(entry)


def _description(entry: Entry) -> str:
    if entry.module == "server_commands":
        return f"{entry.summary}\n\n{_FORWARDED.format(name=entry.name)}"
    return f"```\n{_help_of(entry.name)}```\n"


def _aliases(entry: Entry) -> Iterator[str]:
    for other in CATALOG.values():
        if other.hidden and (other.module, other.function) == (entry.module, entry.function):
            yield f"\n`durafold {other.name}` is the same command.\n"


def _help_of(name: str) -> str:
    text = io.StringIO()
    with _fixed_width(), redirect_stdout(text):
        main([name, "--help"])
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


@contextmanager
def _fixed_width() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ("COLUMNS", "STREAM_URL")}
    os.environ["COLUMNS"] = _WIDTH
    os.environ.pop("STREAM_URL", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


if __name__ == "__main__":
    print(reference_page(), end="")
