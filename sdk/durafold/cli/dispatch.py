"""`durafold dispatch`."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from durafold.cli.append import appending
from durafold.cli.append_input import Input
from durafold.cli.formatting import count
from durafold.cli.kinds import Kind, kind_for_reducer, kind_for_stream
from durafold.cli.session import Session, StreamName, client_command
from durafold.errors import ConfigurationError, Forbidden, StreamNotFound
from durafold.state.models import Model
from durafold.state.outcomes import UnknownAction
from durafold.wire import names
from durafold.wire.envelope import ActionId, Envelope, to_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durafold.client import DurableStream
    from durafold.engine.definition import Definition

__all__ = ["dispatch"]

_MAX_QUOTED_CHARS: Final = 80


@client_command
async def dispatch(
    session: Session,
    stream: StreamName,
    actions: Annotated[list[str], typer.Argument(metavar="ACTION", help="Each is a JSON value.")],
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--kind",
            "-k",
            help='action: for a reducer. set: a new value. op: an operation, such as ["increment", 1]. '
            "Default: action, if --reducer or the stream tells that it takes those.",
        ),
    ] = None,
    reducer: Annotated[
        str | None,
        typer.Option(
            "--reducer",
            "-r",
            metavar="MODULE:NAME",
            help="Reducer or atom: send only what matches its actions.",
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who does it, for others to see.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the stream if need be.")] = False,
) -> None:
    """Append actions to a stream of shared state.

    They are written in the form that providers and hooks write, exactly once, and the offset behind them is
    printed. Whether a reducer then rejects one, its place in the log decides: `durafold replay` shows it.
    """
    from durafold.cli.reducers import definition_of

    payloads = [_payload(action) for action in actions]
    definition = None
    if reducer is not None:
        definition = definition_of(stream, reducer, None)
        kind = kind_for_reducer(kind, definition, reducer)
    handle = session.stream(stream)
    kind = kind_for_stream(kind, await _beginning(handle, may_be_missing=create))
    _check_payloads(payloads, kind, definition, reducer)
    if create:
        await handle.create(content_type=names.JSON_CONTENT_TYPE)
    client_id = f"cli-{uuid.uuid4().hex[:12]}"
    seed = uuid.uuid4().hex[:16] if definition is not None and definition.needs_seed else None
    envelopes = [
        Envelope(kind, payload, ActionId(client_id, n), ts_ms=time.time_ns() // 1_000_000, by=by, seed=seed)
        for n, payload in enumerate(payloads, 1)
    ]
    # The producer has the client's id, so that a server which checks whose actions these are can do so.
    async with appending(session, handle, client_id) as appender:
        await appender.append([_input(envelope) for envelope in envelopes])
        await appender.finish(close=False)
    ids = [str(envelope.id) for envelope in envelopes]
    session.output.result(
        {"stream": stream, "ids": ids, "offset": appender.next_offset},
        f"Confirmed {count(len(ids), kind)} on {stream} at {appender.next_offset}",
    )


async def _beginning(stream: DurableStream, *, may_be_missing: bool) -> list[Any]:
    """The first messages; none if the stream is yet to be created, or is not to be read with this token."""
    try:
        page = await stream.read()
    except StreamNotFound:
        if not may_be_missing:
            raise
        return []
    except Forbidden:
        return []
    if not names.is_json(page.content_type):
        raise ConfigurationError(
            f"The stream is one of {page.content_type}, and actions need {names.JSON_CONTENT_TYPE}",
            stream=stream.url,
        )
    return page.json()


def _payload(text: str) -> Any:
    from durafold.client.encoding import encode_json

    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(
            f"{text[:_MAX_QUOTED_CHARS]!r} is not JSON: {exc}", hint="""Quote strings twice: '"text"'"""
        ) from exc
    encode_json(payload)  # json.loads takes NaN, 1e999 and halves of surrogate pairs, which JSON has not
    return payload


def _check_payloads(
    payloads: Sequence[Any], kind: Kind, definition: Definition[Any] | None, reducer: str | None
) -> None:
    for payload in payloads:
        if kind == "op":
            _check_op(payload)
        elif definition is not None and reducer is not None:
            model = definition.actions if kind == "action" else definition.states
            _check_payload(payload, model, reducer)


def _check_payload(payload: Any, model: Model, reducer: str) -> None:
    try:
        model.parse(payload)
    except (UnknownAction, ValueError) as exc:  # pydantic's ValidationError is a ValueError
        raise ConfigurationError(
            f"{json.dumps(payload)[:_MAX_QUOTED_CHARS]} does not match {reducer}: {exc}",
            hint="Nothing was sent",
        ) from exc


def _check_op(payload: Any) -> None:
    from durafold.state.ops import InvalidOperation, check_op

    try:
        check_op(payload)
    except (InvalidOperation, UnknownAction) as exc:
        raise ConfigurationError(
            f"This is no operation: {exc}", hint="""For example '["increment", 1]'"""
        ) from exc


def _input(envelope: Envelope) -> Input:
    encoded = json.dumps(to_message(envelope), ensure_ascii=False, allow_nan=False).encode()
    return Input(encoded, f"Action {envelope.id}", len(encoded))
