"""What every command that talks to a server needs: its options, its streams, its output."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

from durafold.cli.address import DEFAULT_URL, base_address, credentials, parse_header, stream_address
from durafold.cli.completion import complete_stream
from durafold.cli.exits import INTERRUPTED, OK, OUTPUT_CLOSED
from durafold.cli.failures import report, single_error
from durafold.cli.output import Output, OutputClosed, discard_output
from durafold.errors import DurafoldError

if TYPE_CHECKING:
    from durafold.client import ClientSettings, DurableStream, Transport

__all__ = ["Session", "StreamName", "StreamNames", "client_command"]

P = ParamSpec("P")

StreamName = Annotated[
    str,
    typer.Argument(
        metavar="STREAM", help="Name of a stream, or its whole URL.", autocompletion=complete_stream
    ),
]
StreamNames = Annotated[
    list[str],
    typer.Argument(metavar="STREAM", help="Names of streams.", autocompletion=complete_stream),
]

_MAX_ATTEMPTS: Final = 3
DEFAULT_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class Session:
    """One run of a command against a server.

    Attributes:
        base_url: what all streams are below.
        headers: sent with every request.
        timeout_s: seconds to wait for an answer; None where the user named none.
        output: where to print.
    """

    base_url: str
    headers: dict[str, str]
    timeout_s: float | None
    output: Output
    _transport: Transport | None = field(default=None, repr=False)

    @property
    def patience_s(self) -> float:
        """Seconds without an answer, after which a command gives up."""
        return DEFAULT_TIMEOUT_S if self.timeout_s is None else self.timeout_s

    @property
    def settings(self) -> ClientSettings:
        """Timeouts of the client."""
        from durafold.client.settings import DEFAULT_SETTINGS

        return replace(
            DEFAULT_SETTINGS,
            connect_timeout_s=min(DEFAULT_SETTINGS.connect_timeout_s, self.patience_s),
            request_timeout_s=self.patience_s,
            max_attempts=_MAX_ATTEMPTS,
        )

    @property
    def transport(self) -> Transport:
        """Connections that all streams of this run share."""
        from durafold.client import Transport

        self._transport = self._transport or Transport()
        return self._transport

    def stream(
        self, name: str, *, content_type: str | None = None, headers: dict[str, str] | None = None
    ) -> DurableStream:
        """A handle of a stream.

        Args:
            name: its name, or its whole URL.
            content_type: its media type, if that is known.
            headers: more request headers, for this stream only.

        Raises:
            ConfigurationError: this cannot be a stream's name.
        """
        from durafold.client import DurableStream

        return DurableStream(
            stream_address(self.base_url, name),
            headers={**self.headers, **(headers or {})},
            transport=self.transport,
            content_type=content_type,
            settings=self.settings,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()


_COMMON_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "url": (
        Annotated[
            str,
            typer.Option(
                envvar="STREAM_URL",
                metavar="URL",
                help="Where the streams are; a bare origin gets /v1/stream.",
            ),
        ],
        DEFAULT_URL,
    ),
    "token": (
        Annotated[
            str | None,
            typer.Option(
                metavar="TOKEN",
                help="Bearer token. Default: STREAM_AUTH, the whole value of the Authorization header.",
            ),
        ],
        None,
    ),
    "header": (
        Annotated[
            list[str] | None,
            typer.Option(metavar="'NAME: VALUE'", help="Another request header; may be repeated."),
        ],
        None,
    ),
    "timeout": (
        Annotated[
            float | None,
            typer.Option(
                metavar="SECONDS",
                min=0.1,
                help=f"Give up after so long without an answer ({DEFAULT_TIMEOUT_S:g}; following: never).",
            ),
        ],
        None,
    ),
    "json": (Annotated[bool, typer.Option("--json", help="Print one line of JSON a record.")], False),
}
"""Options of every command that talks to a server, with their defaults."""


def client_command(function: Callable[Concatenate[Session, P], Awaitable[int | None]]) -> Callable[..., None]:
    """Make a command of an asynchronous function, which gets a session before its own parameters.

    The options that all such commands share come behind the function's own. Errors are reported, and the exit
    code is what the function returns, 0 by default.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    common = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _COMMON_OPTIONS.items()
    ]
    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own] + common

    def command(**values: Any) -> None:
        options = {name: values.pop(name) for name in _COMMON_OPTIONS}
        raise typer.Exit(_run(partial(function, **values), options))

    command.__name__ = getattr(function, "__name__", "command")
    command.__doc__ = function.__doc__
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _run(function: Callable[[Session], Awaitable[int | None]], options: dict[str, Any]) -> int:
    import anyio

    as_json: bool = options["json"]
    try:
        session = Session(
            base_address(options["url"]),
            {
                **credentials(options["token"], os.environ),
                **dict(map(parse_header, options["header"] or [])),
            },
            options["timeout"],
            Output(as_json=as_json),
        )
        return anyio.run(_run_and_close, function, session) or OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except (DurafoldError, OutputClosed, ExceptionGroup) as exc:
        return _failed(single_error(exc), as_json=as_json)


async def _run_and_close(
    function: Callable[[Session], Awaitable[int | None]], session: Session
) -> int | None:
    try:
        return await function(session)
    finally:
        await session.aclose()


def _failed(error: BaseException, *, as_json: bool) -> int:
    if isinstance(error, OutputClosed):
        discard_output()
        return OUTPUT_CLOSED
    if isinstance(error, DurafoldError):
        return report(error, as_json=as_json)
    raise error
