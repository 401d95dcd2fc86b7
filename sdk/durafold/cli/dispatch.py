"""`durafold dispatch`."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from durafold.cli.append import appending
from durafold.cli.append_input import Input
from durafold.cli.formatting import count
from durafold.cli.session import Session, StreamName, client_command
from durafold.errors import ConfigurationError
from durafold.state.models import PLAIN, Model
from durafold.state.outcomes import UnknownAction
from durafold.wire import names
from durafold.wire.envelope import ActionId, Envelope, to_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durafold.client import DurableStream
    from durafold.engine.definition import Definition

__all__ = ["dispatch"]

Kind = Literal["action", "set", "op"]


@client_command
async def dispatch(
    session: Session,
    stream: StreamName,
    actions: Annotated[list[str], typer.Argument(metavar="ACTION", help="Each is a JSON value.")],
    kind: Annotated[
        Kind,
        typer.Option(
            "--kind",
            "-k",
            help='action: for a reducer. set: a new value. op: an operation, such as ["increment", 1].',
        ),
    ] = "action",
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
    payloads = [_payload(action, kind) for action in actions]
    definition = _definition(stream, reducer, payloads, kind)
    handle = session.stream(stream)
    await _check_type(handle, create=create)
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


async def _check_type(stream: DurableStream, *, create: bool) -> None:
    if create:
        await stream.create(content_type=names.JSON_CONTENT_TYPE)
    kind = await stream.known_content_type()
    if not names.is_json(kind):
        raise ConfigurationError(
            f"The stream is one of {kind}, and actions need {names.JSON_CONTENT_TYPE}", stream=stream.url
        )


def _payload(text: str, kind: Kind) -> Any:
    try:
        payload = json.loads(text)
    except ValueError as exc:
        raise ConfigurationError(
            f"{text!r} is not JSON: {exc}", hint="""Quote strings twice: '"text"'"""
        ) from exc
    if kind == "op":
        _check_op(payload)
    return payload


def _definition(
    stream: str, reducer: str | None, payloads: Sequence[Any], kind: Kind
) -> Definition[Any] | None:
    """What the reducer's name stands for, once it has taken all that shall be sent."""
    if reducer is None:
        return None
    from durafold.cli.reducers import definition_of

    definition = definition_of(stream, reducer, None)
    model = {"action": definition.actions, "set": definition.states, "op": PLAIN}[kind]
    for payload in payloads:
        _check_payload(payload, model, reducer)
    return definition


def _check_payload(payload: Any, model: Model, reducer: str) -> None:
    try:
        model.parse(payload)
    except (UnknownAction, ValueError) as exc:  # pydantic's ValidationError is a ValueError
        raise ConfigurationError(
            f"{json.dumps(payload)[:80]} does not match {reducer}: {exc}", hint="Nothing was sent"
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
