"""How the content of a stream is printed: as it is, a message a line, for people, or as records."""

from __future__ import annotations

import codecs
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal

from durafold.cli.formatting import escaped, hex_lines, indented
from durafold.cli.windows import Part
from durafold.errors import ConfigurationError
from durafold.wire import names

if TYPE_CHECKING:
    from durafold.cli.output import Output

__all__ = ["Form", "Printer"]

Form = Literal["raw", "ndjson", "pretty"]


class Printer:
    """Prints parts of one stream.

    Args:
        output: where to.
        form: how; None chooses: records with `--json`, `pretty` at a terminal, else `ndjson` for JSON streams
            and `raw` for others.
    """

    def __init__(self, output: Output, form: Form | None) -> None:
        self._output = output
        self._form = form
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._printed_bytes = 0

    def print(self, part: Part) -> None:
        """Print a part behind those before.

        Raises:
            ConfigurationError: the stream cannot be printed in this form.
            OutputClosed: nobody reads it.
        """
        if self._form is None and self._output.as_json:
            self._output.record(record_of(part))
        elif part.messages is not None:
            self._print_messages(part, part.messages)
        elif part.data:
            self._print_bytes(part)

    def _print_messages(self, part: Part, messages: list[str]) -> None:
        if not messages:
            return
        match self._form or ("pretty" if self._output.is_terminal else "ndjson"):
            case "raw":
                array = part.page.data if part.is_whole else f"[{','.join(messages)}]".encode()
                self._output.write(array + b"\n")
            case "ndjson":
                self._output.write("".join(f"{message}\n" for message in messages).encode())
            case "pretty":
                for message in messages:
                    self._output.json_text(indented(json.loads(message)))

    def _print_bytes(self, part: Part) -> None:
        kind = part.page.content_type
        match self._form or ("pretty" if self._output.is_terminal else "raw"):
            case "ndjson":
                raise ConfigurationError(
                    f"--output ndjson is for JSON streams, and this is one of {kind}",
                    hint="Use --output raw, or --json for a record a page",
                )
            case "pretty" if names.is_text(kind) or kind == "application/x-ndjson":
                text = self._decoder.decode(part.data).replace("\r\n", "\n")
                self._output.write(escaped(text).encode())
            case "pretty":
                self._output.write(
                    "".join(f"{line}\n" for line in hex_lines(part.data, self._printed_bytes)).encode()
                )
            case _:
                self._output.write(part.data)
        self._printed_bytes += len(part.data)


def record_of(part: Part) -> dict[str, Any]:
    """A part as a record: its content, and where to go on behind it."""
    page = part.page
    return {
        "offset": page.offset,
        **_content(part),
        "next_offset": part.after.offset,
        **({"skip": part.after.skip} if part.after.skip else {}),
        "up_to_date": page.up_to_date and part.after.offset == page.next_offset,
        "closed": page.closed and part.after.offset == page.next_offset,
    }


def _content(part: Part) -> dict[str, Any]:
    if part.messages is not None:
        return {"messages": [json.loads(message) for message in part.messages]}
    try:
        return {"text": part.data.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(part.data).decode()}
