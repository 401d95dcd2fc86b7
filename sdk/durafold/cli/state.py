"""`durafold state` and `durafold replay`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from durafold.cli.diffing import Change, changes_between
from durafold.cli.formatting import compact, count, escaped, indented, short
from durafold.cli.session import Session, StreamName, client_command
from durafold.errors import ConfigurationError
from durafold.wire import names
from durafold.wire.offsets import Offset, is_valid_token

if TYPE_CHECKING:
    from durafold.cli.folding import Step
    from durafold.client import DurableStream, Page
    from durafold.engine.definition import Definition
    from durafold.state.replica import Confirmed

__all__ = ["replay", "state"]

_MAX_PAYLOAD_CHARS: Final = 100
_MAX_VALUE_CHARS: Final = 60

ReducerOption = Annotated[
    str,
    typer.Option(
        "--reducer",
        "-r",
        metavar="MODULE:NAME",
        help="Reducer or atom that folds it; also set-state (shared values), state-protocol (collections).",
    ),
]
InitialOption = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="State before the first message. Default: what the reducer's type makes."
    ),
]
UntilOption = Annotated[
    str | None, typer.Option("--to", metavar="OFFSET", help="Fold only what comes before this offset.")
]


@client_command
async def state(
    session: Session,
    stream: StreamName,
    reducer: ReducerOption = "set-state",
    initial: InitialOption = None,
    to: UntilOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print it again whenever it changes.")
    ] = False,
) -> None:
    """Fold a stream with a reducer and print the state.

    Standard output gets the state as JSON. What could not be folded is counted on standard error, and listed
    with --json.
    """
    from durafold.cli.reducers import definition_of
    from durafold.engine.past import batches_until
    from durafold.state.replica import Confirmed, fold_batch

    if follow and to is not None:
        raise ConfigurationError("--follow has no end, and --to is one", hint="Use one of them")
    definition = definition_of(stream, reducer, initial)
    handle = session.stream(stream)
    await _check_is_json(handle)
    confirmed: Confirmed[Any] = Confirmed(definition.initial)
    async for batch in batches_until(handle, _offset(to), partial(_look_at, session)):
        confirmed = fold_batch(definition.step, confirmed, batch).confirmed
    _print_state(session, stream, definition, confirmed)
    if reducer == "set-state" and initial is None and confirmed.state is None and confirmed.position:
        session.output.warn(_advice(confirmed))
    if follow:
        await _follow(session, stream, handle, definition, confirmed)


@client_command
async def replay(
    session: Session,
    stream: StreamName,
    reducer: ReducerOption = "set-state",
    initial: InitialOption = None,
    to: UntilOption = None,
    diff: Annotated[bool, typer.Option("--diff", "-d", help="Show what each action changed.")] = False,
) -> None:
    """Fold a stream step by step and print what each action did.

    The last line is the state that it ended with.
    """
    from durafold.cli.folding import steps_of
    from durafold.cli.reducers import definition_of
    from durafold.engine.past import batches_until
    from durafold.state.replica import Confirmed

    definition = definition_of(stream, reducer, initial)
    handle = session.stream(stream)
    await _check_is_json(handle)
    confirmed: Confirmed[Any] = Confirmed(definition.initial)
    async for batch in batches_until(handle, _offset(to), partial(_look_at, session)):
        for step in steps_of(definition, confirmed, batch):
            _print_step(session, definition, step, diff=diff)
            confirmed = step.after
    _print_state(session, stream, definition, confirmed)


def _advice(confirmed: Confirmed[Any]) -> str:
    """Why a stream that was folded as a shared value may have given null."""
    if confirmed.fault_count == confirmed.position:
        return "Nothing in it is of a shared value: name what folds it with --reducer module:name"
    return (
        "Nothing in it applies to null, and what a shared value begins with is not in its stream: "
        "give that with --initial JSON, or name the atom with --reducer module:name"
    )


async def _follow(
    session: Session,
    stream: str,
    handle: DurableStream,
    definition: Definition[Any],
    confirmed: Confirmed[Any],
) -> None:
    from durafold.cli.read import following
    from durafold.engine.batches import batch_of
    from durafold.state.replica import fold_batch

    async with following(session, handle, Offset(confirmed.offset), "auto") as pages:
        async for page in pages:
            before = confirmed
            confirmed = fold_batch(definition.step, confirmed, batch_of(page)).confirmed
            if confirmed.revision != before.revision:
                _print_state(session, stream, definition, confirmed)


async def _check_is_json(stream: DurableStream) -> None:
    kind = await stream.known_content_type()
    if not names.is_json(kind):
        raise ConfigurationError(
            f"Only JSON streams can be folded, and this is one of {kind}", stream=stream.url
        )


def _look_at(session: Session, page: Page) -> None:
    if page.lacks_beginning:
        session.output.warn(
            "The beginning of the stream is no longer kept: this is folded from what is left of it"
        )


def _offset(text: str | None) -> Offset | None:
    if text is not None and not is_valid_token(text):
        raise ConfigurationError(
            f"{text[:80]!r} cannot be an offset", hint="Pass one that a command has told"
        )
    return None if text is None else Offset(text)


def _print_state(
    session: Session, stream: str, definition: Definition[Any], confirmed: Confirmed[Any]
) -> None:
    value = definition.states.dump(confirmed.state)
    if session.output.as_json:
        session.output.record(state_record(stream, value, confirmed))
        return
    session.output.json_text(indented(value))
    if confirmed.fault_count:
        first = confirmed.faults[0]
        session.output.warn(
            f"{count(confirmed.fault_count, 'message')} could not be folded, the first of them is "
            f"number {first.position + 1}: {first.reason}"
        )


def state_record(stream: str, value: Any, confirmed: Confirmed[Any]) -> dict[str, Any]:
    """A folded state as a record."""
    return {
        "stream": stream,
        "state": value,
        "offset": confirmed.offset,
        "revision": confirmed.revision,
        "messages": confirmed.position,
        "partial": confirmed.partial,
        "fault_count": confirmed.fault_count,
        "faults": [
            {"number": fault.position + 1, "id": fault.id, "verdict": fault.verdict, "reason": fault.reason}
            for fault in confirmed.faults
        ],
    }


def _print_step(session: Session, definition: Definition[Any], step: Step[Any], *, diff: bool) -> None:
    changes = (
        changes_between(definition.states.dump(step.before), definition.states.dump(step.after.state))
        if diff
        else None
    )
    if session.output.as_json:
        session.output.record(step_record(step, changes))
        return
    session.output.line(escaped(step_line(step)))
    for change in changes or ():
        session.output.styled(escaped(change_line(change)), _STYLES[change.kind])


_STYLES: Final = {"added": "green", "removed": "red", "changed": "yellow"}
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}


def step_record(step: Step[Any], changes: Sequence[Change] | None) -> dict[str, Any]:
    """One step as a record."""
    message = step.message
    return {
        "number": step.after.position,
        "offset": step.offset,
        "id": None if message.id is None else str(message.id),
        "kind": message.kind,
        "payload": message.payload,
        "verdict": step.verdict,
        "reason": step.reason,
        **({} if changes is None else {"changes": [change.to_json() for change in changes]}),
    }


def step_line(step: Step[Any]) -> str:
    """One step as a line: number, verdict, id, kind and payload."""
    message = step.message
    identity = "-" if message.id is None else str(message.id)
    payload = short(compact(message.payload), _MAX_PAYLOAD_CHARS)
    reason = f"  ({step.reason})" if step.reason else ""
    return f"{step.after.position:>6}  {step.verdict:<9}  {identity}  {message.kind}  {payload}{reason}"


def change_line(change: Change) -> str:
    """One change as a line: a sign, the place, and the values."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in change.path) or "state"
    values = [change.before] if change.kind == "removed" else [change.after]
    if change.kind == "changed":
        values = [change.before, change.after]
    shown = " → ".join(short(json.dumps(value, ensure_ascii=False), _MAX_VALUE_CHARS) for value in values)
    return f"        {_SIGNS[change.kind]} {where.removeprefix('.')}: {shown}"
